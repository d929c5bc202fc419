"""Model prices, from the list that the library genai-prices carries with it; nothing is fetched.

Prices are US dollars per million tokens. Only vendors of their own models are listed: what a host or a contract
charges differs.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TypedDict

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from agents.sdk import AgentError
from agents.usage.figures import day, money
from chat.translation import speaking, t

VENDORS = ("openai", "anthropic", "google", "mistral", "x-ai", "deepseek", "cohere", "moonshotai", "meta")
# Vendors that publish one discount for their whole batch API, for models whose batch price the list lacks.
HALF_PRICE_BATCH = ("openai", "anthropic", "google", "mistral")
SOURCE = f"genai-prices {genai_prices.__version__}"

# Parts of a model's id that say it is made for something else than text in, text out, or is not a settled product.
_SPECIAL = re.compile(
    r"\b(?:agent|audio|banana|build|code|codestral|codex|computer|contributor|cyber|devstral|embed|exp|"
    r"extended|free|ft|guard|highspeed|image|instruct|latest|live|moderation|multi|ocr|omni|preview|"
    r"realtime|research|robotics|rosalind|safeguard|search|speech|transcribe|tts|video|vision|voice|"
    r"voxtral)\b"
)
_BATCH = {"processing": "batch"}
_KEYS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


class Price(TypedDict):
    """US dollars per million tokens; None where the list has none. `batch_listed`: from the list, else assumed."""

    model: str
    vendor: str
    input: float
    output: float
    cache_read: float | None
    cache_write: float | None
    batch_input: float | None
    batch_output: float | None
    batch_cache_read: float | None
    batch_cache_write: float | None
    batch_listed: bool
    context_window: int | None
    source: str
    as_of: str
    url: str | None


def price_lookup(model: str, prompt_tokens: int | None = None) -> Price:
    """The price of a model today, at the long-prompt rate where `prompt_tokens` a request reach it."""
    return price_at(model, prompt_tokens, datetime.now(UTC))


def price_at(model: str, prompt_tokens: int | None, at: datetime) -> Price:
    """The price of a model at a time, as far as the list knows its past."""
    entry = _catalogue().get(model)
    price = entry and (_price(*entry, prompt_tokens, at) or _price(*entry, prompt_tokens))
    if not price:
        raise AgentError(t("The price list has no text price for “{0}”.", model), code="unknown_model")
    return price


def listed(price: Price) -> str:
    """Name a list price with its date."""
    dollars = (money(price[side], "USD") for side in ("input", "output"))
    return t("{0}: {1} in, {2} out per million tokens, {3}", price["model"], *dollars, day(price["as_of"]))


def noted(price: Price) -> str:
    """Name a list price with its date as programs read it, in English."""
    with speaking("en"):
        return listed(price)


def tier_price(model: str, prompt_tokens: int | None, at: datetime, tier: str) -> Price:
    """The price at a service tier, and at the standard one where the list has no other."""
    price = price_at(model, prompt_tokens, at)
    rates = dict(_rates(_catalogue()[model][1].get_prices(at, {"service_tier": tier}), prompt_tokens))
    plain = {"input": rates.get("input_mtok", price["input"]), "output": rates.get("output_mtok", price["output"])}
    cached = {"cache_read": rates.get("cache_read_mtok"), "cache_write": rates.get("cache_write_mtok")}
    return {**price, **plain, **cached}  # type: ignore[typeddict-item]


def changes(model: str) -> tuple[list[date], list[time]]:
    """The days on which the list has a new price of the model, and the times of day (UTC) at which it changes."""
    prices = _catalogue()[model][1].prices
    limits = [one.constraint for one in prices] if isinstance(prices, list) else []
    days = {limit.start_date for limit in limits if isinstance(limit, StartDateConstraint)}
    clocks = [limit for limit in limits if isinstance(limit, TimeOfDateConstraint)]
    hours = {_utc(moment) for limit in clocks for moment in (limit.start_time, limit.end_time)}
    return sorted(days), sorted(hours - {time(0)})


def _utc(moment: time) -> time:
    return datetime.combine(date(2026, 1, 1), moment).astimezone(UTC).time() if moment.tzinfo else moment


def long_prompts(model: str, at: datetime) -> list[int]:
    """The numbers of input tokens of a request above which the model has another price."""
    prices = _catalogue()[model][1].get_prices(at)
    tiered = [rate for key in _KEYS if isinstance(rate := getattr(prices, key), TieredPrices)]
    return sorted({tier.start for rate in tiered for tier in rate.tiers})


def find_model(words: str) -> str | None:
    """The id of the model that is written like this (`GPT 4o`, `claude 3.5 sonnet`), or None."""
    known = _names().get(_key(words))
    if known:
        return known
    if " " in words:
        return None
    # Not the library's search over all vendors: it remembers every name that it was ever asked for.
    for vendor, provider in _vendors().items():
        model = provider.find_model(words.lower())
        if model and model.id in _catalogue() and _catalogue()[model.id][0].id == vendor:
            return model.id
    return None


def nearest_models(words: str) -> list[str]:
    """Up to three ids that look most like the words."""
    return difflib.get_close_matches("-".join(words.lower().split())[:60], _catalogue(), n=3, cutoff=0.5)


def cheaper_candidates(than: Price, window: int, prompt_tokens: int | None) -> list[Price]:
    """Current general text models, dearer on neither input nor output, that take a request of `window` tokens."""
    found = [price for _, price in _current(prompt_tokens) if price["model"] != than["model"]]
    fits = [price for price in found if price["context_window"] is not None and price["context_window"] >= window]
    return [price for price in fits if price["input"] <= than["input"] and price["output"] <= than["output"]]


@cache
def common_models(vendor: str) -> tuple[str, ...]:
    """Return the newest current text model of each of a vendor's families, such as `mini` or `sonnet`."""
    newest: dict[tuple[str, ...], tuple[list[int], str]] = {}
    for provider, price in _current(None):
        if provider.id == vendor:
            family = tuple(sorted(part for part in _parts(price["model"]) if part.isalpha()))
            version = [int(part) for part in re.findall(r"\d+", price["model"])]
            newest[family] = max(newest.get(family, ([], "")), (version, price["model"]))
    return tuple(sorted(name for _, name in newest.values()))


