"""Names of models and fields in the language of the admin. The models have them in English, mostly from their code."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils import translation
from django.utils.translation import gettext_lazy

ATTRIBUTES = ("verbose_name", "help_text")


def translate(models: Iterable[type[Model]]) -> None:
    """Let the names, help texts and choices of these models follow the language of the request."""
    for model in models:
        options: Any = model._meta
        options.verbose_name = gettext_lazy(options.verbose_name_raw)
        with translation.override(None):
            options.verbose_name_plural = gettext_lazy(str(options.verbose_name_plural))
        for field in _fields(model):
            for name in ATTRIBUTES:
                setattr(field, name, _lazy(getattr(field, name)))
            if field.choices:
                field.choices = [(value, _lazy(label)) for value, label in field.choices]


def texts(models: Iterable[type[Model]]) -> Iterator[str]:
    """Yield the English names, help texts and choices of those of these models that the admin shows."""
    with translation.override(None):
        for model in models:
            if not admin.site.is_registered(model):
                continue
            yield str(model._meta.verbose_name)
            yield str(model._meta.verbose_name_plural)
            for field in _fields(model):
                yield from (str(getattr(field, name)) for name in ATTRIBUTES if getattr(field, name))
                yield from (str(label) for _, label in field.choices or ())


def _fields(model: type[Model]) -> list[Any]:
    options: Any = model._meta
    return [field for field in (*options.fields, *options.many_to_many) if field.model is model]


def _lazy(text: Any) -> Any:
    """Return the text as one that is translated when it is shown; what is one already, or empty, stays."""
    return gettext_lazy(text) if isinstance(text, str) and text else text
