"""Meanings of column names, in several languages. PURE: standard library."""

import re
import tomllib
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

Role = Literal[
    "timestamp", "ended", "model", "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens",
    "cache_write_tokens", "cache_write_1h", "reasoning", "audio", "images", "searches", "minutes", "seats",
    "latency_ms", "status", "user", "team", "project", "api_key", "feature", "environment", "cost", "credit", "gross",
    "currency", "included", "requests", "retry", "batch", "record", "window", "provider", "sku", "quantity",
    "unit_price", "span", "trace", "parent",
]  # fmt: skip

NUMBERS: tuple[Role, ...] = (
    "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h",
    "reasoning", "audio", "images", "searches", "minutes", "seats", "quantity", "unit_price", "latency_ms", "cost",
    "credit", "gross", "requests", "retry",
)  # fmt: skip
TOKENS: tuple[Role, ...] = (
    "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"
)  # fmt: skip
TIMES: tuple[Role, ...] = ("timestamp", "ended")

_NAMES = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))
ROLES: dict[Role, str] = _NAMES["roles"]  # in the order of a sentence, in words
REQUEST_IDS, GOOD_STATUSES = set(_NAMES["request_ids"].split()), _NAMES["good_statuses"].split(", ")
CODES: tuple[str, ...] = tuple(_NAMES["codes"].split())
# Signs and words of currencies. A longer one stands first.
SIGNS: dict[str, str] = dict(sorted(_NAMES["signs"].items(), key=lambda one: -len(one[0])))
WHOLE = set(_NAMES["whole"].split())
SIGN = "|".join(map(re.escape, SIGNS))
# A sign in a text: one of letters stands by itself.
FREE_SIGN = re.compile("|".join(rf"\b{one}\b" if one.isalpha() else re.escape(one) for one in SIGNS))
TOTALS = set(_NAMES["totals"].split(", "))
# Names of money that may be something else: believed only beside tokens whose list price is near.
WEAK = set(_NAMES["weak"].split())
MONTHS = {name: int(number) for number, names in _NAMES["months"].items() for name in names.split()}


class Meaning(NamedTuple):
    role: Role
    rank: int
    part: bool


_MEANINGS: dict[str, Meaning] = {}
for _first, _language in ((0, _NAMES["english"]), (100, _NAMES["other"])):
    for _role, _names in _language.items():
        for _rank, _name in enumerate(_names.split(), _first):
            _MEANINGS.setdefault(_name.removeprefix("+"), Meaning(_role, _rank, _name.startswith("+")))

UNITS = {"ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "secs": "s"}
UNITS |= {"seconds": "s"}
# Parts of a unit of money, by which a cost may be counted; xAI counts in ticks.
MONEY_PARTS = {"cents": 0.01, "cent": 0.01, "micros": 1e-6, "nanos": 1e-9, "ticks": 1e-10}


@lru_cache(4096)
def meaning_of(path: tuple[str, ...]) -> Meaning | None:
    """Return what a name says; of a nested one its end counts, as far as it must."""
    path = tuple(".".join(path).split("."))
    for start in range(len(path)):
        plain = plain_name(".".join(path[start:]))
        found = _MEANINGS.get(plain) or _MEANINGS.get(_PREFIXES.sub("", plain))
        if not found and (bare := re.sub("^(?:total|sum)_", "", plain)) != plain:
            found = one if (one := _MEANINGS.get(bare)) and one.role in NUMBERS and one.rank < 100 else None
        money, _, part = plain.rpartition("_")
        if not found and part in MONEY_PARTS:
            found = one if (one := meaning_of((money,))) and one.role == "cost" else None
        if not found:
            base, _, unit = _PREFIXES.sub("", plain).rpartition("_")
            base = base.removesuffix("_in")
            found = _MEANINGS.get(base) if unit in UNITS or unit in CODES or unit in ("in", "utc") else None
            if found and found.role not in ("cost", "latency_ms", "timestamp"):
                found = None
        if found:
            return found
    return None


# Beginnings of names that say nothing more: `$ai_input_tokens`, `llm_model_name`.
_PREFIXES = re.compile(r"^(?:gen_ai|genai|ai|llm)_")


@lru_cache(4096)
def plain_name(name: str) -> str:
    """`Input Tokens`, `inputTokens` and `input.tokens` are `input_tokens`; `Cost ($)` is `cost_usd`, `Ä` is `ae`."""
    name = re.sub(r"(^|\.)\$(?=[A-Za-z])", r"\1", name[:200].translate(_UMLAUTS))
    name = FREE_SIGN.sub(lambda sign: f" {SIGNS[sign[0]].lower()} ", name)
    name = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", name)
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", name.lower())))
    return re.sub(rf"[^\w{_VOWELS}]+|_+", "_", plain).strip("_")


_VOWELS = "\u0900-\u0dff\u0e00-\u0eff"  # signs inside of words of India, Thailand and Laos, which are no \\w
_ACCENTS = re.compile("[\u0300-\u036f]")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


# Labels that are keys of an API, for Python and for DuckDB: what is kept of one is its kind and its end.
SECRETS = (
    r"\b(sk|pk|rk|xox[a-z]|gh[a-z]|github_pat|glpat|hf|gsk|xai|pplx|r8)[-_][\w-]{12,}([\w-]{4})",
    r"\b(AIza|AKIA)[\w-]{12,}([\w-]{4})",
)
MASK = r"\1…\2"


def masked(text: str) -> str:
    """Return the text with no more of an API key than its kind and its end."""
    for secret in SECRETS:
        text = re.sub(secret, MASK, text, flags=re.A)
    return text


def shown(name: str) -> str:
    """A name from the file as it may stand in a sentence."""
    name = re.sub(rf"[^\w{_VOWELS} .,:()/$€£%+…-]+", " ", masked(name)).strip()
    return name[:60] + "…" if len(name) > 60 else name
