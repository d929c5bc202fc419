"""The models of the catalogue, and the usage of a run."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2
from django.conf import settings
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from agents.llm.catalogue import Entry
from agents.llm.streams.normalizing import NormalizingModel
from agents.llm.streams.wire import client

RETRIES = 3  # by the provider's client, with back-off and Retry-After: for 408, 409, 429, 5xx and no connection

UNKNOWN = "unknown"  # in place of the name of a model

_NO_KEY = "none"  # without one, the providers' clients take that of the environment, which may be for another host
_OLLAMA = "http://127.0.0.1:11434/v1"
_MILLION = 1e6


def add(usage: dict[str, Any], spent: RunUsage, model: str, price: Mapping[str, float] | None = None) -> None:
    """Add the usage of requests to `model` to a run's usage, in all and in its entry of `models`.

    `price` is in USD per million tokens, for `input`, `cached` and `output`; list prices apply without it. `cost_usd`
    is None without a price. The provider reports no usage of `unmeasured_requests`: with them all counts are lower
    bounds and the cost is None.
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
    cost = None if unmeasured else _cost(spent, price)
    usage["model"] = model
    _count(usage, {**counts, **({"unmeasured_requests": unmeasured} if unmeasured else {})}, cost)
    models = usage.setdefault("models", [])
    own: dict[str, Any] | None = next((each for each in models if each["model"] == model), None)
    if own is None:
        models.append(own := {"model": model})
    del counts["tool_calls"]
    _count(own, counts, cost)


def _count(usage: dict[str, Any], counts: Mapping[str, int], cost: float | None) -> None:
    so_far = usage.get("cost_usd", 0.0)
    for name, count in counts.items():
        usage[name] = usage.get(name, 0) + count
    usage["cost_usd"] = None if so_far is None or cost is None else so_far + cost


def _cost(spent: RunUsage, price: Mapping[str, float] | None) -> float | None:
    if price is None:
        return None if spent.cost is None else float(spent.cost)
    cached = int(spent.cache_read_tokens)
    paid = (int(spent.input_tokens) - cached) * price["input"] + int(spent.output_tokens) * price["output"]
    return (paid + cached * price.get("cached", price["input"])) / _MILLION


def price_of(name: str) -> Mapping[str, float] | None:
    """Return the price that the catalogue gives for this `provider:model`; None without one."""
    found = (each["options"].get("price") for each in settings.NETRA_MODELS.values() if each["model"] == name)
    return next(filter(None, found), None)


def spent_by(response: ModelResponse) -> tuple[RunUsage, str]:
    """Return the usage of a response with its cost by list prices, where there is one, and its `provider:model`."""
    spent = RunUsage(requests=1)
    spent.incr(response.usage)
    if spent.cost is None:
        with suppress(LookupError, ValueError, AssertionError):  # a model without a list price
            spent.cost = response.cost().total_price
    return spent, ":".join(filter(None, (response.provider_name, response.model_name))) or UNKNOWN


def model_settings(entry: Entry) -> ModelSettings:
    """Return the time-out and the retries of every request to the model, and what its options say."""
    made = ModelSettings(timeout=settings.NETRA_MODEL_TIMEOUT, max_retries=RETRIES)
    if "max_output" in entry.options:
        made["max_tokens"] = entry.options["max_output"]
    if "reasoning" in entry.options:
        made["thinking"] = entry.options["reasoning"]
    return made


def configured(entry: Entry) -> Model:
    """Return the model with an HTTP client of its own. Use it as a context, which closes the client."""
    is_chat = entry.provider == "ollama" or (entry.provider == "openai" and bool(entry.url))
    http = client()
    return NormalizingModel(_named(entry, http), http, one_text=is_chat)


def _profile(options: Mapping[str, Any]) -> ModelProfile:
    """Return what the options say of the model; the library knows the rest."""
    profile = ModelProfile()
    if "context" in options:
        profile["context_window"] = options["context"]
    if "images" in options:
        profile["supports_image_input"] = options["images"]
    if "pdf" in options:
        profile["supports_document_input"] = options["pdf"]
    return profile


def _named(entry: Entry, http: httpx2.AsyncClient) -> Model:
    name, url, key, profile = entry.own_name, entry.url or None, entry.key or _NO_KEY, _profile(entry.options)
    if entry.provider == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        anthropic = AnthropicProvider(api_key=key, base_url=url, http_client=http)
        return AnthropicModel(name, provider=anthropic, profile=profile)
    if entry.provider == "ollama":
        from pydantic_ai.models.ollama import OllamaModel
        from pydantic_ai.providers.ollama import OllamaProvider

        ollama = OllamaProvider(base_url=url or _OLLAMA, api_key=key, http_client=http)
        return OllamaModel(name, provider=ollama, profile=profile)
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if url is None:
        return OpenAIResponsesModel(name, provider=OpenAIProvider(api_key=key, http_client=http), profile=profile)
    compatible = OpenAICompatibleProvider("openai", base_url=url, api_key=key, http_client=http)
    return OpenAIChatModel(name, provider=compatible, profile=profile)
