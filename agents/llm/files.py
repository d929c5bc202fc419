"""Pictures and PDF files of a turn, for a model: those that it takes as they are, else the text or a note."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import BinaryContent, UserContent
from pydantic_ai.models import Model

from agents.llm.tool_policy import ATTACHMENTS, marked
from agents.sdk import Attachment, Turn
from chat import media

MAX_FILES, MAX_BYTES = 10, 20 * 1024 * 1024  # of a request; the newest files count
MAX_TEXT = 100_000  # characters of a PDF for a model that takes none


@dataclass(slots=True)
class Question:
    """A question to a model. `notes` are for the user, about files that the model does not see."""

    content: str | list[UserContent]
    notes: list[str] = field(default_factory=list)

    @property
    def note(self) -> str:
        """The notes as the first paragraphs of the answer; "" without any."""
        return "\n\n".join(f"*{note}*" for note in self.notes)


def seen_of(turn: Turn) -> list[Attachment]:
    """Return the turn's pictures and PDF files. What they say is untrusted content."""
    return [file for file in turn.attachments if file.media_type == media.PDF or file.media_type in media.FORMATS]


async def question_of(turn: Turn, text: str, model: Model | str | None) -> Question:
    """Return the question with the turn's pictures and PDF files, as far as this model takes them."""
    files = seen_of(turn)
    taken = _newest(files)
    made = Question([text])
    assert isinstance(made.content, list)
    made.notes += [f"“{file.name}” was left out: there are too many files." for file in files if file not in taken]
    for file in taken:
        is_pdf = file.media_type == media.PDF
        if _takes(model, "supports_document_input" if is_pdf else "supports_image_input"):
            data = await asyncio.to_thread(_read, file)
            made.content += [f"[Attached: {file.name}]", BinaryContent(data, media_type=file.media_type)]
        elif is_pdf:
            made.content.append(marked(ATTACHMENTS.untrusted, await asyncio.to_thread(_text, file)))
        else:
            made.notes.append(f"“{file.name}” was not looked at: the model takes no pictures.")
    if len(made.content) == 1:
        made.content = text
    return made


def _newest(files: Sequence[Attachment]) -> list[Attachment]:
    taken: list[Attachment] = []
    left = MAX_BYTES
    for file in reversed(files[-MAX_FILES:]):
        left -= file.size
        if left < 0:
            break
        taken.insert(0, file)
    return taken


def _takes(model: Model | str | None, ability: str) -> bool:
    """Return what the model's profile says; True where it does not say so, as the library does."""
    if not isinstance(model, Model):
        return True
    try:
        profile: Any = model.profile
    except NotImplementedError:  # a model of several has no profile of its own
        return True
    return bool(profile.get(ability, True))


def _read(file: Attachment) -> bytes:
    with closing(file.open()) as binary:
        return binary.read()


def _text(file: Attachment) -> str:
    try:
        with closing(file.open()) as binary:
            text = media.pdf_text(binary, MAX_TEXT)
    except OSError:
        text = ""
    return f"{file.name}\n\n{text or 'It has no text that can be read.'}"
