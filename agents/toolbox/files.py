"""The files of a thread for a model: what they are, their text, and questions about the usage data in them.

They reach the files that came with the turn, and nothing else. What they give is cut to what a model can read.
"""

import asyncio
import codecs
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from agents.sdk import AgentError, Attachment, Turn
from agents.usage.asked import Query
from agents.usage.files import UsageFiles
from chat import media
from chat.usage.text import HEAD, encoding_of

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


def _encoding(head: bytes) -> str:
    """Return a text's encoding by its beginning, with the byte order: a part that starts later has no mark."""
    encoding = encoding_of(head)
    if encoding in ("utf-16", "utf-32"):
        return f"{encoding}-{'be' if head.startswith(codecs.BOM_UTF16_BE) else 'le'}"
    return encoding.removesuffix("-sig")


def file_tools(turn: Turn, files: UsageFiles) -> list[Callable[..., Any]]:
    """Tools for the turn's attachments, which `files` has too. One of them is open at a time: it takes one place."""
    attachments: dict[str, Attachment] = dict(zip(files.names, turn.attachments, strict=True))
    opened: list[str] = []
    one_at_a_time = asyncio.Lock()

    async def asked(attachment: str, question: Callable[..., dict[str, Any]], *about: Any) -> dict[str, Any]:
        async with one_at_a_time:
            if not opened:
                await files.reserve(turn, 1)
            elif opened != [attachment]:
                await asyncio.to_thread(files.close)
            opened[:] = [attachment]
            return await asyncio.to_thread(question, *about)

    def attached_files() -> list[AttachedFile]:
        """List the files that the user attached, and what they are."""
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
        start = max(start, 0)
        file = attachments[attachment]
        if file.media_type in media.FORMATS:
            raise AgentError(f"“{attachment[:100]}” is a picture, which has no text.")
        if file.media_type == media.PDF:
            with closing(file.open()) as binary:
                return Piece(media.pdf_text(binary, _BYTES), 0, None)
        with closing(attachments[attachment].open()) as binary:
            decoder = codecs.getincrementaldecoder(_encoding(binary.read(HEAD)))("replace")
            binary.seek(start)
            read = binary.read(_BYTES)
            more = bool(binary.read(1))
        text = decoder.decode(read, final=not more)
        # A character that the piece cuts begins the next one.
        after = start + len(read) - len(decoder.getstate()[0])
        return Piece(text.removeprefix("\ufeff") if start == 0 else text, start, after if more else None)

    async def usage_summary(attachment: str) -> dict[str, Any]:
        """Summarize what a usage file covers: days, names of models, users and so on, rows that could not be read.

        Args:
            attachment: The file's name, as attached_files gives it.
        """
        return await asked(attachment, files.usage_summary, attachment)

    async def usage_query(attachment: str, query: Query) -> dict[str, Any]:
        """Work out a figure over all rows of a usage file: spend, tokens, errors, latency, a change, a forecast.

        Args:
            attachment: The file's name, as attached_files gives it.
            query: The figure, what it is grouped by, and the rows that are chosen.
        """
        found = await asked(attachment, files.query_files, [attachment], asdict(query))
        return {name: value for name, value in found.items() if name != "charts"}

    return [attached_files, attached_text, usage_summary, usage_query]
