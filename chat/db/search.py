"""The lookup `contains_folded`: a case-insensitive substring search for all scripts, equal on SQLite and PostgreSQL.

SQLite maps the case of ASCII only, PostgreSQL that of its database's locale. Both compare code points, so "é" as one
character differs from "é" as two. The lookup folds both sides before it compares them: compatibility composition
(NFKC), full mapping to lower and then upper case (ß equals SS, both small sigmas are equal), I for İ, no emoji
presentation selectors and no soft hyphens. No character is a wildcard.
"""

import re
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
TRIGRAM = 3  # characters
MAX_CANDIDATES = 1000  # texts; a word that is in more is soon found without the index
MERGED_PAGES = 64  # of 4 kB, in one step: a few milliseconds
MIN_CHANGES = 2  # rows that a step changes if it had something to merge (SQLite, FTS5, 6.8)
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


@TextField.register_lookup
class Holds(Lookup):
    """Lookup `folded__holds="text"` of a column with folded texts. The right side is a string, never an expression."""

    lookup_name = "holds"

    def get_prep_lookup(self) -> str:
        """Return the text to look for, folded."""
        return fold(str(self.rhs))

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Return the SQL for SQLite and its parameters."""
        text, params = self.process_lhs(compiler, connection)
        return f"instr({text}, %s) > 0", [*params, self.rhs]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Return the SQL for PostgreSQL and its parameters.

        LIKE uses the index, or not, by the statistics of the column; without the index, strpos is four times as fast.
        """
        text, params = self.process_lhs(compiler, connection)
        if len(self.rhs) < TRIGRAM or not _has_trigrams():
            return f"strpos({text}, %s::text) > 0", [*params, self.rhs]
        pattern = re.sub(r"([\\%_])", r"\\\1", self.rhs)
        return f"{text} LIKE %s", [*params, f"%{pattern}%"]


def candidates(text: str) -> list[int] | None:
    """Return the ids of the few rows of chat_messagetext that may hold the text, by SQLite's index of trigrams.

    Return None if there are many, or if the database has no such index: then a search reads the texts of the user's
    threads, and stops in each thread at the first that holds the text. PostgreSQL chooses between both by itself.
    """
    folded = fold(text)
    if connection.vendor != "sqlite" or len(folded) < TRIGRAM:
        return None
    trigrams = {folded[start : start + TRIGRAM] for start in range(len(folded) - TRIGRAM + 1)}
    query = " AND ".join('"{}"'.format(trigram.replace('"', '""')) for trigram in sorted(trigrams))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rowid FROM chat_messageindex WHERE chat_messageindex MATCH %s LIMIT %s",
            [query, MAX_CANDIDATES + 1],
        )
        ids = [id for (id,) in cursor.fetchall()]
    return ids if len(ids) <= MAX_CANDIDATES else None


def merge(pages: int = MERGED_PAGES) -> bool:
    """Merge parts of the index of trigrams, at most so many pages. Return whether there is more to merge.

    A write only adds a part, so that no event waits for a merge. SQLite begins to merge all parts if `pages` is
    negative; otherwise those of similar size. PostgreSQL merges its list of new entries in one step.
    """
    with connection.cursor() as cursor:
        if connection.vendor != "sqlite":
            if _has_trigrams():
                cursor.execute("SELECT gin_clean_pending_list('chat_messagetext_trigrams')")
            return False
        before = connection.connection.total_changes
        cursor.execute("INSERT INTO chat_messageindex(chat_messageindex, rank) VALUES ('merge', %s)", [pages])
        return bool(connection.connection.total_changes - before >= MIN_CHANGES)


def purge() -> None:
    """Remove what deleted texts left in SQLite's index: it keeps their trigrams until it merges the part they are in.

    One transaction a step, so that other writers get their turn. PostgreSQL's autovacuum does this.
    """
    merge(-MERGED_PAGES)
    while merge():
        pass


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


@cache
def _has_trigrams() -> bool:
    """Return whether PostgreSQL has the index that needs its extension pg_trgm."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('chat_messagetext_trigrams')")
        return bool(cursor.fetchone() != (None,))


@receiver(connection_created)
def _register_sqlite_function(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    if connection.vendor == "sqlite":
        connection.connection.create_function("netra_contains_folded", 2, _contains, deterministic=True)


def _contains(text: str | None, folded: str) -> bool:
    return text is not None and folded in fold(text)
