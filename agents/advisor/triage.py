"""Triage: what is asked, as a typed request; a form where the message leaves something open."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date
from importlib import import_module
from itertools import pairwise
from typing import Any

from agents.advisor.data import recognised
from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import MAX_TEXT, Read, tokens
from agents.advisor.language.phrases import read
from agents.advisor.reading import Reading, fill, open_fields, refusal
from agents.advisor.request import TITLES, Request, Understood, Workload, checked, form, said, typed, used
from agents.llm import unavailable
from agents.sdk import AgentError, Turn
from agents.usage.asked import Query, calendar_period
from agents.usage.figures import Figure, Figures, escaped
from agents.usage.files import UsageFiles
from chat.protocol import ProtocolError

log = logging.getLogger(__name__)

MAX_EARLIER = 10
HELP = (
    "I work out what AI models cost: attach a usage or billing file, or say the model, how many requests there are and "
    "how many input and output tokens each has."
)
NO_CHANGE = (
    "I did not understand what to change. Say it in figures or names: another model, number of requests or tokens, a "
    "share that is cached or batched, or a period."
)
NO_FILE = "There is no usage or billing file in this conversation: attach one."
NO_ROWS = "Only a usage file tells that: attach one as CSV, JSON or a workbook."
NO_SIZING = "I work out what AI models cost and can save; I cannot answer that."


def understand(texts: Sequence[str]) -> Understood:
    """Return the request of the last of a user's messages, in the light of those before it. There is no file."""
    if (given := _typed(texts[-1])) is not None:
        return Understood(refusal=NO_FILE) if isinstance(given.request, Query) else given
    before: Reading | None = None
    reading: Reading | None = None
    for text in texts[-MAX_EARLIER:]:
        if (given := _typed(text)) is not None:
            if isinstance(given.request, Workload):
                before, reading = reading, Reading(given.request)
            continue
        found = read(text)
        if not _says_nothing(found) or reading is not None:
            before, reading = reading, fill(found, reading)
    last = read(texts[-1])
    if last.has("outside") and not (reading and reading.certain):
        return Understood(refusal=NO_SIZING)
    if reading is None or (
        _says_nothing(last) and not _asks(last) and not reading.certain and not said(reading.request)
    ):
        return Understood(refusal=HELP)
    if reading.refusal:
        return Understood(refusal=reading.refusal)
    if before and before.certain and before.request == reading.request and _changes_nothing(last):
        return Understood(refusal=NO_CHANGE)
    if last.has("rows") and not last.quantities:
        return Understood(refusal=NO_ROWS)
    # "Which is cheaper" compares models.
    saves = last.has("save") and ("," not in reading.request.models or "saving" in said(reading.request))
    if reading.certain:
        return Understood(reading.request, wants_savings=saves or reading.request.goal == "saving")
    if reading.missing == ["goal"] and not said(reading.request) and not reading.unused and not reading.doubts:
        if last.has("pay") and not saves:
            return Understood(refusal=NO_ROWS)
        return Understood(general=True, wants_savings=True)
    unused = tuple(escaped(one.text) for one in reading.unused)
    doubts = tuple(escaped(one, 120) for one in dict.fromkeys(reading.doubts))
    return Understood(
        reading.request, form(reading.request, tuple(reading.missing), doubts, unused), wants_savings=saves
    )


def _typed(text: str) -> Understood | None:
    """Return what a message asks for that is a typed request itself, as the page sends it for a changed chip."""
    try:
        request = typed(text)
    except ProtocolError as error:
        return Understood(refusal=f"I cannot read this request: {escaped(error.message, 200)}.")
    return None if request is None else complete(request)


def _changes_nothing(last: Read) -> bool:
    """Tell if a message that goes on asks for something that is not understood, so that no figure answers it."""
    return not last.quantities and (not _asks(last) or bool(last.unknown_words))


def _says_nothing(found: Read) -> bool:
    return not (found.quantities or found.models or found.products or found.unknown_models or _asks(found))


