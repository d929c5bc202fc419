"""The catalogue of models that the environment names: NETRA_MODELS, or one entry for NETRA_MODEL."""

import json
import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from netra.env import names, text

PROVIDERS = ("openai", "anthropic", "ollama")
DEFAULT = "default"  # the name of NETRA_MODEL's entry

_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_PRICES = {"input", "cached", "output"}
_MOST_TOKENS = 1_000_000_000


def catalogue() -> dict[str, dict[str, Any]]:
    """Return name -> {model, key, url, options} in the order of the setting. Raises ImproperlyConfigured.

    The key is that of NETRA_MODEL_<NAME>_KEY, else the provider's usual variable, else "". An entry with a URL of its
    own has only a key of its own: the usual key is not for another host.
    """
    one = text("NETRA_MODEL", "")
    entries = [f"{DEFAULT}={one}"] if one else []
    if several := names("NETRA_MODELS", ""):
        if one:
            raise ImproperlyConfigured("NETRA_MODEL and NETRA_MODELS are both set; give all models in NETRA_MODELS.")
        entries = several
    setting = "NETRA_MODEL" if one else "NETRA_MODELS"
    found: dict[str, dict[str, Any]] = {}
    variables: dict[str, str] = {}
    for entry in entries:
        name, _, model = entry.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) or not re.fullmatch(
            rf"({'|'.join(PROVIDERS)}):\S+", model
        ):
            shown, form = (one, "provider:model") if one else (entry, "name=provider:model")
            raise ImproperlyConfigured(
                f"{setting} has {shown!r}; an entry is {form}, and a provider is {', '.join(PROVIDERS)}."
            )
        variable = f"NETRA_MODEL_{name.upper().replace('-', '_')}"
        if variable in variables:
            raise ImproperlyConfigured(f"{setting}: {variables[variable]!r} and {name!r} have the same variables.")
        variables[variable] = name
        # NETRA_MODEL needs no name in its variables.
        prefixes = [variable, "NETRA_MODEL"] if one else [variable]
        provider = model.partition(":")[0].upper()
        url, key = (_first([f"{prefix}_{kind}" for prefix in prefixes]) for kind in ("URL", "KEY"))
        found[name] = {
            "model": model,
            "key": key or ("" if url else text(f"{provider}_API_KEY", "")),
            "url": url or text(f"{provider}_BASE_URL", ""),
            "options": _options(prefixes),
        }
    return found


def title_model(models: dict[str, dict[str, Any]]) -> str:
    """Return the name of the model of titles; the first without NETRA_TITLE_MODEL. Raises ImproperlyConfigured."""
    name = text("NETRA_TITLE_MODEL", next(iter(models), ""))
    if name and name not in models:
        raise ImproperlyConfigured(f"NETRA_TITLE_MODEL is {name!r}; it must be one of: {', '.join(models) or 'none'}.")
    return name


def _first(variables: list[str]) -> str:
    return next((value for variable in variables if (value := text(variable, ""))), "")


def _options(prefixes: list[str]) -> dict[str, Any]:
    variable = next((f"{prefix}_OPTIONS" for prefix in prefixes if text(f"{prefix}_OPTIONS", "")), "")
    if not variable:
        return {}
    try:
        options = json.loads(text(variable))
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ImproperlyConfigured(f"{variable} must be a JSON object.")
    for option, value in options.items():
        if (wrong := _fault(option, value)) is not None:
            raise ImproperlyConfigured(f"{variable}: {option}: {wrong}.")
    return options


def _fault(option: str, value: Any) -> str | None:
    match option:
        case "context" | "max_output":
            is_right = type(value) is int and 0 < value <= _MOST_TOKENS
            return None if is_right else "it must be a whole number of tokens above 0"
        case "images" | "pdf":
            return None if isinstance(value, bool) else "it must be true or false"
        case "reasoning":
            is_right = isinstance(value, bool) or value in _EFFORTS
            return None if is_right else f"it must be true, false or one of {', '.join(_EFFORTS)}"
        case "price":
            is_right = (
                isinstance(value, dict)
                and {"input", "output"} <= value.keys() <= _PRICES
                and all(type(each) in (int, float) and 0 <= each < 1e9 for each in value.values())
            )
            return None if is_right else "it must be an object of input, output and cached, in USD per million tokens"
    return "there is no such option; known are context, max_output, images, pdf, reasoning, price"
