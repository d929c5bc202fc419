"""A field of JSON that keeps the order of keys."""

import json
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class OrderedJSONField(models.JSONField):
    """JSON, stored as text.

    The fields of a form and the parameters of a tool are shown in the order in which an agent gave them. PostgreSQL's
    jsonb does not keep it. Lookups into the value are not supported.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the same type on both databases."""
        return "text"

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Return JSON text, or None for NULL."""
        return None if value is None else json.dumps(value, ensure_ascii=False)
