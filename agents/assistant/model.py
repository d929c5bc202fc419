"""The model of the settings, what it used up, and what its failures are in plain words."""

from typing import Any

from django.conf import settings
from pydantic_ai import exceptions as failures
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from agents.agent import AgentError

RETRIES = 3  # by the provider's client, with back-off and heeding Retry-After: 408, 409, 429, 5xx, no connection

_OLLAMA = "http://127.0.0.1:11434/v1"

_WORDS: list[tuple[type[Exception], str, str]] = [
    (
        failures.ModelAuthenticationError,
        "model_key",
        "The model's provider did not accept the key. An administrator has to look at NETRA_MODEL_KEY.",
    ),
    (
        failures.ModelNotFoundError,
        "model_unknown",
        "The provider does not know the model. An administrator has to look at NETRA_MODEL and NETRA_MODEL_URL.",
    ),
    (
        failures.ModelContextWindowExceededError,
        "too_long",
        "This conversation has grown too long for the model. Start a new thread.",
    ),
    (failures.ModelQuotaExceededError, "model_quota", "The account at the model's provider has no credit left."),
    (
        failures.ModelRateLimitError,
        "model_busy",
        "The model's provider takes no more requests at the moment. Try again in a while.",
    ),
    (failures.ModelTimeoutError, "model_timeout", "The model did not answer in time. Try again."),
    (failures.ModelRequestTimeout, "model_timeout", "The model did not answer in time. Try again."),
    (
        failures.ModelConnectionError,
        "model_unreachable",
        "The model's provider cannot be reached. Try again in a while.",
    ),
    (failures.ModelUnavailableError, "model_down", "The model's provider is out of order. Try again in a while."),
    (failures.ModelServerError, "model_down", "The model's provider is out of order. Try again in a while."),
    (failures.ContentFilterError, "model_refused", "The model's provider refused to answer this."),
    (
        failures.ModelAPIError,
        "model_rejected",
        "The model's provider rejected the request. An administrator has to look at it.",
    ),
    (
        failures.UsageLimitExceeded,
        "limit",
        "This took more steps or tokens than one answer may. Ask for a part of it.",
    ),
    (failures.AgentRunError, "model_garbled", "The model's answer could not be understood. Try again."),
]


def in_words(error: Exception) -> AgentError | None:
    """What a user may read of a failure of the model. None: it is none, but a bug.

    Nothing of the error's own text is in it: providers quote the key that they were sent.
    """
    for kind, code, words in _WORDS:
        if isinstance(error, kind):
            return AgentError(words, code=code)
    return None


def add(usage: dict[str, Any], spent: RunUsage) -> None:
    """Add what was spent to a run's usage. `cost_usd` is by list prices, None where there are none for the model.

    The provider told nothing of the `unmeasured_requests`: with these all else is a lower bound, and no cost is known.
    """
    if not spent.requests:
        return
    counts = {
        "requests": spent.requests,
        "tool_calls": spent.tool_calls,
        "input_tokens": spent.input_tokens,
        "cached_tokens": spent.cache_read_tokens,
        "output_tokens": spent.output_tokens,
    }
    # One that was cut off before its end was not measured either.
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
    return ModelSettings(timeout=settings.NETRA_MODEL_TIMEOUT, max_retries=RETRIES)


def configured() -> Model:
    """The model that NETRA_MODEL names, with an HTTP client of its own: enter it, so that it is closed."""
    kind, _, name = settings.NETRA_MODEL.partition(":")
    url, key = settings.NETRA_MODEL_URL or None, settings.NETRA_MODEL_KEY or None
    if kind == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(name, provider=AnthropicProvider(api_key=key or "none", base_url=url))
    if kind == "ollama":
        from pydantic_ai.models.ollama import OllamaModel
        from pydantic_ai.providers.ollama import OllamaProvider

        return OllamaModel(name, provider=OllamaProvider(base_url=url or _OLLAMA, api_key=key))
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if url is None:
        return OpenAIResponsesModel(name, provider=OpenAIProvider(api_key=key))
    return OpenAIChatModel(name, provider=OpenAICompatibleProvider("openai", base_url=url, api_key=key))
