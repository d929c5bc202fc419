"""The files of a thread for a model: what they are, their text, and questions about the usage data in them.

They reach the files that came with the turn, and nothing else. What they give is cut to what a model can read.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, cast

from agents.advisor.answers import Dimension, Group, Only
from agents.advisor.files import UsageFiles
from agents.agent import AgentError, Attachment, Turn

_BYTES = 40_000  # of a file's text at a time


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """`size` in bytes; `usage`: whether it has usage data, `what`: how it was recognised, in words."""

    name: str
    media_type: str
    size: int
    usage: bool
    what: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a file from the byte `start` on; `following`: where the next piece starts, None at the end."""

    text: str
    start: int
    following: int | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of one model, feature or user, from the day `since` up to and with the day `until`, as 2026-06-01."""

    model: str | None = None
    feature: str | None = None
    user: str | None = None
    since: str | None = None
    until: str | None = None


def file_tools(turn: Turn, files: UsageFiles) -> list[Callable[..., Any]]:
    """Tools for the turn's attachments, which `files` has too. One of them is open at a time: it takes one place."""
    attachments: dict[str, Attachment] = dict(zip(files.names, turn.attachments, strict=True))
    opened: list[str] = []
    one_at_a_time = asyncio.Lock()

    async def asked(question: Callable[..., Any], attachment: str, *about: Any) -> Any:
        async with one_at_a_time:
            if not opened:
                await files.make_room(turn, 1)
            elif opened != [attachment]:
                await asyncio.to_thread(files.close)
            opened[:] = [attachment]
            return await asyncio.to_thread(question, attachment, *about)

    def attached_files() -> list[AttachedFile]:
        """Which files the user attached, and what they are."""
        found = []
        for name, file in attachments.items():
            recognised = files.recognise_file(name)
            found.append(AttachedFile(name, file.media_type, file.size, recognised["usage"], recognised["words"]))
        return found

    def attached_text(attachment: str, start: int = 0) -> Piece:
        """Read a file as text, from a byte on. For figures about usage data use the usage tools: they count all rows.

        Args:
            attachment: The file's name, as attached_files gives it.
            start: 0, or where an earlier piece said that the next one starts.
        """
        if attachment not in attachments:
            raise AgentError(f"There is no file “{attachment[:100]}”. Attached: {', '.join(attachments)}.")
        with closing(attachments[attachment].open()) as binary:
            binary.seek(max(start, 0))
            read = binary.read(_BYTES)
            after = start + len(read) if binary.read(1) else None
        return Piece(read.decode(errors="replace"), max(start, 0), after)

    async def usage_summary(attachment: str) -> dict[str, Any]:
        """What a usage file covers: columns, first and last day, totals, rows that could not be read."""
        found = await asked(files.usage_summary, attachment)
        return {**found, "total": _figures(found["total"])}

    async def usage_by(attachment: str, by: Dimension, only: Chosen | None = None, top: int = 10) -> dict[str, Any]:
        """Spend in dollars, requests and tokens of all rows of a usage file, by model, feature, user, day, month or
        status; the dearest first, days and months in order. `total` is of all rows chosen.

        Args:
            attachment: The file's name, as attached_files gives it.
            by: What the rows are grouped by.
            only: Which rows; without it, all.
            top: How many groups, up to 100; the others together are `rest`.
        """
        found = await asked(files.spend_by, attachment, by, _only(only), top)
        return {
            "groups": [_figures(group) for group in found["groups"]],
            "rest": _figures(found["rest"]) if found["rest"] else None,
            "total": _figures(found["total"]),
            "source": found["source"],
        }

    async def usage_trend(attachment: str, only: Chosen | None = None) -> dict[str, Any]:
        """Where the spend of a usage file is heading day by day, and which days stand out."""
        return _without_charts(await asked(files.spend_trend, attachment, _only(only)))

    async def usage_waste(attachment: str, only: Chosen | None = None) -> dict[str, Any]:
        """What errors and retries in a usage file cost."""
        found = await asked(files.paid_for_nothing, attachment, _only(only))
        return {**found, "by": {key: [_figures(group) for group in groups] for key, groups in found["by"].items()}}

    async def usage_latency(attachment: str, by: Dimension = "model", only: Chosen | None = None) -> dict[str, Any]:
        """How long the requests in a usage file took: p50, p90 and p99 in milliseconds, of all and of each group."""
        return _without_charts(await asked(files.latency_percentiles, attachment, by, _only(only)))

    return [attached_files, attached_text, usage_summary, usage_by, usage_trend, usage_waste, usage_latency]


def _only(chosen: Chosen | None) -> Only:
    given = {} if chosen is None else asdict(chosen)
    return cast(Only, {name: value for name, value in given.items() if value is not None})


def _figures(group: Group) -> dict[str, Any]:
    """One flat line of a group: a year of days has to fit into what a model reads."""
    tokens, amounts = group["tokens"], group["amounts"]
    return {
        "label": group["label"],
        "usd": round(amounts["usd"], 6),
        "basis": amounts["basis"],
        "paid": amounts["paid"] if any(paid["currency"] != "USD" for paid in amounts["paid"]) else [],
        "rows": group["rows"],
        "requests": group["requests"],
        "input_tokens": tokens["input"],
        "cached_tokens": tokens["cached"],
        "output_tokens": tokens["output"],
        "error_rows": group["error_rows"],
        "unpriced_rows": amounts["unpriced_rows"],
    }


def _without_charts(found: Any) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "charts"}
