"""The two typed requests, `Workload` and `Query`, and their forms and chips. A request holds only what was said."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from agents.advisor.language.vocabulary import CALLS, PER_YEAR
from agents.usage.asked import Query as Query
from agents.usage.asked import idle, lacking
from agents.usage.figures import Answer, day, escaped, is_shortened, numeral
from chat.protocol import forms
from chat.translation import t

Period = Literal["", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "once"]
Scope = Literal["", "request", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "once"]
Goal = Literal["", "cost", "price", "bill", "saving", "change", "seats"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A use of models or a bill, as the user states it. None and empty: not said. Percentages are 0 to 100.

    `models` and `move_to`: ids of the price list, separated by commas. `requests_by`: of each user, or all together.
    `calls`: model calls in each request. `tokens_per`: what the token counts are for. Prices are per million tokens,
    or `unit_price` for each `unit` (a request, a user in `unit_per`, a minute of audio).
    `requests_each` and its like: of each of the models, in their order, separated by commas.
    `searches`: of the web, in each `searches_per`, at `search_price` for one.
    `growth` and `price_change` are factors. With `growth_per` it grows anew each period, for `growth_for` of them.
    `answer_per`: the periods and things that the cost is wanted for.
    """

    goal: Goal = ""
    models: str = ""
    move_to: str = ""
    users: float | None = None
    requests: float | None = None
    requests_per: Period = ""
    requests_each: str = ""
    requests_by: Literal["", "all", "user"] = ""
    calls: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_each: str = ""
    output_each: str = ""
    all_tokens: float | None = None
    tokens_per: Scope = ""
    searches: float | None = None
    searches_per: Scope = ""
    search_price: float | None = None
    cached: float | None = None
    batched: float | None = None
    input_price: float | None = None
    output_price: float | None = None
    unit_price: float | None = None
    unit: Literal["", "request", "user", "million", "minute", "hour"] = ""
    unit_per: Period = ""
    amount: float | None = None
    amount_unit: Literal["", "minute", "hour"] = ""
    amount_per: Period = ""
    spend: float | None = None
    spend_each: str = ""
    spend_per: Period = ""
    currency: str = ""
    saving: float | None = None
    ceiling: float | None = None
    growth: float | None = None
    growth_per: Period = ""
    growth_for: float | None = None
    price_change: float | None = None
    convert_to: str = ""
    rate: float | None = None
    converted: str = ""
    noun: str = ""
    answer_per: str = ""

    @property
    def names(self) -> list[str]:
        """Return the ids of the models."""
        return _listed_names(self.models)

    @property
    def targets(self) -> list[str]:
        """Return the ids of the models to compare with."""
        return _listed_names(self.move_to)

    @property
    def periods(self) -> list[str]:
        """Return the periods that the cost is wanted for."""
        return [one for one in _listed_names(self.answer_per) if one in PER_YEAR]

    @property
    def things(self) -> list[str]:
        """Return the things that the cost is wanted for: a request, a user."""
        return [one for one in _listed_names(self.answer_per) if one in ("request", "user")]


def _listed_names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


Request = Workload | Query

# Fields of one model, and those that hold the same of each of several.
EACH = {
    "requests": "requests_each", "input_tokens": "input_each", "output_tokens": "output_each", "spend": "spend_each",
}  # fmt: skip


def numbers_of(request: Request) -> Iterator[tuple[str, float]]:
    """Yield the numbers that the request holds, with their fields; of those for each model the field of one."""
    for name, value in said(request).items():
        if isinstance(value, float | int):
            yield name, float(value)
    for name, each in EACH.items():
        yield from ((name, value) for value in listed_numbers(getattr(request, each, "")) or ())


def listed_numbers(text: str) -> list[float] | None:
    """Return numbers that are separated by commas; None if something else stands there."""
    try:
        return [float(one) for one in text.split(",")] if text else []
    except ValueError:
        return None


