"""The models of the catalogue with their keys and options. It loads no model library."""

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from agents.sdk import AgentError
from chat.catalogue import names, unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue. `model` is `provider:model`; `options` are those of NETRA_MODEL_<NAME>_OPTIONS."""

    name: str
    model: str
    key: str = field(repr=False)
    url: str
    options: dict[str, Any]

    @property
    def provider(self) -> str:
        """The part of `model` before the colon: openai, anthropic or ollama."""
        return self.model.partition(":")[0]

    @property
    def own_name(self) -> str:
        """The name of the model at its provider."""
        return self.model.partition(":")[2]


def entry(name: str = "") -> Entry:
    """Return the model with this name, "" for the first. Raises AgentError `unavailable` if it cannot answer."""
    if reason := unavailable(name):
        raise AgentError(reason, code="unavailable")
    name = name or names()[0]
    return Entry(name, **settings.NETRA_MODELS[name])
