"""Serializer fields with strict types: 5 is not "5"."""

from datetime import datetime
from typing import Any
from uuid import UUID

from rest_framework import serializers

from chat import protocol


class Text(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Name(Text):
    """A text that shows something: one of letters that nobody sees is the same as an empty one."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if protocol.visible(text):
            return text
        if not self.allow_blank:
            raise serializers.ValidationError("must not be empty")
        return ""


class Email(serializers.EmailField):
    def to_internal_value(self, data: Any) -> str:
        # Django's validator accepts letters that nobody sees, so one address could look like another.
        if not isinstance(data, str) or not data.strip().isprintable():
            self.fail("invalid")
        return super().to_internal_value(data).lower()


class Flag(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Count(serializers.IntegerField):
    """A number of an event."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, **options)

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class Id(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or len(data) != 36:
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Choice(serializers.ChoiceField):
    """One of several whole numbers."""

    def to_internal_value(self, data: Any) -> Any:
        if type(data) is not int:
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


class Seconds(serializers.IntegerField):
    """A whole number of seconds."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return int(super().to_internal_value(data))


class Texts(serializers.ListField):
    """A list of texts. An error does not name the position."""

    def to_internal_value(self, data: Any) -> list[str]:
        try:
            return list(super().to_internal_value(data))
        except serializers.ValidationError as error:
            detail: Any = error.detail
            raise serializers.ValidationError(
                next(iter(detail.values())) if isinstance(detail, dict) else detail
            ) from None


class Timestamp(serializers.DateTimeField):
    def to_representation(self, value: datetime) -> str:
        return protocol.timestamp(value)
