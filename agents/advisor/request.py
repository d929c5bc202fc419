"""The two typed requests, `Workload` and `Query`, and their forms and chips. A request holds only what was said."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from agents.advisor.language.vocabulary import CALLS
from agents.usage.asked import Query as Query
from agents.usage.asked import idle, lacking
from agents.usage.figures import Answer, escaped
from chat.protocol import forms

Period = Literal["", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "once"]
Scope = Literal["", "request", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "once"]
Goal = Literal["", "cost", "price", "bill", "saving", "change", "seats"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A use of models or a bill, as the user states it. None and empty: not said. Percentages are 0 to 100.

    `models` and `move_to`: ids of the price list, separated by commas. `requests_by`: of each user, or all together.
    `calls`: model calls in each request. `tokens_per`: what the token counts are for. Prices are per million tokens,
    or `unit_price` for each `unit` (a request, a user in `unit_per`, a minute of audio).
    `growth` and `price_change` are factors. `answer_per`: the periods and things that the cost is wanted for.
    """

    goal: Goal = ""
    models: str = ""
    move_to: str = ""
    users: float | None = None
    requests: float | None = None
    requests_per: Period = ""
    requests_by: Literal["", "all", "user"] = ""
    calls: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    all_tokens: float | None = None
    tokens_per: Scope = ""
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
    spend_per: Period = ""
    currency: str = ""
    saving: float | None = None
    ceiling: float | None = None
    growth: float | None = None
    price_change: float | None = None
    convert_to: str = ""
    rate: float | None = None
    converted: str = ""
    noun: str = ""
    answer_per: str = ""


Request = Workload | Query

# What a form calls the fields.
TITLES = {
    "goal": "What to work out",
    "models": "Model (several: separated by commas)",
    "move_to": "Compare with model",
    "requests": "Requests",
    "requests_per": "Requests per",
    "requests_by": "Requests are of",
    "calls": "Model calls in each request",
    "input_tokens": "Input tokens",
    "output_tokens": "Output tokens",
    "all_tokens": "Tokens, input and output together",
    "tokens_per": "Tokens are for each",
    "cached": "Cached part of the input, %",
    "batched": "Part sent as batch, %",
    "input_price": "Input price, per million tokens",
    "output_price": "Output price, per million tokens",
    "unit_price": "Price of one unit",
    "unit": "The unit",
    "unit_per": "The price is for each",
    "amount": "Audio",
    "amount_unit": "Audio in",
    "amount_per": "Audio per",
    "spend": "Amount paid",
    "spend_per": "Paid per",
    "currency": "Currency",
    "saving": "Saving wanted, %",
    "ceiling": "Amount wanted or budget",
    "growth": "Traffic grows by the factor",
    "price_change": "Prices change by the factor",
    "metric": "Figure",
    "by": "Group by",
    "also": "And the figure",
    "users": "Users",
    "since": "From day",
    "until": "To day",
    "top": "How many",
    "statistic": "Statistic of the latency",
    "features": "Only this feature",
    "teams": "Only this team",
    "projects": "Only this project",
    "api_keys": "Only this key",
    "environments": "Only this environment",
    "on_model": "At the prices of model",
    "budget": "Budget",
    "order": "Order",
    "convert_to": "Show in currency",
    "rate": "Exchange rate: how much of it one unit of the other currency is",
    "converted": "Converted",
    "noun": "A request is called",
    "answer_per": "Cost per",
}
_ESSENTIAL: dict[str, tuple[str, ...]] = {
    "cost": (
        "models",
        "requests",
        "requests_per",
        "input_tokens",
        "output_tokens",
        "tokens_per",
        "cached",
        "answer_per",
    ),
    "price": ("models",),
    "bill": ("spend", "spend_per", "currency", "models", "answer_per"),
    "saving": ("spend", "spend_per", "currency", "models", "saving"),
    "change": ("spend", "spend_per", "currency", "growth", "price_change"),
    "seats": ("users", "unit_price", "unit_per", "currency"),
    "": ("goal", "models", "requests", "requests_per", "input_tokens", "output_tokens", "tokens_per", "spend",
         "spend_per", "currency"),
    "query": ("metric", "by", "since", "until", "top"),
}  # fmt: skip
MAX_PROPERTIES = 20
_NEEDS = {
    "goal": "what to work out",
    "requests": "the number of requests",
    "requests_per": "the period of the requests",
    "requests_by": "whether the requests are of each user or of all together",
    "tokens_per": "what the tokens are for (a request, a day, all of it)",
    "spend_per": "the period that is paid for",
    "unit_per": "the period that the price is for",
    "models": "the model",
    "users": "the number of users",
    "metric": "the figure that you want",
    "by": "what to group by",
}
_GOALS = {
    "cost": "The cost of a workload",
    "price": "List prices",
    "bill": "Totals of what is paid",
    "saving": "A saving on what is paid",
    "change": "A change of prices or traffic",
    "seats": "The cost of seats",
}


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
            "general": self.general,
            "wants_savings": self.wants_savings,
            "refusal": self.refusal,
        }

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
    return {
        name: value
        for name, value in asdict(request).items()
        if value not in (None, "") and (name, value) != ("top", 0)
    }


