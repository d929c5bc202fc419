"""Answers of several dialects, for the OpenAPI schema."""

from typing import Any

from rest_framework import serializers


class StoppedSerializer(serializers.Serializer[Any]):
    """The runs that were stopped."""

    run_ids = serializers.ListField(child=serializers.UUIDField())