def only_searches(request: Workload) -> bool:
    """Tell if the request says nothing of tokens or calls of a model besides searches."""
    tokens = (request.input_tokens, request.output_tokens, request.all_tokens, request.unit_price, request.input_price)
    return request.searches is not None and all(one is None for one in tokens)


def parts_of(request: Workload) -> list[Workload]:
    """Return the request of each model; empty if it says nothing of each, or not of all of them."""
    held = {name: listed_numbers(getattr(request, each)) for name, each in EACH.items() if getattr(request, each)}
    if not held or any(len(values or ()) != len(request.names) for values in held.values()):
        return []
    rows = zip(*(values or () for values in held.values()), strict=True)
    own = [dict(zip(held, row, strict=True)) for row in rows]
    bare: dict[str, Any] = dict.fromkeys(EACH.values(), "")
    return [replace(request, **bare, **one, models=name) for name, one in zip(request.names, own, strict=True)]


TEXTS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("fields.toml").read_text(encoding="utf-8"))
TITLES: dict[str, str] = TEXTS["titles"]  # the name of each field in a form
_GOALS: dict[str, dict[str, str]] = TEXTS["goals"]
MAX_PROPERTIES = 20


@dataclass(frozen=True, slots=True)
class Form:
    """A question with the fields to fill in. `unused`: pieces of the message that found no place in the request."""

    message: str
    schema: dict[str, Any]
    unused: tuple[str, ...] = ()