# The fields that figures of a goal rest on. A number in any other field is in doubt: it would change nothing.
_BILL = {"spend", "spend_per", "currency", "models", "answer_per", "convert_to", "rate", "move_to", "noun",
         "converted"}  # fmt: skip
_TOKENS = {"models", "users", "requests", "requests_per", "requests_by", "calls", "input_tokens", "output_tokens",
           "tokens_per", "cached", "batched", "noun", "answer_per", "converted", "currency", "convert_to",
           "rate"}  # fmt: skip
_USED: dict[str, set[str]] = {
    "cost": _TOKENS
    | {"all_tokens", "input_price", "output_price", "unit_price", "unit", "amount", "amount_unit", "amount_per"}
    | {"growth", "price_change"},
    "price": {"models", "answer_per", "convert_to", "rate"},
    "saving": _BILL | {"saving", "ceiling"},
    "change": _BILL | {"growth", "price_change"},
    "bill": _BILL | {"users", "requests", "requests_per", "requests_by"},
    "seats": _TOKENS | {"unit_price", "unit", "unit_per"},
}


def used(request: Workload) -> set[str]:
    """Return the fields that the figures of the request use."""
    tokens = {"input_tokens", "output_tokens"} if request.move_to and request.spend is not None else set()
    return {"goal"} | _USED[request.goal] | tokens


def form(request: Request, missing: tuple[str, ...], doubts: tuple[str, ...], unused: tuple[str, ...]) -> Form:
    """Return the form that asks for `missing`. It holds all that the request holds, and `unused` as text."""
    kind = "query" if isinstance(request, Query) else request.goal
    held = said(request)
    names = list(dict.fromkeys([*missing, *held, *_ESSENTIAL[kind]]))[: MAX_PROPERTIES - 2]
    properties = {name: _property(type(request), name, held.get(name)) for name in names if name in TITLES}
    if unused:
        rest = "Not understood: put it into the fields above"
        properties["rest"] = {"type": "string", "title": rest, "default": "; ".join(unused)[:1000], "maxLength": 2000}
    # A text can be emptied; a number or a choice that is left out of an answer takes its default.
    kept = [name for name in held if name in properties and name not in missing and name != "goal"]
    kept = [name for name in kept if properties[name]["type"] != "string" or "enum" in properties[name]]
    if kept:
        titled = [{"const": name, "title": TITLES[name]} for name in kept]
        properties["cleared"] = {"type": "array", "title": "Leave out", "items": {"type": "string", "oneOf": titled}}
    schema = {"type": "object", "properties": properties, "required": [name for name in missing if name in properties]}
    return Form(_message(request, missing, doubts, unused), schema, unused)


def checked(query: Query, doubts: tuple[str, ...] = (), unused: tuple[str, ...] = ()) -> Understood:
    """Return the query, with a form for what its figures need, and for what they would not use."""
    odd, empty = idle(query), Query()
    query = replace(query, **{name: getattr(empty, name) for name in odd})
    unused += tuple(escaped(f"{TITLES[name]}: {value}") for name, value in odd.items())
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
    return [
        {"field": name, "text": _chip(name, value), "schema": _property(kind, name, value)}
        for name, value in said(request).items()
        if name in TITLES and name not in ("goal", "noun")
    ]