def _asks(found: Read) -> bool:
    kinds = ("save", "cost", "price", "budget", "cached", "batched", "compare", "switch", "pay", "outside")
    return any(found.has(kind) for kind in kinds) or bool(found.asked_per) or bool(found.currencies)


def understand_question(text: str, about: dict[str, Any]) -> Understood:
    """Return the query of a message to usage files. `about`: as `query.names_of` tells it.

    Every word of the message has to be known: a name of the file, a model, or a word of the table.
    """
    return _Question(text, about).read()


class _Question:
    def __init__(self, text: str, about: dict[str, Any]) -> None:
        self._names: dict[str, list[str]] = about["names"]
        self._priced: dict[str, list[str]] = about["priced"]
        self._first, self._last, self._today = about["first"], about["last"], date.fromisoformat(about["today"])
        self._query: dict[str, Any] = {}
        self._metrics: list[str] = []
        self._by: list[str] = []
        self._unknown: list[str] = []
        self._supposed: list[str] = []
        self._weak: list[str] = []
        self._text = self._without_periods(self._without_names(text))

    def read(self) -> Understood:
        plain = read(self._text)
        self._take_quantities(plain)
        pieces = [one for one in tokens(self._text) if one.kind in ("word", "unknown", "model", "product")]
        taken = [(one.start, one.end) for one in plain.quantities]
        for index, piece in enumerate(pieces):
            if not any(start <= piece.start < end for start, end in taken):
                before = pieces[index - 1].text if index else ""
                self._take_word(piece.text, piece.kind, before)
        query = self._finished()
        doubts = tuple(f"“{escaped(word)}”" for word in dict.fromkeys(self._unknown))
        unused = tuple(escaped(one.text) for one in plain.quantities if one.text in self._unplaced)
        return checked(query, doubts, unused)

    def _without_names(self, text: str) -> str:
        """Take out the names of the file, the longest first, and choose rows by them."""
        found: dict[str, list[str]] = {}
        lowered = _spaced(text)
        every = [(name, column) for column, names in self._names.items() for name in names if len(name) > 1]
        for name, column in sorted(every, key=lambda one: -len(one[0])):
            at = lowered.find(_spaced(name))
            # `gpt-4o` is no name in `gpt-4o-mini`.
            whole = at >= 0 and not re.match(r"\w|[-.:]\w", text[at + len(name) : at + len(name) + 2])
            if whole and not re.match(r"\w", lowered[at - 1 : at]) and words.folded(name) not in words.QUERY:
                found.setdefault(column, []).append(name)
                text = text[:at] + " " * len(name) + text[at + len(name) :]
                lowered = _spaced(text)
        for column, chosen in found.items():
            self._query[f"{column}s"] = "|".join(chosen)
            if len(chosen) > 1:
                self._by.append(column)
        return text

    def _without_periods(self, text: str) -> str:
        """Take out “last month” and the like, and choose rows by its days, if the file has any of them."""
        pieces = [one for one in tokens(text) if one.kind in ("word", "unknown")]
        for one, other in pairwise(pieces):
            for near, named in ((one, other), (other, one)):
                away, period = words.RELATIVE.get(words.folded(near.text)), words.meaning(named.text, "period")
                if away is None or period not in ("week", "month", "quarter", "year") or named.text in words.SEVERAL:
                    continue
                since, until = (day.isoformat() for day in calendar_period(self._today, period, away))
                if not (self._first and self._last) or since > self._last or until < self._first:
                    self._unknown.append(f"{one.text} {other.text}")
                elif "since" not in self._query:
                    self._query |= {"since": since, "until": until}
                    return text[: one.start] + " " * (other.end - one.start) + text[other.end :]
        return text

    def _take_quantities(self, plain: Read) -> None:
        self._unplaced: list[str] = []
        for one in plain.quantities:
            whole = one.value is not None and one.value == int(one.value)
            if one.unit == "percent" and one.role == "save":
                self._query["saving"] = one.value
                self._metrics.append("saving")
            elif one.unit == "money" and one.role == "budget" and not one.per:
                self._query["budget"] = one.value
            elif one.unit in ("", "user", "request") and not one.per and whole and self._is_top(one.start):
                self._query["top"] = int(one.value or 0)
                self._by += [one.unit] if one.unit == "user" else []
            elif one.unit == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", one.text) and "since" not in self._query:
                self._query["since"] = self._query["until"] = one.text
            elif one.unit == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", one.text) and one.text > self._query["since"]:
                self._query["until"] = one.text
            else:
                self._unplaced.append(one.text)
        self._unknown += [one.strip("“”") for one in plain.doubts if "a range" in one or "more numbers" in one]

    def _is_top(self, start: int) -> bool:
        before = re.findall(r"\w+", self._text[:start].lower())
        after = re.findall(r"\w+", self._text[start:].lower())[1:2]
        near = [*before[-1:], *after]
        return any(one.kind == "order" for word in near for one in words.QUERY.get(words.folded(word), []))

    def _take_word(self, word: str, kind: str, before: str) -> None:
        if kind == "model":
            known = self._priced.get(word)
            if known:
                self._query["models"] = "|".join([*filter(None, [self._query.get("models", "")]), *known])
            else:
                self._query["on_model"] = "|".join([*filter(None, [self._query.get("on_model", "")]), word])
            return
        if kind == "unknown" or (kind == "word" and word in words.VENDOR_NAMES):
            family = [name for name in self._names.get("model", []) if word.casefold() in name.casefold()]
            if family:
                self._query["models"] = "|".join(family)
                return
            self._unknown.append(word)
            return
        month = words.MONTHS.get(word)
        meanings = words.QUERY.get(word, [])
        if month and word != "may" and not meanings:
            self._take_month(month, word)
        elif not meanings:
            (self._supposed if word in words.SUPPOSED else self._unknown).append(word)
        for one in meanings:
            self._take_meaning(one, word, before, [other.kind for other in meanings])

    def _take_meaning(self, one: words.Meaning, word: str, before: str, kinds: list[str]) -> None:
        if one.kind == "metric":
            if word in ("p50", "p90", "p95", "p99", "median"):
                self._query["statistic"] = "p50" if word == "median" else word
            # "median cost", "over time": words that are of the latency only where nothing else is.
            (self._weak if word in words.WEAK else self._metrics).append(one.value)
        elif one.kind == "by":
            self._by.append(one.value)
        elif one.kind == "order":
            self._query["order"] = one.value
            self._metrics.append("cost" if word in ("expensive", "dearest", "cheapest", "teuerste") else "")
        elif one.kind == "mean":
            self._query["mean"] = True
        del before, kinds

    def _take_month(self, month: int, word: str) -> None:
        years = range(int(self._first[:4]), int(self._last[:4]) + 1) if self._first and self._last else range(0)
        inside = [year for year in years if (self._first or "")[:7] <= f"{year}-{month:02d}" <= (self._last or "")[:7]]
        if len(inside) != 1 or "since" in self._query:
            self._unknown.append(word)
            return
        end = date(inside[0] + month // 12, month % 12 + 1, 1).toordinal() - 1
        self._query["since"] = date(inside[0], month, 1).isoformat()
        self._query["until"] = date.fromordinal(end).isoformat()

    def _finished(self) -> Query:
        found = [one for one in dict.fromkeys(self._metrics) if one] or list(dict.fromkeys(self._weak))
        if self._weak and "latency" not in found and "statistic" not in self._query:
            self._unknown.append("time")
        if bool(self._supposed) != ("on_model" in self._query):
            self._unknown += self._supposed or [f"at the prices of {self._query['on_model']}"]
        mean = self._query.pop("mean", False)
        by = [one for one in dict.fromkeys(self._by) if one]
        if by == ["hour", "day"]:
            by = ["hour"]
        if "users" in found and "user" in by:
            # The users, or a figure of each of them.
            found.remove("users") if len(found) > 1 else by.remove("user")
        text = self._text.lower()
        each = re.search(
            r"\b(?:per|each|one|a|pro|par|por)\s+(request|call|message|query|anfrage|requete)\b", words.folded(text)
        )
        if "requests" in found and each and ("cost" in found or len(found) == 1):
            found = ["unit_cost", *(one for one in found if one not in ("requests", "cost"))]
        if mean and found == ["cost"] and not by:
            found = ["unit_cost"]
        if "tokens" in found and {"cached", "input_tokens", "output_tokens"} & set(found):
            found.remove("tokens")
        if "cached" in found and "input_tokens" in found:
            found.remove("input_tokens")
        strong = [one for one in found if one != "cost"]
        metrics = strong if strong and (len(found) == 1 or strong[0] not in ("requests", "tokens")) else found
        if "saving" in metrics:
            metrics = ["saving"]
        if "cost" in found and "batched" in metrics and len(metrics) > 1:
            metrics = [one for one in metrics if one != "cost"]
        parts = {"cached", "input_tokens", "output_tokens", "latency", "users"} & {*metrics}
        if parts and "cost" in found and "cost" not in metrics:
            self._unknown.append("the cost of a part")
        if mean and not {*metrics} & {"unit_cost", "latency"}:
            self._unknown.append("average")
        if len(metrics) > 2 or len(by) > 1:
            self._unknown.append("more than two figures at once")
        also = metrics[1] if len(metrics) > 1 else ""
        return Query(metric=metrics[0] if metrics else "", also=also, by=by[0] if by else "", **self._query)  # type: ignore[arg-type]


def _spaced(text: str) -> str:
    """A text of the same length in which the marks inside of names are spaces: `support-chat` is `support chat`."""
    lowered = text.lower() if len(text.lower()) == len(text) else text
    return re.sub(r"[-_/.:]", " ", lowered)


def followed(now: Understood, earlier: Understood | None) -> Understood:
    """Return a query with what it leaves out taken from the one before it."""
    if earlier is None or not isinstance(now.request, Query) or not isinstance(earlier.request, Query) or now.form:
        return now
    held = said(now.request)
    if "metric" in held or not held:
        return now
    return replace(now, request=replace(earlier.request, **held))


def complete(request: Request) -> Understood:
    """Return what an answered form, or a model, asks for: with the next form if a figure needs more."""
    if isinstance(request, Query):
        return checked(request)
    if not request.goal:
        tokens = request.input_tokens is not None or request.output_tokens is not None
        request = replace(request, goal="cost" if tokens else "bill" if request.spend is not None else "")
    if request.goal in ("cost", "price") and request.move_to:
        request = replace(request, models=", ".join(filter(None, [request.models, request.move_to])), move_to="")
    if why := refusal(request):
        return Understood(refusal=why)
    odd = {name: value for name, value in said(request).items() if request.goal and name not in used(request)}
    request = replace(request, **{name: getattr(Workload(), name) for name in odd})
    unused = tuple(escaped(f"{TITLES[name]}: {value}") for name, value in odd.items())
    missing = tuple(open_fields(request))
    asked = form(request, missing, (), unused) if missing or unused else None
    return Understood(request, asked, wants_savings=request.goal == "saving")


class Model:
    """The model of the settings, for one run. After a failure it is not asked again, and the answer is the one without.

    Its methods with a verb are tools.
    """

    def __init__(self, usage: dict[str, Any]) -> None:
        self._usage = usage
        self._silent = unavailable() is not None

    async def tried(self, turn: Turn, tool: Callable[..., Awaitable[Any]], **parameters: Any) -> Any:
        """Return what the tool returns; None without a model, or if it fails."""
        if self._silent:
            return None
        try:
            return await turn.call(tool, **parameters)
        except AgentError as error:
            self._silent = True
            await turn.think(f"{error.message} I go on without it.")
            return None

    async def choose_request(self, newest: str, earlier: list[str], files: dict[str, Any] | None) -> dict[str, Any]:
        """Return the typed request that a model makes of a message, with the form that it needs."""
        library = await _library()
        found = await _answered(library.choose({"newest": newest, "earlier": earlier, "files": files}, self._usage))
        if isinstance(found, Workload | Query):
            understood = complete(found)
            unused = tuple(escaped(one) for one in library.left_out(found, read(newest).quantities))
            if unused and understood.request:
                missing, more = (
                    (understood.form.schema["required"], understood.form.unused) if understood.form else ((), ())
                )
                understood = replace(understood, form=form(understood.request, tuple(missing), (), (*more, *unused)))
        else:
            general = found.about == "cost in general"
            understood = Understood(general=general, wants_savings=general, refusal="" if general else HELP)
        return understood.as_json()

    async def write_prose(self, question: str, figures: list[dict[str, Any]], facts: list[str]) -> list[str]:
        """Return a model's sentences about figures, with no number that they do not have."""
        library = await _library()
        found = Figures({one["id"]: Figure(**{key: one[key] for key in _FIGURE}) for one in figures})
        return await _answered(library.explain(question, found, facts, self._usage))  # type: ignore[no-any-return]


_FIGURE = ("id", "label", "value", "unit", "formula")


async def _library() -> Any:
    # In a thread: seconds of importing would hold up the worker's other runs.
    return await asyncio.to_thread(import_module, "agents.advisor.llm")


async def _answered(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except TimeoutError:
        raise AgentError("The model did not answer in time.", code="model_timeout") from None
    except Exception as error:
        # JSON of another shape than the API's comes out of the library as whatever that broke in it.
        log.warning("the advisor's model failed: %s", type(error).__name__)
        known = (await asyncio.to_thread(import_module, "agents.llm.errors")).user_error(error)
        raise known or AgentError("The model's answer could not be understood.", code="model_garbled") from None


async def triage(turn: Turn, files: UsageFiles, model: Model, text: str) -> tuple[Understood, list[str], list[str]]:
    """Return what is asked, the names of the usage files, and problems with the others."""
    await turn.think("Reading the amounts, models and units in the message")
    earlier = [message.content for message in turn.history[:-1] if message.role == "user"][-MAX_EARLIER:]
    names, problems, prose = await recognised(turn, files)
    # One character more than is read, so that a longer text is known to be one.
    text = "\n".join([text, *prose])[: MAX_TEXT + 1]
    earlier = [one[: MAX_TEXT + 1] for one in earlier]
    about = None
    if names:
        try:
            about = await turn.call(files.names_in, attachments=names)
        except AgentError as error:
            return Understood(refusal=escaped(error.message, 400)), [], problems
    elif problems and not read(text).quantities:
        return Understood(refusal="Attach a usage or billing export as CSV or JSON."), [], problems
    chosen = None
    if _typed(text) is None:
        shown = about and _shown(about)
        chosen = await model.tried(turn, model.choose_request, newest=text, earlier=earlier, files=shown)
    if chosen is not None:
        understood = Understood.from_json(chosen)
    elif about:
        understood = _about_files(about, [*earlier, text])
    else:
        understood = Understood.from_json(await turn.call(understand_message, texts=[*earlier, text]))
    turn.summary = _summary(understood)
    return understood, names, problems


def _shown(about: dict[str, Any]) -> dict[str, Any]:
    """The most frequent names of a file, as a model is given them."""
    names = about["names"]
    return {"first": about["first"], "last": about["last"], **{f"{key}s": names.get(key, [])[:20] for key in names}}


def understand_message(texts: list[str]) -> dict[str, Any]:
    """Return the typed request of the last message, or the form that it needs."""
    return understand(texts).as_json()


def _about_files(about: dict[str, Any], texts: list[str]) -> Understood:
    before: Understood | None = None
    for text in texts:
        given = _typed(text)
        before = followed(understand_question(text, about), before) if given is None else given
    assert before is not None
    return before


def _summary(understood: Understood) -> str:
    if understood.form:
        return "Something is open: a form asks for it."
    if understood.request:
        return f"Understood {len(said(understood.request))} fields."
    return "A question about costs in general." if understood.general else "Nothing that can be worked out."