@dataclass(slots=True)
class Understood:
    """The request of a message.

    `general`: a question about cost without any figure. `refusal`: there is nothing to do.
    """

    request: Request | None = None
    form: Form | None = None
    general: bool = False
    wants_savings: bool = False
    refusal: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as the JSON result of a tool. `{kind: request}` is a message that asks for the same."""
        return {
            "kind": type(self.request).__name__.lower() if self.request else None,
            "request": said(self.request) if self.request else None,
            "chips": chips(self.request) if self.request else [],
            "form": {"message": self.form.message, "schema": self.form.schema} if self.form else None,
            "unused": list(self.form.unused) if self.form else [],
            "general": self.general, "wants_savings": self.wants_savings, "refusal": self.refusal,
        }  # fmt: skip

    @staticmethod
    def from_json(result: dict[str, Any]) -> "Understood":
        """Return what was understood, of `as_json`."""
        request = _KINDS[result["kind"]](**result["request"]) if result["kind"] else None
        asked = result["form"] and Form(result["form"]["message"], result["form"]["schema"], tuple(result["unused"]))
        return Understood(request, asked, result["general"], result["wants_savings"], result["refusal"])


_KINDS: dict[str, type[Workload] | type[Query]] = {"workload": Workload, "query": Query}


def typed(text: str) -> Request | None:
    """Return the request of a message that is one: the JSON `{"workload": {…}}` or `{"query": {…}}`; None for others.

    Raises ProtocolError for one with fields that its kind does not have, or with values that they cannot have.
    """
    try:
        message = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or len(message) != 1 or (name := next(iter(message))) not in _KINDS:
        return None
    kind = _KINDS[name]
    properties = {one.name: _property(kind, one.name, None) for one in fields(kind)}
    return kind(**forms.form_answer({"properties": properties}, message[name]))


@dataclass(slots=True)
class Case:
    """The state that the sub-agents hand on to each other about one question."""

    understood: Understood
    answer: Answer | None = None
    levers: list[Any] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)


def said(request: Request) -> dict[str, Any]:
    """Return the fields that the request holds."""
    held = {name: value for name, value in asdict(request).items() if value not in (None, "")}
    return {name: value for name, value in held.items() if (name, value) != ("top", 0)}


def used(request: Workload) -> set[str]:
    """Return the fields that the figures of the request use."""
    tokens = {"input_tokens", "output_tokens"} if request.move_to and request.spend is not None else set()
    return {"goal", *_GOALS[request.goal]["used"].split()} | tokens


def form(request: Request, missing: tuple[str, ...], doubts: tuple[str, ...], unused: tuple[str, ...]) -> Form:
    """Return the form that asks for `missing`. It holds all that the request holds, and `unused` as text."""
    kind = "query" if isinstance(request, Query) else request.goal or "none"
    held = said(request)
    names = list(dict.fromkeys([*missing, *held, *_GOALS[kind]["essential"].split()]))[: MAX_PROPERTIES - 2]
    properties = {name: _property(type(request), name, held.get(name)) for name in names if name in TITLES}
    if unused:
        rest = t("Not understood: put it into the fields above")
        properties["rest"] = {"type": "string", "title": rest, "default": "; ".join(unused)[:1000], "maxLength": 2000}
    # A text can be emptied; a number or a choice that is left out of an answer takes its default.
    kept = [name for name in held if name in properties and name not in missing and name != "goal"]
    kept = [name for name in kept if properties[name]["type"] != "string" or "oneOf" in properties[name]]
    if kept:
        titled = [{"const": name, "title": t(TITLES[name])} for name in kept]
        properties["cleared"] = {"type": "array", "title": t("Leave out"), "items": {"type": "string", "oneOf": titled}}
    schema = {"type": "object", "properties": properties, "required": [name for name in missing if name in properties]}
    return Form(_message(request, missing, doubts, unused), schema, unused)


def checked(query: Query, doubts: tuple[str, ...] = (), unused: tuple[str, ...] = ()) -> Understood:
    """Return the query, with a form for what its figures need, and for what they would not use."""
    odd, empty = idle(query), Query()
    query = replace(query, **{name: getattr(empty, name) for name in odd})
    unused += tuple(escaped(f"{t(TITLES[name])}: {value}") for name, value in odd.items())
    missing = lacking(query) if query.metric or query.by or not doubts else ("metric",)
    asked = form(query, missing, doubts, unused) if doubts or unused or missing else None
    return Understood(query, asked, wants_savings=asked is None and query.metric == "saving")


def filled(form: Form, answer: dict[str, Any], kind: type[Workload] | type[Query]) -> Request:
    """Return the request of an answered form; it is complete and in doubt no more."""
    names = {one.name for one in fields(kind)} - {*answer.get("cleared", ())}
    return kind(**{name: value for name, value in forms.form_answer(form.schema, answer).items() if name in names})


def chips(request: Request) -> list[dict[str, Any]]:
    """Return what was understood, one chip a field, each with the part of a form that changes it."""
    kind = type(request)
    held = {name: value for name, value in said(request).items() if name in TITLES and name not in ("goal", "noun")}
    parts = ((name, value, _property(kind, name, value)) for name, value in held.items())
    return [{"field": name, "text": _chip(name, value, part), "schema": part} for name, value, part in parts]


def described(request: Request) -> list[str]:
    """Return what was understood in few words, as the answer shows it."""
    if isinstance(request, Query):
        return [chip["text"] for chip in chips(request)]
    noun, unit, number = noun_of(request), request.unit, request.growth_for or 0
    many, units = _english_noun(request), f"{request.amount_unit}s"
    many = many if many.endswith("s") or not many.isascii() else f"{many}s"
    of_call = request.calls is not None and request.tokens_per == "request"
    scope = noun if request.tokens_per == "request" else request.tokens_per
    seat = t("seat{0}", a_period(request.unit_per))
    things = ", ".join(noun if one == "request" else t(one) for one in request.answer_per.split(", "))
    known = {
        **asdict(request), "noun": noun, "nouns": t(many),
        "seats": t("seats") if unit == "user" else t("users"), "from": request.currency or "USD",
        "each": t(" for each user") if request.requests_by == "user" else "",
        "scope": t(" a call") if of_call else a_period(scope), "amount_units": t(units),
        "what": {"million": t("million tokens"), "user": seat}.get(unit) or (t(unit) if unit else ""),
        "growing": t(" each {0}", t(request.growth_per)) if request.growth_per else "",
        "periods": t(TEXTS["several"][request.growth_per], short(number)) if request.growth_per else "",
        "wanted": t("cached") if request.answer_per == "cached" else t("cost per {0}", things),
    }  # fmt: skip
    made = []
    for name, template in TEXTS["said"].items():
        value = getattr(request, name)
        amounts = listed_numbers(value) if name in EACH.values() else [value] if isinstance(value, float | int) else []
        if value not in (None, "") and (amounts or name not in EACH.values()):
            per = a_period(getattr(request, f"{name.removesuffix('_each')}_per", ""))
            made.append(t(template).format(n=" / ".join(map(short, amounts or [])), per=per, **known))
    return [" ".join(one.split()) for one in made]


def a_period(period: str) -> str:
    """Return what follows an amount that falls due in a period, or for a thing: ` a month`, ` in all`, ` a ticket`."""
    return t(TEXTS["per"][period]) if period in TEXTS["per"] else t(" a {0}", t(period)) if period else ""


def period_title(period: str) -> str:
    """Return the head of a column of amounts that fall due in a period."""
    text = a_period(period).strip()
    return text[:1].upper() + text[1:]


def noun_of(request: Workload) -> str:
    """Return the user's word for a request."""
    return t(_english_noun(request))


