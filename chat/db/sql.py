"""Raw SQL for SQLite and PostgreSQL: dialects, parameters and execution.

`execute` and `insert` call the driver: on the way of an event Django's cursor costs as much as the database does. They
use Django's connection and its transactions, and raise Django's database errors.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import psycopg
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.asyncio import async_unsafe

VENDOR = connections[DEFAULT_DB_ALIAS].vendor  # "sqlite" or "postgresql"
NOW = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}
# Constant within a statement, so that PostgreSQL can compare an index with it.
STATEMENT_NOW = {**NOW, "postgresql": "statement_timestamp()"}
LATER = {  # now plus a number of seconds
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    "postgresql": "clock_timestamp() + %s * interval '1 second'",
}


def sql(statement: str | dict[str, str], **parts: str) -> str:
    """Return the statement of this database with {now}, {statement_now}, {later} and `parts` filled in."""
    if isinstance(statement, dict):
        statement = statement[VENDOR]
    return statement.format(now=NOW[VENDOR], statement_now=STATEMENT_NOW[VENDOR], later=LATER[VENDOR], **parts)


class _ThreadConnection(threading.local):
    """The connection of this thread. Django searches those of all threads and tasks at each access."""

    @async_unsafe
    def __init__(self) -> None:
        self.connection: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]


_thread = _ThreadConnection()


def execute(statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Execute the statement and return its rows.

    PostgreSQL plans a statement once a connection, so a caller must use few different texts. Raises
    SynchronousOnlyOperation in a thread with a running event loop, and Django's database errors.
    """
    _check_no_event_loop()
    connection = _thread.connection
    if connection.force_debug_cursor:  # a test that counts queries: only Django's cursor records them
        return _execute_recorded(statement, parameters)
    if connection.connection is None:
        connection.ensure_connection()
    with connection.wrap_database_errors:
        if VENDOR == "sqlite":
            cursor = connection.connection.execute(_sqlite_placeholders(statement), parameters)
        else:
            cursor = psycopg.Cursor(connection.connection).execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _check_no_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation("Call the database in a thread of its own: chat.db.access.")


def _execute_recorded(statement: str, parameters: Sequence[Any]) -> list[Any]:
    with _thread.connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def checkpoint() -> None:
    """Move SQLite's write-ahead log into the database file, without blocking writers.

    Otherwise the commit that makes the log longer than `wal_autocheckpoint` pages does so, and the events of all
    users wait for the disk.
    """
    if VENDOR == "sqlite":
        execute("PRAGMA wal_checkpoint(PASSIVE)")


def any_of(type: str) -> str:
    """Return the condition "equals an element of an `array_parameter`"; `type` is PostgreSQL's type of the elements.

    The text is the same for any number of elements.
    """
    return "IN (SELECT value FROM json_each(%s))" if VENDOR == "sqlite" else f"= ANY(%s::{type}[])"


def array_parameter(values: Collection[Any]) -> Any:
    """Return the parameter of `any_of`."""
    return json.dumps(list(values)) if VENDOR == "sqlite" else list(values)


@lru_cache(maxsize=2048)
def _sqlite_placeholders(statement: str) -> str:
    return statement.replace("%s", "?").replace("%%", "%")


MAX_INSERT_ROWS = 100  # in one INSERT of SQLite, which keeps a prepared statement for each number of rows


def insert(table: str, columns: str, rows: Sequence[Sequence[Any]], **expressions: str) -> None:
    """Insert the rows in order; the ORM takes several times as long as the database.

    `columns` names the columns of a row with PostgreSQL's types. `expressions` gives further columns, or replaces the
    value of one: SQL in which %s is the given value of the column. PostgreSQL gets the rows as one JSON text.
    """
    further = tuple(expressions.items())
    if VENDOR == "sqlite":
        for start in range(0, len(rows), MAX_INSERT_ROWS):
            batch = rows[start : start + MAX_INSERT_ROWS]
            execute(_insert_statement(table, columns, further, len(batch)), list(chain.from_iterable(batch)))
    elif rows:
        names = _column_names(columns)
        text = json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False)
        execute(_insert_statement(table, columns, further), [text])


@lru_cache
def _column_names(columns: str) -> list[str]:
    return [column.split()[0] for column in columns.split(",")]


@lru_cache(maxsize=10 * MAX_INSERT_ROWS)
def _insert_statement(table: str, columns: str, further: tuple[tuple[str, str], ...], rows: int = 1) -> str:
    values = dict.fromkeys(_column_names(columns), "%s") | {name: sql(value) for name, value in further}
    target = f"{table} ({', '.join(values)})"
    if VENDOR == "sqlite":
        row = f"({', '.join(values.values())})"
        return f"INSERT INTO {target} VALUES {', '.join([row] * rows)}"  # noqa: S608 no text of a user's
    selected = ", ".join(value.replace("%s", f"v.{name}") for name, value in values.items())
    return f"INSERT INTO {target} SELECT {selected} FROM json_to_recordset(%s::json) AS v({columns})"  # noqa: S608


def id_parameter(id: str | uuid.UUID) -> str:
    """Return the id as 32 hexadecimal digits: SQLite stores it so, and PostgreSQL accepts it."""
    return id.replace("-", "") if isinstance(id, str) else id.hex


def format_id(value: Any) -> str:
    """Return an id that was read from either database in the wire's form, with hyphens."""
    if isinstance(value, uuid.UUID):
        return str(value)
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
