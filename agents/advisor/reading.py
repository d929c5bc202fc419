"""A `Workload` out of quantities: each number goes to its field, or among those that found no place.

A request is worked out only if nothing is missing, unused or in doubt; else its form is shown.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from agents.advisor.lacking import open_fields, refusal
from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read
from agents.advisor.language.split import split
from agents.advisor.request import EACH, TITLES, Workload, a_period, said, short, used
from agents.usage.prices import common_models, price_lookup
from chat.translation import t

LONGEST_PROMPT = 1_000_000  # tokens: more than this without "per request" may be of a day or of everything
_TOKEN_FIELDS = {"in": "input_tokens", "out": "output_tokens", "": "all_tokens"}


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
    alone = _each(read) or _Filling(read, Workload(), False).finished()
    if before is None or alone.certain or (alone.request.goal == "cost" and not alone.missing):
        return alone
    found = _Filling(read, before.request, True).finished()
    found.unused, found.doubts = [*before.unused, *found.unused], [*before.doubts, *found.doubts]
    return found


def _each(read: Read) -> Reading | None:
    """Return the workload of a message that gives amounts for each of several models; None for any other."""
    parts = split(read)
    found = [_Filling(replace(part, unknown_models=[]), Workload(), False).finished() for part in parts]
    requests = [one.request for one in found]
    if not found or requests[0].goal not in ("cost", "bill") or any(one.unused or one.doubts for one in found):
        return None
    unknown = [name for part in parts for name in part.unknown_models]
    held: dict[str, Any] = {"models": ", ".join([*part.models, *part.unknown_models][0] for part in parts)}
    for name, each in EACH.items():
        amounts = [getattr(one, name) for one in requests]
        if len(set(amounts)) > 1 or (name in ("requests", "spend") and amounts[0] is not None):
            held |= {name: None, each: ", ".join(f"{amount:.15g}" for amount in amounts)}
    bare: dict[str, Any] = {name: None for name, each in EACH.items() if each in held}
    if any(
        replace(one, models="", converted="", **bare) != replace(requests[0], models="", converted="", **bare)
        for one in requests
    ):
        return None
    held["converted"] = "; ".join(dict.fromkeys(one.converted for one in requests if one.converted))
    request = replace(requests[0], **held)
    doubts = [t("no price of “{0}” is known", name) for name in unknown]
    return Reading(request, [*(["models"] if unknown else []), *open_fields(request)], doubts=doubts)


class _Filling:
    """The fields of one message. `before`: the request that it goes on with, if it does."""

    def __init__(self, read: Read, before: Workload, goes_on: bool) -> None:
        self._read, self._before, self._goes_on = read, before, goes_on
        self._values: dict[str, Any] = {}
        self._reading = Reading(Workload(), doubts=list(read.doubts))
        self._token_noun: str | None = None
        self._call_noun = self._ceiling_per = ""
        self._shares: dict[str, float] = {}
        self._requests = [one for one in read.quantities if one.unit == "request"]
        self._counted = bool(self._requests) or any(one.unit == "token" for one in read.quantities)
        grown = [one for one in read.quantities if one.role == "compound" or (one.unit == "factor" and one.per)]
        self._grows = grown[0].per[0] if grown and grown[0].per[0] in words.PERIODS else ""
        self._converted = [t("{0} is a quarter", name) for name in read.periods if read.quantities]
        for one in read.quantities:
            take = getattr(self, f"_take_{one.unit or 'number'}", None)
            if one.value is None or take is None or not take(one, one.value):
                self._reading.unused.append(one)

    def _set(self, **values: Any) -> bool:
        """Set the fields, unless one of them already has another value."""
        if any(name in self._values and self._values[name] != value for name, value in values.items()):
            return False
        self._values |= values
        return True

    def _take_token(self, one: Quantity, value: float) -> bool:
        scopes = [per for per in one.per if per in (*words.PERIODS, "request", "user")]
        name = _TOKEN_FIELDS[one.direction]
        if len(scopes) > 1 or scopes == ["user"] or name in self._values:
            return False
        scope = scopes[0] if scopes else ""
        if not scope and self._requests:
            scope = "" if value > LONGEST_PROMPT or self._read.has("total") else "request"
        elif not scope:
            scope = self._before.tokens_per or ("request" if self._before.requests is not None else "once")
        if scope and not self._set(tokens_per=scope):
            return False
        if scope == "request":
            noun = one.noun.removeprefix("/") if one.noun.startswith("/") else ""
            self._reading.doubts += [t("tokens of what")] if self._token_noun not in (None, noun) else []
            self._token_noun = noun
        return self._set(**{name: value})

    def _take_character(self, one: Quantity, value: float) -> bool:
        many, size = f"{one.unit}s", words.CONVERSIONS[one.unit]
        text = t("{0} {1} at {2}", short(value), t(many), t(size))
        self._converted.append(text)
        per = one.per or (("request",) if self._requests and self._requests[0].per else ())
        return self._take_token(replace(one, per=per), value * words.TOKENS_OF[one.unit])

    _take_word = _take_page = _take_character

    def _take_request(self, one: Quantity, value: float) -> bool:
        period, noun = next(iter(one.periods), ""), one.noun.removeprefix("/")
        if "request" in one.per:
            self._call_noun = noun
            return not period and self._set(calls=value)
        by, held = "user" if "user" in one.per else "all", self._values.get("noun", "")
        noun = held if held and {held, noun} <= words.CALLS else noun
        return bool(period or by == "all") and self._set(requests=value, requests_per=period, requests_by=by, noun=noun)

    def _take_search(self, one: Quantity, value: float) -> bool:
        scopes = [per for per in one.per if per in (*words.PERIODS, "request")]
        known = len(scopes) < 2 and len(scopes) == len(one.per)
        return known and self._set(searches=value, searches_per=scopes[0] if scopes else "once")

    def _take_user(self, one: Quantity, value: float) -> bool:
        return not one.per and self._set(users=value)

    def _take_money(self, one: Quantity, value: float) -> bool:
        if self._values.get("currency", one.currency) != one.currency:
            return False
        period, currency = next(iter(one.periods), ""), {"currency": one.currency}
        if "million" in one.per:
            name = {"in": "input_price", "out": "output_price"}.get(one.direction, "unit_price")
            unit = {"unit": "million"} if name == "unit_price" else {}
            return len(one.per) == 1 and self._set(**{name: value}, **unit, **currency)
        if "search" in one.per:
            return len(one.per) == 1 and self._set(search_price=value, **currency)
        if things := one.things:
            self._values.setdefault("noun", one.noun.removeprefix("/") if things == ["request"] else "")
            known = len(things) == 1 and len(one.periods) < 2 and not (period and things == ["request"])
            return known and self._set(unit_price=value, unit=things[0], unit_per=period, **currency)
        timed = any(other.unit == "period" for other in self._read.quantities)
        if timed and len(one.periods) == 1 and period in ("minute", "hour"):
            return self._set(unit_price=value, unit=period, **currency)
        if len(one.periods) > 1:
            return False
        if one.role == "budget" or (one.role == "goal" and "spend" in self._values):
            self._ceiling_per = period
            self._reading.doubts += [t("the period of the budget")] if one.role == "budget" and not period else []
            return self._set(ceiling=value, **currency)
        return self._set(spend=value, spend_per=period, **currency)

    def _take_percent(self, one: Quantity, value: float) -> bool:
        if one.role in ("in share", "out share"):
            self._shares[one.role] = value
            return True
        roles: dict[str, dict[str, Any]] = {
            "cached": {"cached": value} if value <= 100 else {}, "batched": {"batched": value} if value <= 100 else {},
            "save": {"saving": value}, "rise": {"price_change": 1 + value / 100},
            "compound": {"growth": 1 + value / 100, "growth_per": "".join(one.per[:1])},
        }  # fmt: skip
        fields = roles.get(one.role, {})
        return bool(fields) and self._set(**fields)

    def _take_factor(self, one: Quantity, value: float) -> bool:
        name = {"grow": "growth", "rise": "price_change"}.get(one.role)
        if one.per:
            return name is not None and one.per == (self._grows,) and self._set(growth=value, growth_per=one.per[0])
        return name is not None and self._set(**{name: value})

    def _take_period(self, one: Quantity, value: float) -> bool:
        if one.noun == self._grows and not one.per and value == int(value):
            return self._set(growth_for=value)
        if one.noun not in ("minute", "hour") or len(one.periods) > 1 or not self._read.has("audio"):
            return False
        return self._set(amount=value, amount_unit=one.noun, amount_per=next(iter(one.periods), "once"))

    def _take_number(self, one: Quantity, value: float) -> bool:
        """A number a period without a noun is money only beside a word for paying, and then has no currency."""
        alone = sum(other.unit in ("", "money") for other in self._read.quantities) == 1
        paid = one.role == "paid" and alone and len(one.per) == 1 and bool(one.periods)
        return paid and self._set(spend=value, spend_per=one.per[0])

    # The whole

    def finished(self) -> Reading:
        """Return what the message asks for, with what is open."""
        read, reading = self._read, self._reading
        self._take_shares()
        self._match_periods()
        if read.has("all") and read.has("cached") and "cached" not in self._values:
            self._values["cached"] = 100.0
        self._name_models()
        self._name_currencies()
        self._name_periods()
        request = reading.request = self._request()
        self._check_nouns(request)
        reading.missing += open_fields(request, read)
        if request.goal == "cost":
            web = read.has("fill", "web") and read.has("search") and request.searches is None
            reading.missing += ["searches"] if web else []
            reading.missing += [one for one in ("cached", "batched") if read.has(one) and getattr(request, one) is None]
            if request.tokens_per == "once" and request.requests is None and _is_tiered(request):
                reading.missing.append("tokens_per")
        odd = [name for name in said(request) if name not in used(request)] if request.goal else []
        reading.doubts += [t("what “{0}” has to do with it", t(TITLES[name])) for name in odd]
        reading.doubts += [t("no price of “{0}” is known", name) for name in read.unknown_models[:3]]
        if request.goal == "cost" and read.has("share") and not self._shares:
            reading.doubts.append(t("a share of what"))
        reading.refusal = refusal(request)
        return reading

    def _request(self) -> Workload:
        read, before = self._read, self._before
        now = Workload(**self._values)
        if now.requests is not None and not now.requests_per and not before.requests_per:
            now = replace(now, requests_per="once")
        request = _merged(before, now) if self._goes_on else now
        system = any(one.system for one in read.quantities if one not in self._reading.unused)
        if system and request.output_tokens is None and read.has("only"):
            request = replace(request, output_tokens=0.0)
        goal: Any = _goal(request, read)
        goal = "price" if before.goal == "price" and not goal and not read.quantities else goal
        per = "cached" if goal == "price" and read.has("cached") else request.answer_per
        return replace(request, goal=goal, answer_per=per)

    def _name_models(self) -> None:
        read, values, before = self._read, self._values, self._before
        models = list(dict.fromkeys(read.models))
        billed = before.spend is not None and bool(before.models) and "spend" not in values
        if models and billed and not self._counted and models != before.names:
            values["move_to"] = ", ".join(models)
        elif len(models) > 1 and "spend" in values and not self._counted:
            values["models"], values["move_to"] = models[0], ", ".join(models[1:])
        elif models:
            saves = before.goal == "cost" and read.has("save") and not read.quantities
            values["models"] = ", ".join(dict.fromkeys([*(before.names if saves else []), *models]))
        elif not read.quantities and any(read.has(kind) for kind in ("cached", "batched", "price")):
            found = [name for vendor in dict.fromkeys(read.vendors) for name in common_models(vendor)]
            values |= {"models": ", ".join(found)} if found else {}

    def _name_currencies(self) -> None:
        held = self._values.get("currency") or self._before.currency
        for currency in self._read.currencies:
            if "spend" in self._values and not held:
                held = self._values["currency"] = currency
            elif currency != (held or "USD"):
                self._values["convert_to"] = currency

    def _name_periods(self) -> None:
        asked = list(dict.fromkeys(self._read.asked_per))
        for longer in [one for one in asked if self._grows and one in words.PER_YEAR]:
            times = words.PER_YEAR[self._grows] / words.PER_YEAR[longer]
            if times > 1 and times == int(times) and self._set(growth_for=times):
                asked.remove(longer)
        self._values |= {"answer_per": ", ".join(asked)} if asked else {}
        self._values |= {"converted": "; ".join(dict.fromkeys(self._converted))} if self._converted else {}

    def _take_shares(self) -> None:
        """`5M tokens a day, 80/20 input and output`."""
        values, sides = self._values, {"input_tokens": "in share", "output_tokens": "out share"}
        if (
            sum(self._shares.values()) == 100
            and len(self._shares) == 2
            and "all_tokens" in values
            and not {*sides} & {*values}
        ):
            whole = values.pop("all_tokens")
            values |= {name: whole * self._shares[side] / 100 for name, side in sides.items()}
        elif self._shares:
            self._reading.unused += [one for one in self._read.quantities if one.role in ("in share", "out share")]
        elif values.get("all_tokens") and values["all_tokens"] == sum(values.get(name, 0) for name in sides):
            values.pop("all_tokens")

    def _match_periods(self) -> None:
        """Write what is paid for the period of the budget: 80 a day is 2,433.33 a month."""
        values, per = self._values, self._ceiling_per
        amount = values.get("spend", self._before.spend)
        paid = values.get("spend_per", self._before.spend_per)
        if per and not paid:
            self._reading.missing.append("spend_per")
        elif amount is not None and per != paid and per in words.PER_YEAR and paid in words.PER_YEAR:
            whole = round(amount * words.PER_YEAR[paid] / words.PER_YEAR[per], 2)
            values |= {"spend": whole, "spend_per": per}
            parts = short(amount), a_period(paid), short(whole), a_period(per)
            self._converted.append(t("{0}{1} is {2}{3}", *parts))

    def _check_nouns(self, request: Workload) -> None:
        doubts, tokens, noun = self._reading.doubts, self._token_noun, request.noun.removeprefix("/")
        if request.calls is not None:
            if tokens is not None and (not tokens or tokens != self._call_noun):
                text = t("whether the tokens are of one {0} or of one {1}", noun or t("request"), self._call_noun)
                doubts.append(text)
            if self._call_noun == noun:
                doubts.append(t("what a {0} in a {0} is", noun))
        elif tokens and noun and tokens != noun and not {tokens, noun} <= words.CALLS:
            doubts.append(t("whether a {0} is one {1}", noun, tokens))
        priced = [one.noun.removeprefix("/") for one in self._read.quantities if one.unit == "money" and one.noun]
        for other in priced if request.unit == "request" and self._requests else ():
            counted = self._requests[0].noun
            if other != counted and not {other, counted} <= words.CALLS:
                doubts.append(t("whether a {0} is one {1}", counted, other))


def _is_tiered(request: Workload) -> bool:
    """Tell if the tokens would have another price if they were one prompt."""
    size = int(request.input_tokens or 0)
    prices = ((price_lookup(name, size), price_lookup(name)) for name in request.names)
    return 0 < size <= 2 * LONGEST_PROMPT and any(long["input"] != short["input"] for long, short in prices)


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
        return "change" if request.growth is not None or request.price_change is not None else "bill"
    if not request.models or read.quantities:
        return ""
    asks = any(read.has(kind) for kind in ("price", "cost", "compare", "cached", "batched"))
    return "cost" if request.answer_per else "price" if asks and request.spend is None else ""
