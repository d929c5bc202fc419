"""Triage: what is asked, as a typed request; a form where the message leaves something open."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from agents.advisor.data import recognised
from agents.advisor.lacking import complete
from agents.advisor.language.grammar import Read
from agents.advisor.language.phrases import MAX_TEXT, read
from agents.advisor.question import followed, understand_question
from agents.advisor.reading import Reading, fill
from agents.advisor.request import TEXTS, Understood, Workload, form, said, typed
from agents.sdk import AgentError, Turn
from agents.usage.asked import Query
from agents.usage.figures import Figure, Figures, escaped
from agents.usage.files import UsageFiles
from chat.catalogue import unavailable
from chat.protocol import ProtocolError
from chat.translation import t, tn

log = logging.getLogger(__name__)

MAX_EARLIER = 10
REFUSALS: dict[str, str] = TEXTS["refusals"]


def understand(texts: Sequence[str]) -> Understood:
    """Return the request of the last of a user's messages, in the light of those before it. There is no file."""
    if (given := _typed(texts[-1])) is not None:
        return Understood(refusal=t(REFUSALS["no_file"])) if isinstance(given.request, Query) else given
    before: Reading | None = None
    reading: Reading | None = None
    for text in texts[-MAX_EARLIER:]:
        if (given := _typed(text)) is not None:
            if isinstance(given.request, Workload):
                before, reading = reading, Reading(given.request)
            continue
        found = read(text)
        if reading is not None or _says(found):
            before, reading = reading, fill(found, reading)
    last = read(texts[-1])
    if last.has("outside") and not (reading and reading.certain):
        return Understood(refusal=t(REFUSALS["no_sizing"]))
    if reading is None or (not _says(last) and not reading.certain and not said(reading.request)):
        return Understood(refusal=t(REFUSALS["help"]))
    if reading.refusal:
        return Understood(refusal=reading.refusal)
    if before and before.certain and before.request == reading.request and _changes_nothing(last):
        return Understood(refusal=t(REFUSALS["no_change"]))
    if last.has("rows") and not last.quantities:
        return Understood(refusal=t(REFUSALS["no_rows"]))
    request = reading.request
    # "Which is cheaper" compares models.
    saves = last.has("save") and (len(request.names) < 2 or request.saving is not None)
    if reading.certain:
        return Understood(request, wants_savings=saves or request.goal == "saving")
    if reading.missing == ["goal"] and not said(request) and not reading.unused and not reading.doubts:
        if last.has("pay") and not saves:
            return Understood(refusal=t(REFUSALS["no_rows"]))
        return Understood(general=True, wants_savings=True)
    unused = tuple(escaped(one.text) for one in reading.unused)
    doubts = tuple(escaped(one, 120) for one in dict.fromkeys(reading.doubts))
    return Understood(request, form(request, tuple(reading.missing), doubts, unused), wants_savings=saves)


def _typed(text: str) -> Understood | None:
    """Return what a message asks for that is a typed request itself, as the page sends it for a changed chip."""
    try:
        request = typed(text)
    except ProtocolError as error:
        return Understood(refusal=t("I cannot read this request: {0}.", escaped(error.message, 200)))
    return None if request is None else complete(request)


def _changes_nothing(last: Read) -> bool:
    """Tell if a message that goes on asks for something that is not understood, so that no figure answers it."""
    return not last.quantities and (not _asks(last) or bool(last.unknown_words))


def _says(found: Read) -> bool:
    return bool(found.quantities or found.models or found.products or found.unknown_models or _asks(found))


def _asks(found: Read) -> bool:
    kinds = ("save", "cost", "price", "budget", "cached", "batched", "compare", "switch", "pay", "outside")
    return any(map(found.has, kinds)) or bool(found.asked_per or found.currencies)


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
            await turn.think(" ".join([error.message, t("I go on without it.")]))
            return None

    async def choose_request(self, newest: str, earlier: list[str], files: dict[str, Any] | None) -> dict[str, Any]:
        """Return the typed request that a model makes of a message, with the form that it needs."""
        library = await _library()
        found = await _answered(library.choose({"newest": newest, "earlier": earlier, "files": files}, self._usage))
        if isinstance(found, Workload | Query):
            understood = complete(found)
            unused = tuple(escaped(one) for one in library.left_out(found, read(newest).quantities))
            if unused and understood.request:
                asked = understood.form
                missing, more = (asked.schema["required"], asked.unused) if asked else ((), ())
                understood = replace(understood, form=form(understood.request, tuple(missing), (), (*more, *unused)))
        else:
            general = found.about == "cost in general"
            understood = Understood(
                general=general, wants_savings=general, refusal="" if general else t(REFUSALS["help"])
            )
        return understood.as_json()

    async def write_prose(self, question: str, figures: list[dict[str, Any]], facts: list[str]) -> list[str]:
        """Return a model's sentences about figures, with no number that they do not have."""
        library = await _library()
        found = Figures({one["id"]: Figure.from_json(one) for one in figures})
        return await _answered(library.explain(question, found, facts, self._usage))  # type: ignore[no-any-return]


async def _library() -> Any:
    # In a thread: seconds of importing would hold up the worker's other runs.
    return await asyncio.to_thread(import_module, "agents.advisor.llm")


async def _answered(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except TimeoutError:
        raise AgentError(t("The model did not answer in time."), code="model_timeout") from None
    except Exception as error:
        # JSON of another shape than the API's comes out of the library as whatever that broke in it.
        log.warning("the advisor's model failed: %s", type(error).__name__)
        known = (await asyncio.to_thread(import_module, "agents.llm.errors")).user_error(error)
        raise known or AgentError(t("The model's answer could not be understood."), code="model_garbled") from None


async def triage(turn: Turn, files: UsageFiles, model: Model, text: str) -> tuple[Understood, list[str], list[str]]:
    """Return what is asked, the names of the usage files, and problems with the others."""
    await turn.think(t("Reading the amounts, models and units in the message"))
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
        return Understood(refusal=t("Attach a usage or billing export as CSV or JSON.")), [], problems
    chosen = None
    if _typed(text) is None:
        # Of the names in a file a model is given the most frequent ones.
        shown = about and {f"{key}s": names[:20] for key, names in about["names"].items()}
        shown = about and {"first": about["first"], "last": about["last"], **(shown or {})}
        chosen = await model.tried(turn, model.choose_request, newest=text, earlier=earlier, files=shown)
    if chosen is not None:
        understood = Understood.from_json(chosen)
    elif about:
        understood = _about_files(about, [*earlier, text])
    else:
        understood = Understood.from_json(await turn.call(understand_message, texts=[*earlier, text]))
    turn.summary = _summary(understood)
    return understood, names, problems


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
        return t("Something is open: a form asks for it.")
    if understood.request:
        count = len(said(understood.request))
        return tn("Understood {0} field.", "Understood {0} fields.", count, count)
    return t("A question about costs in general.") if understood.general else t("Nothing that can be worked out.")
