"""A `Workload` out of quantities: each number goes to its field, or among those that found no place.

A request is worked out only if nothing is missing, unused or in doubt; else its form is shown.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from agents.advisor.lacking import open_fields, refusal
from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read
from agents.advisor.language.split import split
from agents.advisor.request import EACH, TITLES, Workload, said, short, used
from agents.usage.prices import common_models, price_lookup

LONGEST_PROMPT = 1_000_000  # tokens: more than this without "per request" may be of a day or of everything


@dataclass(slots=True)
class Reading:
    """A message as it was read. `missing`: fields that an answer needs. `unused`: numbers without a place.

    `refusal`: a sentence for the user where the request cannot be.
    """

    request: Workload
    missing: list[str] = field(default_factory=list)
    unused: list[Quantity] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    refusal: str = ""

    @property
    def certain(self) -> bool:
        """Tell if figures may be worked out of it."""
        return not (self.missing or self.unused or self.doubts or self.refusal)


def fill(read: Read, before: Reading | None = None) -> Reading:
    """Return the workload of a message. What it lacks is taken from `before`, the conversation so far.

    What the conversation left without a place, or in doubt, stays so until a message is certain by itself.
    """
    alone = _each(read) or _filled(read, None)
    if before is None or alone.certain or (alone.request.goal == "cost" and not alone.missing):
        return alone
    found = _filled(read, before.request)
    found.unused = [*before.unused, *found.unused]
    found.doubts = [*before.doubts, *found.doubts]
    return found


def _each(read: Read) -> Reading | None:
    """Return the workload of a message that gives amounts for each of several models; None for any other."""
    parts = split(read)
    found = [_filled(replace(part, unknown_models=[]), None) for part in parts]
    requests = [one.request for one in found]
    if not found or requests[0].goal not in ("cost", "bill") or any(one.unused or one.doubts for one in found):
        return None
    unknown = [name for part in parts for name in part.unknown_models]
    held = {"models": ", ".join([*part.models, *part.unknown_models][0] for part in parts)}
    for name, each in EACH.items():
        amounts = [getattr(one, name) for one in requests]
        if len(set(amounts)) > 1 or (name in ("requests", "spend") and amounts[0] is not None):
            held[each] = ", ".join(f"{amount:.15g}" for amount in amounts)
    bare: dict[str, Any] = {name: None for name, each in EACH.items() if each in held}
    whole = [replace(one, models="", converted="", **bare) for one in requests]
    if any(one != whole[0] for one in whole):
        return None
    converted = "; ".join(dict.fromkeys(one.converted for one in requests if one.converted))
    request = replace(whole[0], converted=converted, **held)  # type: ignore[arg-type]
    doubts = [f"no price of “{name}” is known" for name in unknown]
    return Reading(request, [*(["models"] if unknown else []), *open_fields(request)], doubts=doubts)


def _filled(read: Read, before: Workload | None) -> Reading:
    filling = _Filling(read, before)
    for one in read.quantities:
        filling.take(one)
    return filling.finish()


class _Filling:
    def __init__(self, read: Read, before: Workload | None) -> None:
        self._read, self._before = read, before
        self._values: dict[str, Any] = {}
        self._reading = Reading(Workload(), doubts=list(read.doubts))
        self._counted = any(one.unit in ("token", "request") for one in read.quantities)
        self._token_noun: str | None = None
        self._call_noun = ""
        self._shares: dict[str, float] = {}
        self._system = False
        self._amounts = sum(one.unit == "period" for one in read.quantities)
        self._requests = [one for one in read.quantities if one.unit == "request"]
        self._ceiling_per = ""
        grown = [one for one in read.quantities if one.role == "compound" or (one.unit == "factor" and one.per)]
        self._grows = grown[0].per[0] if grown and grown[0].per[0] in words.PERIODS else ""
        self._converted = [f"{name} is a quarter" for name in read.periods if read.quantities]

    def take(self, one: Quantity) -> None:
        placed = one.value is not None and getattr(self, f"_take_{one.unit or 'number'}")(one, one.value)
        if not placed:
            self._reading.unused.append(one)

    def _set(self, **values: Any) -> bool:
        """Set the fields, unless one of them already has another value."""
        if any(name in self._values and self._values[name] != value for name, value in values.items()):
            return False
        self._values |= values
        return True

    def _take_token(self, one: Quantity, value: float) -> bool:
        scope = _token_scope(one)
        if scope is None:
            return False
        if not scope:
            known = self._before is not None and self._before.requests is not None
            scope = "request" if self._requests or known else "once"
            if not self._requests and self._before is not None and self._before.tokens_per:
                scope = self._before.tokens_per
            if self._requests and (value > LONGEST_PROMPT or self._read.has("total")):
                scope = ""
        name = {"in": "input_tokens", "out": "output_tokens"}.get(one.direction, "all_tokens")
        if name in self._values or (scope and not self._set(tokens_per=scope)):
            return False
        if scope == "request":
            noun = one.noun.removeprefix("/") if one.noun.startswith("/") else ""
            if self._token_noun not in (None, noun):
                self._reading.doubts.append("tokens of what")
            self._token_noun = noun
        self._system = self._system or one.system
        return self._set(**{name: value})

    def _take_character(self, one: Quantity, value: float) -> bool:
        self._converted.append(f"{short(value)} {one.unit}s at {words.CONVERSIONS[one.unit]}")
        factor = words.TOKENS_OF[one.unit]
        per = one.per or (("request",) if self._requests and self._requests[0].per else ())
        return self._take_token(replace(one, per=per), value * factor)

    _take_word = _take_page = _take_character

    def _take_request(self, one: Quantity, value: float) -> bool:
        period = next((per for per in one.per if per in words.PERIODS), "")
        noun = one.noun.removeprefix("/")
        if "request" in one.per:
            self._call_noun = noun
            return not period and self._set(calls=value)
        if "user" in one.per:
            return bool(period) and self._set(requests=value, requests_per=period, requests_by="user", noun=noun)
        return self._set(requests=value, requests_per=period, requests_by="all", noun=noun)

    def _take_search(self, one: Quantity, value: float) -> bool:
        scopes = [per for per in one.per if per in words.PERIODS or per == "request"]
        known = len(scopes) < 2 and len(scopes) == len(one.per)
        return known and self._set(searches=value, searches_per=scopes[0] if scopes else "once")

    def _take_user(self, one: Quantity, value: float) -> bool:
        return not one.per and self._set(users=value)

    def _take_money(self, one: Quantity, value: float) -> bool:
        periods = [per for per in one.per if per in words.PERIODS]
        if "currency" in self._values and one.currency != self._values["currency"]:
            return False
        currency = {"currency": one.currency}
        if "million" in one.per:
            name = {"in": "input_price", "out": "output_price"}.get(one.direction, "unit_price")
            unit = {"unit": "million"} if name == "unit_price" else {}
            return len(one.per) == 1 and self._set(**{name: value}, **unit, **currency)
        if "search" in one.per:
            return len(one.per) == 1 and self._set(search_price=value, **currency)
        things = [per for per in one.per if per in ("request", "user")]
        if things:
            self._values.setdefault("noun", one.noun.removeprefix("/") if things == ["request"] else "")
            period = periods[0] if periods else ""
            known = len(things) == 1 and len(periods) < 2 and not (period and things == ["request"])
            return known and self._set(unit_price=value, unit=things[0], unit_per=period, **currency)
        if self._amounts and len(periods) == 1 and periods[0] in ("minute", "hour"):
            return self._set(unit_price=value, unit=periods[0], **currency)
        if len(periods) > 1:
            return False
        if one.role in ("goal", "budget") and ("spend" in self._values or one.role == "budget"):
            self._ceiling_per = periods[0] if periods else ""
            if one.role == "budget" and not periods:
                self._reading.doubts.append("the period of the budget")
            return self._set(ceiling=value, **currency)
        return self._set(spend=value, spend_per=periods[0] if periods else "", **currency)

    def _take_percent(self, one: Quantity, value: float) -> bool:
        if one.role in ("in share", "out share"):
            self._shares[one.role] = value
            return True
        if one.role in ("cached", "batched") and value <= 100:
            return self._set(**{one.role: value})
        if one.role == "save":
            return self._set(saving=value)
        if one.role == "compound":
            return self._set(growth=1 + value / 100, growth_per=one.per[0])
        if one.role == "rise":
            return self._set(price_change=1 + value / 100)
        return False

    def _take_factor(self, one: Quantity, value: float) -> bool:
        name = {"grow": "growth", "rise": "price_change"}.get(one.role)
        if one.per:
            return name is not None and one.per == (self._grows,) and self._set(growth=value, growth_per=one.per[0])
        return name is not None and self._set(**{name: value})

    def _take_period(self, one: Quantity, value: float) -> bool:
        periods = [per for per in one.per if per in words.PERIODS]
        if one.noun == self._grows and not one.per and value == int(value):
            return self._set(growth_for=value)
        if one.noun not in ("minute", "hour") or len(periods) > 1 or not self._read.has("audio"):
            return False
        return self._set(amount=value, amount_unit=one.noun, amount_per=periods[0] if periods else "once")

    def _take_number(self, one: Quantity, value: float) -> bool:
        """A number a period without a noun is money only beside a word for paying, and then has no currency."""
        alone = sum(other.unit in ("", "money") for other in self._read.quantities) == 1
        if one.role == "paid" and alone and len(one.per) == 1 and one.per[0] in words.PERIODS:
            return self._set(spend=value, spend_per=one.per[0])
        return False

    def _take_million(self, one: Quantity, value: float) -> bool:
        return False

    _take_date = _take_million

    # The whole

    def finish(self) -> Reading:
        read, values, reading, before = self._read, self._values, self._reading, self._before
        self._split()
        self._match_periods()
        if read.has("all") and read.has("cached") and "cached" not in values:
            values["cached"] = 100.0
        models = list(dict.fromkeys(read.models))
        billed = before is not None and before.spend is not None and bool(before.models) and "spend" not in values
        if models and billed and not self._counted and models != (before.models.split(", ") if before else []):
            values["move_to"] = ", ".join(models)
        elif len(models) > 1 and "spend" in values and not self._counted:
            values["models"], values["move_to"] = models[0], ", ".join(models[1:])
        elif models:
            saves = before is not None and before.goal == "cost" and read.has("save") and not read.quantities
            values["models"] = ", ".join(
                dict.fromkeys([*(before.models.split(", ") if saves and before else []), *models])
            )
        elif read.vendors and not read.quantities and (read.has("cached") or read.has("batched") or read.has("price")):
            values["models"] = ", ".join(
                name for vendor in dict.fromkeys(read.vendors) for name in common_models(vendor)
            )
        held = values.get("currency") or (before.currency if before else "")
        for currency in read.currencies:
            if "spend" in values and not held:
                held = values["currency"] = currency
            elif currency != (held or "USD"):
                values["convert_to"] = currency
        asked = list(dict.fromkeys(read.asked_per))
        for longer in [one for one in asked if self._grows and one in words.PER_YEAR]:
            times = words.PER_YEAR[self._grows] / words.PER_YEAR[longer]
            if times > 1 and times == int(times) and self._set(growth_for=times):
                asked.remove(longer)
        if asked:
            values["answer_per"] = ", ".join(asked)
        if self._converted:
            values["converted"] = "; ".join(dict.fromkeys(self._converted))
        now = Workload(**values)
        if now.requests is not None and not now.requests_per and not (before and before.requests_per):
            now = replace(now, requests_per="once")
        request = now if before is None else _merged(before, now)
        if self._system and request.output_tokens is None and read.has("only"):
            request = replace(request, output_tokens=0.0)
        goal = _goal(request, read)
        if before is not None and before.goal == "price" and not goal and not read.quantities:
            goal = "price"
        request = replace(request, goal=goal)
        if request.goal == "price" and read.has("cached"):
            request = replace(request, answer_per="cached")
        reading.request = request
        self._check_nouns(request)
        reading.missing += open_fields(request, read)
        if goal == "cost" and read.has("fill", "web") and read.has("search") and request.searches is None:
            reading.missing.append("searches")
        if goal == "cost":
            reading.missing += [one for one in ("cached", "batched") if read.has(one) and getattr(request, one) is None]
            if request.tokens_per == "once" and request.requests is None and _is_tiered(request):
                reading.missing.append("tokens_per")
        if request.goal:
            odd = [name for name in said(request) if name not in used(request)]
            reading.doubts += [f"what “{TITLES[name].lower()}” has to do with it" for name in odd]
        if read.unknown_models:
            reading.doubts += [f"no price of “{name}” is known" for name in read.unknown_models[:3]]
        if request.goal == "cost" and read.has("share") and not self._shares:
            reading.doubts.append("a share of what")
        reading.refusal = refusal(request)
        return reading

    def _split(self) -> None:
        """`5M tokens a day, 80/20 input and output`."""
        values = self._values
        if len(self._shares) == 2 and "all_tokens" in values and not {"input_tokens", "output_tokens"} & set(values):
            whole = values.pop("all_tokens")
            values["input_tokens"] = whole * self._shares["in share"] / 100
            values["output_tokens"] = whole * self._shares["out share"] / 100
        elif (
            not self._shares and values.get("all_tokens")
            and values["all_tokens"] == values.get("input_tokens", 0) + values.get("output_tokens", 0)
        ):  # fmt: skip
            values.pop("all_tokens")
        elif self._shares:
            self._reading.unused += [one for one in self._read.quantities if one.role in ("in share", "out share")]

    def _match_periods(self) -> None:
        """Write what is paid for the period of the budget: 80 a day is 2,433.33 a month."""
        values, per, before = self._values, self._ceiling_per, self._before or Workload()
        amount, paid = values.get("spend", before.spend), values.get("spend_per", before.spend_per)
        if per and not paid:
            self._reading.missing.append("spend_per")
        elif amount is not None and per != paid and per in words.PER_YEAR and paid in words.PER_YEAR:
            whole = round(amount * words.PER_YEAR[paid] / words.PER_YEAR[per], 2)
            values |= {"spend": whole, "spend_per": per}
            self._converted.append(f"{short(amount)} a {paid} is {short(whole)} a {per}")

    def _check_nouns(self, request: Workload) -> None:
        doubts = self._reading.doubts
        tokens, noun = self._token_noun, request.noun.removeprefix("/")
        if request.calls is not None:
            if tokens is not None and (not tokens or tokens != self._call_noun):
                doubts.append(f"whether the tokens are of one {noun or 'request'} or of one {self._call_noun}")
            if self._call_noun == noun:
                doubts.append(f"what a {noun} in a {noun} is")
        elif tokens and noun and tokens != noun and not {tokens, noun} <= words.CALLS:
            doubts.append(f"whether a {noun} is one {tokens}")
        priced = [one.noun.removeprefix("/") for one in self._read.quantities if one.unit == "money" and one.noun]
        for other in priced if request.unit == "request" else ():
            if (
                self._requests
                and other != self._requests[0].noun
                and not {other, self._requests[0].noun} <= words.CALLS
            ):
                doubts.append(f"whether a {self._requests[0].noun} is one {other}")


def _is_tiered(request: Workload) -> bool:
    """Tell if the tokens would have another price if they were one prompt."""
    size, names = int(request.input_tokens or 0), filter(None, request.models.split(", "))
    return 0 < size <= 2 * LONGEST_PROMPT and any(
        price_lookup(name, size)["input"] != price_lookup(name)["input"] for name in names
    )


def _token_scope(one: Quantity) -> str | None:
    """Return what tokens are for; empty where nothing says it, None where two things do."""
    scopes = [per for per in one.per if per in words.PERIODS or per in ("request", "user")]
    if len(scopes) > 1 or scopes == ["user"]:
        return None
    return scopes[0] if scopes else ""


def _merged(before: Workload, now: Workload) -> Workload:
    """The newer message counts; what it leaves out is taken from the request before it."""
    empty = Workload()
    changed = {name: getattr(now, name) for name in Workload.__slots__ if getattr(now, name) != getattr(empty, name)}
    if "requests" in changed and not now.requests_per:
        changed.pop("requests_by", None)
    return replace(before, **{**changed, "goal": ""})


def _goal(request: Workload, read: Read) -> Any:
    tokens = any(one is not None for one in (request.input_tokens, request.output_tokens, request.all_tokens))
    counted = tokens or any(one is not None for one in (request.requests, request.amount, request.searches))
    if request.unit == "user" and request.unit_price is not None:
        return "seats"
    if counted and request.spend is None:
        return "cost"
    if request.spend is not None and not tokens:
        if request.saving is not None or request.ceiling is not None:
            return "saving"
        if request.growth is not None or request.price_change is not None:
            return "change"
        return "bill"
    asks = any(read.has(kind) for kind in ("price", "cost", "compare", "cached", "batched"))
    if request.models and request.answer_per and not read.quantities:
        return "cost"
    if request.models and asks and not read.quantities and request.spend is None:
        return "price"
    return ""
