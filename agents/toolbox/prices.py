"""A tool that returns the list price of a model by the name that people use."""

from typing import Any

from agents.sdk import AgentError
from agents.usage.prices import find_model, nearest_models, price_lookup


def model_price(model: str, prompt_tokens: int | None = None) -> dict[str, Any]:
    """Today's list price of a model, in US dollars per million tokens.

    Args:
        model: The model as people write it, e.g. `gpt-4o mini` or `Claude Sonnet 4.5`.
        prompt_tokens: The size of one prompt; some models charge more for long ones.
    """
    found = find_model(model)
    if found is None:
        nearest = nearest_models(model)
        hint = f" The nearest names in it: {', '.join(nearest)}." if nearest else ""
        raise AgentError(f"The price list has no model “{model[:100]}”.{hint}", code="unknown_model")
    return dict(price_lookup(found, prompt_tokens))
