"""The catalogue of configured models, as far as every process may know it: their names, and why one cannot answer."""

from typing import Any

from django.conf import settings
from django.core.checks import Warning, register


def names() -> list[str]:
    """Return the names of all models, also of those without a key, in the order of the setting."""
    return list(settings.NETRA_MODELS)


def name_of(model: str) -> str:
    """Return the first name of this `provider:model` in the catalogue; `other` for a model outside of it."""
    return next((name for name, found in settings.NETRA_MODELS.items() if found["model"] == model), "other")


def unavailable(name: str = "") -> str | None:
    """Return the reason why this model cannot answer, for the user; None if it can. "" is the first of the catalogue.

    The reason names variables, never a key.
    """
    known = settings.NETRA_MODELS
    if not known:
        return "Not set up yet. An administrator can set NETRA_MODEL or NETRA_MODELS."
    name = name or next(iter(known))
    if name not in known:
        return f"There is no model “{name}”. An administrator has to look at NETRA_MODELS."
    found = known[name]
    # A server of one's own may need no key.
    if found["key"] or found["url"] or found["model"].startswith("ollama:"):
        return None
    variable = "NETRA_MODEL_KEY" if name == "default" else f"NETRA_MODEL_{name.upper().replace('-', '_')}_KEY"
    usual = f"{found['model'].partition(':')[0].upper()}_API_KEY"
    return f"The model “{name}” has no key. An administrator can set {variable} or {usual}."


@register
def models_can_answer(app_configs: Any, **options: Any) -> list[Warning]:
    """Return a warning for each model that cannot answer."""
    return [Warning(reason, id="netra.W001") for name in names() if (reason := unavailable(name))]
