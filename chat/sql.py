"""The two dialects of the record's raw SQL, SQLite's and PostgreSQL's."""

import uuid
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
    if isinstance(statement, dict):
        statement = statement[connection.vendor]
    return statement.format(
        now=NOW[connection.vendor], began=BEGAN[connection.vendor], later=LATER[connection.vendor], **parts
    )


def key(id: uuid.UUID) -> Any:
    return id if connection.vendor == "postgresql" else id.hex


def uuid_of(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