def _current(prompt_tokens: int | None) -> Iterator[tuple[Provider, Price]]:
    for provider, model in _catalogue().values():
        price = _price(provider, model, prompt_tokens)
        if price is not None and _is_current(provider, model, price):
            yield provider, price


def _is_current(provider: Provider, model: ModelInfo, price: Price) -> bool:
    # The list keeps retired models. What is sold has a cached-input price and, where its vendor has any, a batch one.
    if model.deprecated or _SPECIAL.search(model.id):
        return False
    return price["cache_read"] is not None and (price["batch_listed"] or not _has_batch(provider.id))


@cache
def _has_batch(vendor: str) -> bool:
    return any(
        (price := _price(provider, model, None)) is not None and price["batch_listed"]
        for provider, model in _catalogue().values()
        if provider.id == vendor
    )


@cache
def _vendors() -> dict[str, Provider]:
    providers = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    return {vendor: providers[vendor] for vendor in VENDORS}


@cache
def _catalogue() -> dict[str, tuple[Provider, ModelInfo]]:
    """The vendors' own models that have a price for text, by id."""
    catalogue: dict[str, tuple[Provider, ModelInfo]] = {}
    for vendor, provider in _vendors().items():
        for model in provider.models:
            if _maker(model.id) in (vendor, None) and _price(provider, model, None):
                catalogue.setdefault(model.id, (provider, model))
    return catalogue


def _maker(model: str) -> str | None:
    # A vendor's platform also lists models of others, which are found under their makers.
    try:
        return data_snapshot.get_snapshot().find_provider(model, None, None).id
    except LookupError:
        return None


@cache
def _names() -> dict[tuple[str, ...], str]:
    names: dict[tuple[str, ...], str] = {}
    for model in _catalogue():
        names.setdefault(_key(model), model)
    for model, (_, info) in _catalogue().items():
        if info.name:
            names.setdefault(_key(info.name), model)
    return names


def _key(words: str) -> tuple[str, ...]:
    """Order, case and separators do not matter: `Claude Sonnet 3.5` is `claude-3-5-sonnet-latest`."""
    return tuple(sorted(part for part in _parts(words) if part != "latest"))


def _parts(words: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", words.lower())


def _price(provider: Provider, model: ModelInfo, prompt_tokens: int | None, at: datetime | None = None) -> Price | None:
    today = datetime.now(UTC)
    rates = dict(_rates(model.get_prices(at or today), prompt_tokens))
    if not rates.get("input_mtok") or not rates.get("output_mtok"):
        return None
    batch = dict(_rates(model.get_prices(at or today, _BATCH), prompt_tokens))
    listed = batch["input_mtok"] < rates["input_mtok"] and batch["output_mtok"] <= rates["output_mtok"]
    if not listed:
        half = ("input_mtok", "output_mtok") if provider.id in HALF_PRICE_BATCH else ()
        batch = {key: rates[key] / 2 for key in half}
    return {
        "model": model.id,
        "vendor": provider.id,
        "input": rates["input_mtok"],
        "output": rates["output_mtok"],
        "cache_read": rates.get("cache_read_mtok"),
        "cache_write": rates.get("cache_write_mtok"),
        "batch_input": batch.get("input_mtok"),
        "batch_output": batch.get("output_mtok"),
        "batch_cache_read": batch.get("cache_read_mtok"),
        "batch_cache_write": batch.get("cache_write_mtok"),
        "batch_listed": listed,
        "context_window": model.context_window,
        "source": SOURCE,
        "as_of": today.date().isoformat(),
        "url": provider.pricing_urls[0] if provider.pricing_urls else None,
    }


def _rates(prices: ModelPrice, prompt_tokens: int | None) -> Iterator[tuple[str, float]]:
    for key in _KEYS:
        rate = getattr(prices, key)
        if isinstance(rate, TieredPrices):
            # Past a threshold of prompt tokens the whole request is charged at the higher rate.
            reached = [tier.price for tier in rate.tiers if prompt_tokens is not None and prompt_tokens > tier.start]
            rate = reached[-1] if reached else rate.base
        if isinstance(rate, Decimal):
            yield key, float(rate)
