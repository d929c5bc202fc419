"""The two dialects of the record's raw SQL, SQLite's and PostgreSQL's."""

import uuid
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db import connection

NOW = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}
# The same until the statement ends, so that PostgreSQL can look it up in an index.
BEGAN = {**NOW, "postgresql": "statement_timestamp()"}
LATER = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    "postgresql": "clock_timestamp() + %s * interval '1 second'",
}


def sql(statement: str | dict[str, str], **parts: str) -> str:
    vendor = connection.vendor
    if isinstance(statement, dict):
        statement = statement[vendor]
    return statement.format(now=NOW[vendor], began=BEGAN[vendor], later=LATER[vendor], **parts)


AT_ONCE = 100  # rows of one INSERT: a statement for each number of them is kept prepared


def insert(cursor: Any, into: str, row: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert these rows, in order. What the ORM does for it takes several times as long as the database does."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        cursor.execute(_insert(into, sql(row), len(some)), list(chain.from_iterable(some)))


@lru_cache(maxsize=10 * AT_ONCE)
def _insert(into: str, row: str, rows: int) -> str:
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608 no text of a user's


def key(id: str | uuid.UUID) -> str:
    """An id as SQLite keeps it and as PostgreSQL takes it, too; also of one that was read from either."""
    return id.replace("-", "") if isinstance(id, str) else id.hex


def id_of(read: Any) -> str:
    """An id that was read, as the wire shows it."""
    if isinstance(read, uuid.UUID):
        return str(read)
    return f"{read[:8]}-{read[8:12]}-{read[12:16]}-{read[16:20]}-{read[20:]}"
