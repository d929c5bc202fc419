"""The record's raw SQL: its two dialects, SQLite's and PostgreSQL's, and its way to the database.

On the way of an event what Django's cursors and `atomic` do takes as long as the database itself: hence `execute`,
`insert` and `written`, which go to the driver. Errors are Django's, as everywhere.
"""

import json
import threading
import uuid
from asyncio import _get_running_loop
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any

import psycopg
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

VENDOR = connections[DEFAULT_DB_ALIAS].vendor  # "sqlite" or "postgresql"
NOW = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}
# The same until the statement ends, so that PostgreSQL can look it up in an index.
BEGAN = {**NOW, "postgresql": "statement_timestamp()"}
LATER = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    "postgresql": "clock_timestamp() + %s * interval '1 second'",
}


def sql(statement: str | dict[str, str], **parts: str) -> str:
    if isinstance(statement, dict):
        statement = statement[VENDOR]
    return statement.format(now=NOW[VENDOR], began=BEGAN[VENDOR], later=LATER[VENDOR], **parts)


class _OfThread(threading.local):
    """This thread's connection. Django looks it up among those of all threads and tasks, each time anew."""

    @async_unsafe
    def __init__(self) -> None:
        self.connection: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]


_mine = _OfThread()


@contextmanager
def written() -> Iterator[None]:
    """What `transaction.atomic` is: one transaction, committed at the end or rolled back, and then what was to be done
    on commit. Within another one it is a savepoint."""
    connection = _mine.connection
    if connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    execute("BEGIN IMMEDIATE" if VENDOR == "sqlite" else "BEGIN")
    # What Django goes by: so that `on_commit` waits, and an `atomic` in between is a savepoint.
    connection.in_atomic_block, connection.autocommit = True, False
    try:
        yield
        connection.in_atomic_block = False
        execute("COMMIT")
    except BaseException:
        connection.in_atomic_block = False
        try:
            connection.rollback()
        except Error:
            connection.close()
        raise
    finally:
        connection.autocommit = True
    connection.run_and_clear_commit_hooks()


def execute(statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """The rows that the statement returns. PostgreSQL plans it once a connection, so its text must be one of few.

    Raises SynchronousOnlyOperation where a loop runs: it would wait."""
    if _get_running_loop() is not None:  # Django's own way to ask this takes as long as BEGIN
        raise SynchronousOnlyOperation("The database is asked from a thread of its own: chat.database.")
    connection = _mine.connection
    if connection.force_debug_cursor:  # a test counts them: only Django's cursor keeps them
        return _logged(statement, parameters)
    if connection.connection is None:
        connection.ensure_connection()
    with connection.wrap_database_errors:
        if VENDOR == "sqlite":
            cursor = connection.connection.execute(_of_sqlite(statement), parameters)
        else:
            cursor = psycopg.Cursor(connection.connection).execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _logged(statement: str, parameters: Sequence[Any]) -> list[Any]:
    with _mine.connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def checkpoint() -> None:
    """Move what was committed from SQLite's log into its file, beside those who write. Else whoever commits has to,
    once the log has so many pages (`wal_autocheckpoint`), and everybody's events wait for the disk."""
    if VENDOR == "sqlite":
        execute("PRAGMA wal_checkpoint(PASSIVE)")


def among(type: str) -> str:
    """The condition that a value of this type of PostgreSQL's is one of `many`, in a text that is the same for any
    number of them."""
    return "IN (SELECT value FROM json_each(%s))" if VENDOR == "sqlite" else f"= ANY(%s::{type}[])"


def many(values: Collection[Any]) -> Any:
    return json.dumps(list(values)) if VENDOR == "sqlite" else list(values)


@lru_cache(maxsize=2048)
def _of_sqlite(statement: str) -> str:
    return statement.replace("%s", "?").replace("%%", "%")


AT_ONCE = 100  # rows of one INSERT: SQLite keeps a statement for each number of them


def insert(into: str, given: str, rows: Sequence[Sequence[Any]], **also: str) -> None:
    """Insert these rows, in order. What the ORM does for it takes several times as long as the database does.

    `given` names the columns of a row, with PostgreSQL's types; `also` says what else is written: a column's SQL, in
    which %s is what was given for this column. PostgreSQL takes the rows as one text of JSON."""
    more = tuple(also.items())
    if VENDOR == "sqlite":
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            execute(_insert(into, given, more, len(some)), list(chain.from_iterable(some)))
    elif rows:
        names = _names(given)
        text = json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False)
        execute(_insert(into, given, more), [text])


@lru_cache
def _names(given: str) -> list[str]:
    return [column.split()[0] for column in given.split(",")]


@lru_cache(maxsize=10 * AT_ONCE)
def _insert(into: str, given: str, also: tuple[tuple[str, str], ...], rows: int = 1) -> str:
    values = dict.fromkeys(_names(given), "%s") | {name: sql(value) for name, value in also}
    columns = f"{into} ({', '.join(values)})"
    if VENDOR == "sqlite":
        row = f"({', '.join(values.values())})"
        return f"INSERT INTO {columns} VALUES {', '.join([row] * rows)}"  # noqa: S608 no text of a user's
    made = ", ".join(value.replace("%s", f"v.{name}") for name, value in values.items())
    return f"INSERT INTO {columns} SELECT {made} FROM json_to_recordset(%s::json) AS v({given})"  # noqa: S608


def key(id: str | uuid.UUID) -> str:
    """An id as SQLite keeps it and as PostgreSQL takes it, too; also of one that was read from either."""
    return id.replace("-", "") if isinstance(id, str) else id.hex


def id_of(read: Any) -> str:
    """An id that was read, as the wire shows it."""
    if isinstance(read, uuid.UUID):
        return str(read)
    return f"{read[:8]}-{read[8:12]}-{read[12:16]}-{read[16:20]}-{read[20:]}"
