"""Texts of agents in the language of the user who asks. PURE: standard library.

The key of a text is its English sentence, as of gettext. `tools/messages.py` gathers the texts into the catalogues
`chat/locale/*/LC_MESSAGES/agents.po` and compiles them. A text without a translation is English.
"""

import gettext
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_language: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Translate into this language inside the block, and in the tasks and threads that are started there."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> str:
    """Return the language that texts are translated into, as `de`."""
    return _language.get()


def t(text: str, *values: object) -> str:
    """Return the text in the user's language, with values for its places: `{0}` is the first."""
    found = _catalogue(language()).gettext(text)
    return found.format(*values) if values else found


def tn(one: str, many: str, count: int, *values: object) -> str:
    """Return the form of the text for this count, with values for its places."""
    return _catalogue(language()).ngettext(one, many, count).format(*values)


def tc(context: str, text: str, *values: object) -> str:
    """Return a text whose translation depends on where it stands, with values for its places."""
    return _catalogue(language()).pgettext(context, text).format(*values)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("agents", Path(__file__).with_name("locale"), [language], fallback=True)
