"""The configured model, and the usage of a run."""

from typing import Any

import httpx2
from django.conf import settings
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from agents.llm.stream import NormalizingModel
from agents.llm.wire import client

RETRIES = 3  # by the provider's client, with back-off and Retry-After: for 408, 409, 429, 5xx and no connection

_OLLAMA = "http://127.0.0.1:11434/v1"


def add(usage: dict[str, Any], spent: RunUsage) -> None:
    """Add the usage of requests to a run's usage. `cost_usd` is at list prices, None without a list price.

    The provider reports no usage of `unmeasured_requests`: with them all counts are lower bounds and the cost is None.
    """
    if not spent.requests:
        return
    counts = {
        "requests": spent.requests,
        "tool_calls": spent.tool_calls,
        "input_tokens": int(spent.input_tokens),
        "cached_tokens": int(spent.cache_read_tokens),
        "output_tokens": int(spent.output_tokens),
    }
    # An interrupted request is not measured, either.
    unmeasured = spent.unmeasured_requests if spent.input_tokens else spent.requests
    if unmeasured:
        counts["unmeasured_requests"] = unmeasured
    so_far = usage.get("cost_usd", 0.0)
    usage["model"] = settings.NETRA_MODEL
    for name, count in counts.items():
        usage[name] = usage.get(name, 0) + count
    cost = None if unmeasured else spent.cost
    usage["cost_usd"] = None if so_far is None or cost is None else so_far + float(cost)


def model_settings() -> ModelSettings:
    """Return the time-out and the retries of every request to the model."""
    return ModelSettings(timeout=settings.NETRA_MODEL_TIMEOUT, max_retries=RETRIES)


def configured() -> Model:
    """Return the model of NETRA_MODEL with an HTTP client of its own. Use it as a context, which closes the client."""
    kind, _, name = settings.NETRA_MODEL.partition(":")
    is_chat = kind == "ollama" or (kind == "openai" and bool(settings.NETRA_MODEL_URL))
    http = client()
    return NormalizingModel(_named(kind, name, http), http, one_text=is_chat)


def _named(kind: str, name: str, http: httpx2.AsyncClient) -> Model:
    url, key = settings.NETRA_MODEL_URL or None, settings.NETRA_MODEL_KEY or None
    if kind == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(name, provider=AnthropicProvider(api_key=key or "none", base_url=url, http_client=http))
    if kind == "ollama":
        from pydantic_ai.models.ollama import OllamaModel
        from pydantic_ai.providers.ollama import OllamaProvider

        return OllamaModel(name, provider=OllamaProvider(base_url=url or _OLLAMA, api_key=key, http_client=http))
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if url is None:
        return OpenAIResponsesModel(name, provider=OpenAIProvider(api_key=key, http_client=http))
    return OpenAIChatModel(
        name, provider=OpenAICompatibleProvider("openai", base_url=url, api_key=key, http_client=http)
    )