def _english_noun(request: Workload) -> str:
    name = request.noun.removeprefix("/")
    return "request" if name in {*CALLS, ""} else "PR" if name == "pr" else escaped(name)


def short(value: float) -> str:
    """Write a number in few characters, without rounding it: 50k, 1.2M, 12,345."""
    for letter, scale in TEXTS["scales"].items():
        part = value / scale
        if value >= scale and is_shortened(scale) and abs(part * 100 - round(part * 100)) < 1e-9:
            return t(letter, numeral(f"{part:.10g}"))
    return numeral(f"{value:,.10g}")


def _message(request: Request, missing: tuple[str, ...], doubts: tuple[str, ...], unused: tuple[str, ...]) -> str:
    wanted = [t(TEXTS["needs"].get(name, TITLES[name])) for name in missing if name in TITLES]
    parts = [t("Please check how I read this before I work it out.")]
    if wanted:
        joined = t(" and ").join(filter(None, [", ".join(wanted[:-1]), wanted[-1]]))
        parts = [t("First I need to know {0}.", joined)]
    if doubts:
        parts.append(t("In doubt: {0}.", "; ".join(doubts[:6])))
    if unused:
        parts.append(t("No place found for: {0}.", ", ".join(t("“{0}”", one) for one in unused[:12])))
    if known := described(request):
        parts.append(t("Understood so far: {0}.", " · ".join(known)))
    return " ".join(parts)


def _property(kind: type, name: str, value: Any) -> dict[str, Any]:
    hint = next((one.type for one in fields(kind) if one.name == name), str)
    made: dict[str, Any] = {"title": t(TITLES[name])}
    choices = [choice for choice in get_args(hint) if isinstance(choice, str) and choice]
    if name == "goal":
        titled = [{"const": goal, "title": t(one["title"])} for goal, one in _GOALS.items() if "title" in one]
        made |= {"type": "string", "oneOf": titled}
    elif choices:
        made |= {"type": "string", "oneOf": [{"const": one, "title": _choice(one)} for one in choices]}
    elif hint is int or float in get_args(hint):
        made |= {"type": "integer", "minimum": 1} if hint is int else {"type": "number", "minimum": 0}
    else:
        made |= {"type": "string", **({"format": "date"} if name in ("since", "until") else {"maxLength": 500})}
    if value not in (None, ""):
        made["default"] = value
    return made


def _choice(value: str) -> str:
    return t(value.replace("_", " "))


def _chip(name: str, value: Any, schema: dict[str, Any]) -> str:
    label = t(TITLES[name]).partition(" (")[0].partition(",")[0]
    if isinstance(value, float | int):
        return f"{label}: {numeral(f'{value:,.15g}')}"
    words = name == "answer_per" or "oneOf" in schema
    text = ", ".join(map(_choice, _listed_names(value))) if words else value
    return f"{label}: {day(text) if schema.get('format') == 'date' else text}"
