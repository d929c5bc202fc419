"""The two dialects of the record's raw SQL, SQLite's and PostgreSQL's."""

import uuid

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


def key(id: str | uuid.UUID) -> str:
    """An id as SQLite keeps it and as PostgreSQL takes it, too; also of one that was read from either."""
    return id.replace("-", "") if isinstance(id, str) else id.hex