def described(request: Request) -> list[str]:
    """Return what was understood in few words, as the answer shows it."""
    if isinstance(request, Query):
        return [chip["text"] for chip in chips(request)]
    noun = noun_of(request)
    per = {"": "", "once": " in all"}
    made = [one for one in (request.models, request.move_to and f"compared with {request.move_to}") if one]
    if request.users is not None:
        made.append(f"{short(request.users)} {'seats' if request.unit == 'user' else 'users'}")
    if request.requests is not None:
        each = " for each user" if request.requests_by == "user" else ""
        plural = noun if noun.endswith("s") or not noun.isascii() else f"{noun}s"
        made.append(
            f"{short(request.requests)} {plural}{per.get(request.requests_per, f' a {request.requests_per}')}{each}"
        )
    if request.calls is not None:
        made.append(f"{short(request.calls)} model calls in each {noun}")
    scope = per.get(request.tokens_per, f" a {noun if request.tokens_per == 'request' else request.tokens_per}")
    if request.calls is not None and request.tokens_per == "request":
        scope = " a call"
    for value, what in (
        (request.input_tokens, "input tokens"), (request.output_tokens, "output tokens"),
        (request.all_tokens, "tokens"),
    ):  # fmt: skip
        if value is not None:
            made.append(f"{short(value)} {what}{scope}")
    for value, what in (
        (request.input_price, "a million input tokens"), (request.output_price, "a million output tokens"),
        (request.unit_price, {"million": "a million tokens", "user": "a seat"}.get(request.unit, f"a {request.unit}")),
    ):  # fmt: skip
        if value is not None:
            after = f" a {request.unit_per}" if request.unit_per and what == "a seat" else ""
            made.append(f"{short(value)} {request.currency} {what}{after}")
    if request.amount is not None:
        made.append(
            f"{short(request.amount)} {request.amount_unit}s{per.get(request.amount_per, f' a {request.amount_per}')}"
        )
    if request.spend is not None:
        made.append(
            f"{short(request.spend)} {request.currency}{per.get(request.spend_per, f' a {request.spend_per}')} paid"
        )
    for value, what in (
        (request.cached, "% of the input cached"), (request.batched, "% as batch"), (request.saving, "% to be saved"),
        (request.ceiling, f"{request.currency} wanted"), (request.growth, "× traffic"),
        (request.price_change, "× prices"), (request.rate, f"{request.convert_to} for one {request.currency or 'USD'}"),
    ):  # fmt: skip
        if value is not None:
            made.append(f"{short(value)} {what}")
    if request.converted:
        made.append(request.converted)
    if request.answer_per:
        made.append(
            f"cost per {request.answer_per.replace('request', noun)}" if request.answer_per != "cached" else "cached"
        )
    return [" ".join(one.split()) for one in made]


def noun_of(request: Workload) -> str:
    """Return the user's word for a request."""
    name = request.noun.removeprefix("/")
    return "request" if name in {*CALLS, ""} else "PR" if name == "pr" else escaped(name)


def short(value: float) -> str:
    """Write a number in few characters, without rounding it: 50k, 1.2M, 12,345."""
    for scale, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        part = value / scale
        if value >= scale and abs(part * 100 - round(part * 100)) < 1e-9:
            return f"{part:.10g}{letter}"
    return f"{value:,.10g}"


def _message(request: Request, missing: tuple[str, ...], doubts: tuple[str, ...], unused: tuple[str, ...]) -> str:
    parts = []
    wanted = [_NEEDS.get(name, "the " + TITLES[name].partition(" (")[0].lower()) for name in missing if name in TITLES]
    if wanted:
        parts.append(f"I need {_listed(wanted)} before I can work this out.")
    else:
        parts.append("Please check how I read this before I work it out.")
    if doubts:
        parts.append(f"In doubt: {'; '.join(doubts[:6])}.")
    if unused:
        parts.append("No place found for: " + ", ".join(f"“{one}”" for one in unused[:12]) + ".")
    known = described(request)
    if known:
        parts.append("Understood so far: " + " · ".join(known) + ".")
    return " ".join(parts)


def _property(kind: type, name: str, value: Any) -> dict[str, Any]:
    hint = next((one.type for one in fields(kind) if one.name == name), str)
    made: dict[str, Any] = {"title": TITLES[name]}
    choices = [choice for choice in get_args(hint) if isinstance(choice, str) and choice]
    if name == "goal":
        made |= {"type": "string", "oneOf": [{"const": goal, "title": title} for goal, title in _GOALS.items()]}
    elif choices:
        made |= {"type": "string", "enum": choices}
    elif hint is int:
        made |= {"type": "integer", "minimum": 1}
    elif float in get_args(hint):
        made |= {"type": "number", "minimum": 0}
    elif name in ("since", "until"):
        made |= {"type": "string", "format": "date"}
    else:
        made |= {"type": "string", "maxLength": 500}
    if value not in (None, ""):
        made["default"] = value
    return made


def _chip(name: str, value: Any) -> str:
    label = TITLES[name].partition(" (")[0].partition(",")[0]
    return f"{label}: {value:,.10g}" if isinstance(value, float) else f"{label}: {value}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
