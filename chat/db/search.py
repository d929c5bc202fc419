"""The lookup `contains_folded`: a case-insensitive substring search for all scripts, equal on SQLite and PostgreSQL.

SQLite maps the case of ASCII only, PostgreSQL that of its database's locale. Both compare code points, so "é" as one
character differs from "é" as two. The lookup folds both sides before it compares them: compatibility composition
(NFKC), full mapping to lower and then upper case (ß equals SS, both small sigmas are equal), I for İ, no emoji
presentation selectors and no soft hyphens. No character is a wildcard.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import CharField, Lookup, TextField
from django.db.models.sql.compiler import SQLCompiler
from django.dispatch import receiver

_IGNORED = "\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}\N{SOFT HYPHEN}"
_DOTTED = "I\N{COMBINING DOT ABOVE}"


def fold(text: str) -> str:
    """Return the form in which texts are compared."""
    if text.isascii():  # ten times as fast
        return text.upper()
    folded = unicodedata.normalize("NFKC", text).lower().upper().replace(_DOTTED, "I")
    for character in _IGNORED:
        folded = folded.replace(character, "")
    return folded


# `fold` in SQL; {0} is the text. A text of single-byte characters takes the fast path.
_FOLD = f"""CASE WHEN octet_length({{0}}) = char_length({{0}}) THEN upper({{0}} COLLATE "C") ELSE
    {"replace(" * 4}upper(lower(
        (CASE WHEN {{0}} IS NFKC NORMALIZED THEN {{0}} ELSE normalize({{0}}, NFKC) END){{collate}}
    )) COLLATE "C", '{_DOTTED}', 'I'){"".join(f", '{c}', '')" for c in _IGNORED)} END"""


@CharField.register_lookup
@TextField.register_lookup
class ContainsFolded(Lookup):
    """Lookup `field__contains_folded="text"`. The right side is a string, never an expression."""

    lookup_name = "contains_folded"

    def get_prep_lookup(self) -> str:
        """Return the text to look for, folded."""
        return fold(str(self.rhs))

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Return the SQL for SQLite and its parameters."""
        text, params = self.process_lhs(compiler, connection)
        return f"netra_contains_folded({text}, %s)", [*params, self.rhs]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Return the SQL for PostgreSQL and its parameters."""
        text, params = self.process_lhs(compiler, connection)
        folded = _FOLD.format(text, collate=_collate())
        sql = f'CASE WHEN {text} COLLATE "C" ~ %s THEN strpos({folded}, %s::text) > 0 ELSE FALSE END'
        return sql, [*params, _pattern(self.rhs), *params * folded.count(text), self.rhs]


def _pattern(folded: str) -> str:
    """Return a regular expression that matches every text which may contain `folded`.

    It matches the characters in all their forms, and any character that does not fold alone to one other. PostgreSQL
    takes ten times as long to fold a text as to match it.
    """
    forms, odd = _forms()
    sought = "".join(f"[{_escaped({character, *forms.get(character, ())})}]" for character in folded)
    return f"{sought}|[{odd}]"


# Where characters have forms, or join: not the ideographs, Hangul's syllables, nor those for private use.
_VARIED = (range(0x80), range(0xA0, 0x3400), range(0xA000, 0xAC00), range(0xF900, 0x20000), range(0x2F800, 0x2FA20))


@cache
def _forms() -> tuple[dict[str, list[str]], str]:
    """Return folded character -> its other forms, and a class of the characters without a one-to-one folding."""
    forms: dict[str, list[str]] = {}
    odd: list[str] = []
    for character in map(chr, chain(*_VARIED)):
        folded = fold(character)
        if len(folded) != 1 or unicodedata.category(folded).startswith("M") or "\u1160" <= folded <= "\u11ff":
            odd.append(character)  # the last are parts of Hangul's syllables
        elif folded != character:
            forms.setdefault(folded, []).append(character)
    return forms, _escaped(odd)


def _escaped(characters: Iterable[str]) -> str:
    """Return the characters as ranges for a [] of a regular expression."""
    codes = sorted(map(ord, characters))
    ends = [code for code, after in zip(codes, [*codes[1:], 0], strict=True) if after != code + 1]
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if before != code - 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


@cache
def _collate() -> str:
    """Return the clause of a collation that maps the case of all scripts.

    Return "" for a PostgreSQL that was built without ICU: the database's locale decides there.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'")
        return ' COLLATE "und-x-icu"' if cursor.fetchone() else ""


@receiver(connection_created)
def _register_sqlite_function(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    if connection.vendor == "sqlite":
        connection.connection.create_function("netra_contains_folded", 2, _contains, deterministic=True)


def _contains(text: str | None, folded: str) -> bool:
    return text is not None and folded in fold(text)
