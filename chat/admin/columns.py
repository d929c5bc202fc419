"""Columns of lists: short ids, links to other rows, and texts on one line."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

ID_CHARACTERS = 8  # of a UUID, which tell the rows of a page apart


def short(name: str) -> Callable[[Any], Any]:
    """Return the column of an id: its beginning; the page's script copies the whole."""

    @admin.display(description=_(name))
    def shown(row: Any) -> Any:
        return _code(attrgetter(name)(row))

    return shown


def linked(model: str, name: str) -> Callable[[Any], Any]:
    """Return the column of the id of another row, with a link to it."""

    @admin.display(description=_(model))
    def shown(row: Any) -> Any:
        id = attrgetter(name)(row)
        return id and format_html('<a href="{}">{}</a>', reverse(f"admin:chat_{model}_change", args=[id]), _code(id))

    return shown


def line(name: str) -> Callable[[Any], Any]:
    """Return the column of a text that is cut to one line, with the whole as its title."""

    @admin.display(description=_(name))
    def shown(row: Any) -> Any:
        return format_html('<span class="line" title="{0}">{0}</span>', attrgetter(name)(row))

    return shown


def _code(id: Any) -> Any:
    return format_html('<code title="{0}" data-id="{0}">{1}</code>', id, str(id)[:ID_CHARACTERS])
