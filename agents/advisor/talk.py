"""Talk: what a language model adds, where one is configured. It sorts questions and writes prose; it computes nothing.

Its choices are among given ones, its prose is kept as far as the figures bear it out, and when it fails, is slow or
talks nonsense the answer is the one that there is without it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import date
from importlib import import_module
from typing import Any, TypedDict, TypeVar, get_args

from agents.advisor.answers import Meant, Only, Summary
from agents.advisor.claims import sentences, supported
from agents.advisor.figures import Figures, is_empty
from agents.advisor.levers import Lever
from agents.advisor.question import Question, Topic, continued
from agents.agent import AgentError, Turn
from agents.assistant import unavailable

log = logging.getLogger(__name__)

EARLIER = 5
TEXT = 1_000
FIGURES = 12_000  # characters
SENTENCES = 8

Result = TypeVar("Result")


class Narrative(TypedDict):
    """`dropped`: how many sentences said a number that the figures do not have."""

    sentences: list[str]
    dropped: int


class Talk:
    """The model for one run; its methods with a verb first are tools. After a failure it is not asked again."""

    def __init__(self, usage: dict[str, Any]) -> None:
        self._usage = usage
        self._silent = unavailable() is not None

    async def question(
        self, turn: Turn, read: Question, figures: Figures, text: str, earlier: Sequence[str], files: bool
    ) -> Question:
        """The question as the model understands it; `read` where there is none."""
        said = [one[:TEXT] for one in earlier[-EARLIER:]]
        found = await self._tried(turn, self.understand_question, text=text[:TEXT], earlier=said)
        if found is None:
            return read
        if found["kind"] in ("greeting", "other") and not is_empty(figures):
            found["kind"] = "advice"
        if (found["kind"] == "assumptions" and not earlier) or (found["kind"] == "show" and not files):
            found["kind"] = read["kind"]
        topics: list[Topic] = list(dict.fromkeys([*read["topics"], *found["topics"]]))
        follows = found["follows"] and bool(earlier)
        found = {**found, "topics": topics, "follows": follows, "parts": read["parts"]}
        return continued({**found, "narrow": follows and read["narrow"]}, earlier, files)

    async def rows(self, turn: Turn, meant: Meant, whole: Summary, text: str, earlier: Sequence[str]) -> Only:
        """The rows that a message is about in other words than the file's; nothing that the file does not have."""
        models = [one["named"] for one in whole["source"]["prices"]]
        found = await self._tried(
            turn,
            self.choose_rows,
            text=text[:TEXT],
            earlier=[one[:TEXT] for one in earlier[-EARLIER:]],
            features=meant["features"],
            models=list(dict.fromkeys(models))[:20],
            first=whole["first"],
            last=whole["last"],
        )
        return found or {}

    async def narrative(self, turn: Turn, question: str, figures: list[str]) -> list[str]:
        """Sentences about the figures, each of which says no other number than they do; none without a model."""
        kept: list[str] = []
        room = FIGURES
        for line in figures:
            room -= len(line)
            if room < 0:
                break
            kept.append(line)
        found = await self._tried(turn, self.write_narrative, question=question[:TEXT], figures=kept)
        if found and found["dropped"]:
            await turn.think(f"{found['dropped']} of the model's sentences had numbers of its own and were left out")
        return found["sentences"] if found else []

    # Tools

    async def understand_question(self, text: str, earlier: list[str]) -> Question:
        """What kind of answer a message wants, of which topics and levers."""
        asking = await _asking()
        found = await self._asked(
            asking.ask(asking.Understood, asking.UNDERSTAND, {"newest": text, "earlier": earlier}, self._usage)
        )
        return {
            "kind": found.kind,
            "topics": found.topics,
            "levers": [lever for lever in get_args(Lever) if lever in found.levers],
            "follows": found.follows,
            "scenario": found.scenario,
            "parts": [],
            "narrow": False,
        }

    async def choose_rows(
        self,
        text: str,
        earlier: list[str],
        features: list[str],
        models: list[str],
        first: str | None,
        last: str | None,
    ) -> Only:
        """The feature, model and days of the file that a message is about."""
        asking = await _asking()
        data = {"newest": text, "earlier": earlier, "features": features, "models": models}
        found = await self._asked(
            asking.ask(asking.Rows, asking.ROWS, {**data, "first": first, "last": last}, self._usage)
        )
        only: Only = {}
        if found.feature in features:
            only["feature"] = found.feature
        if found.model in models:
            only["model"] = found.model
        if first and last and _is_day(found.since) and _is_day(found.until):
            since, until = max(first, found.since), min(last, found.until)
            if since <= until and (since, until) != (first, last):
                only["since"], only["until"] = since, until
        return only

    async def write_narrative(self, question: str, figures: list[str]) -> Narrative:
        """Prose about the figures, with no number that they do not have."""
        asking = await _asking()
        data = {"question": question, "figures": figures}
        prose = (await self._asked(asking.ask(asking.Prose, asking.NARRATE, data, self._usage))).text[:4_000]
        kept = list(supported(prose, [question, *figures]))
        return {"sentences": kept[:SENTENCES], "dropped": len(sentences(prose)) - len(kept)}

    async def _tried(
        self, turn: Turn, tool: Callable[..., Coroutine[Any, Any, Result]], **parameters: Any
    ) -> Result | None:
        if self._silent:
            return None
        try:
            return await turn.call(tool, **parameters)
        except AgentError as error:
            self._silent = True
            await turn.think(f"{error.message} I go on without it.")
            return None

    async def _asked(self, answer: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await answer
        except TimeoutError:
            raise AgentError("The model did not answer in time.", code="model_timeout") from None
        except Exception as error:
            # JSON of another shape than the API's comes out of the library as whatever that broke in it.
            log.warning("the adviser's model failed: %s", type(error).__name__)
            known = (await asyncio.to_thread(import_module, "agents.assistant.model")).in_words(error)
            raise known or AgentError("The model's answer could not be understood.", code="model_garbled") from None


async def _asking() -> Any:
    # In a thread: seconds of importing would hold up the worker's other runs.
    return await asyncio.to_thread(import_module, "agents.advisor.asking")


def _is_day(text: str | None) -> bool:
    try:
        return text is not None and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
