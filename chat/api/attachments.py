"""REST: files attached to messages, for their owner only."""

import asyncio
import codecs
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpResponse
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from chat import media
from chat.api import turns
from chat.api.base import View, owner
from chat.api.schema import described
from chat.api.serializers import AttachmentSerializer, UploadSerializer
from chat.api.throttling import UploadThrottle, UserThrottle
from chat.api.uploads import FormParser
from chat.models import Attachment
from chat.protocol import ProtocolError
from chat.runs import attachment_fields
from chat.usage import recognise
from chat.usage.text import HEAD, container_of, refusal_of

TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".gz": "application/gzip",
    ".zip": "application/zip",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/markdown",
}
NO_TEXT = "Only text (CSV, JSONL, …), workbooks, Parquet, ZIP, gzip, pictures and PDF files work here."


class Attachments(View):
    parser_classes: tuple[type[BaseParser], ...] = (FormParser,)
    throttle_classes = (UserThrottle, UploadThrottle)

    @described("upload", {201: AttachmentSerializer}, UploadSerializer)
    def post(self, request: Request) -> Response:
        """Store a file (multipart, field `file`, at most 25 MiB). The answer says what was recognised in it.

        Pictures (PNG, JPEG, WebP, GIF) and PDF files are told by their content and stored without their metadata: at
        most 20 MiB, 40 megapixels, 100 pages.
        """
        attachment = store(owner(request).pk, uploaded(request))
        return Response(attachment_fields(attachment), status=201)


class OneAttachment(View):
    @described("attachment", {200: AttachmentSerializer})
    def get(self, request: Request, attachment_id: UUID) -> Response:
        return Response(attachment_fields(attachment_of(request, attachment_id)))


class AttachmentContent(View):
    @described("attachment_content", {200: bytes})
    def get(self, request: Request, attachment_id: UUID) -> Any:
        """Return the file's bytes as a download, which no browser shows as part of this site."""
        attachment = attachment_of(request, attachment_id)
        try:
            file = attachment.file.open("rb")
        except OSError:
            raise ProtocolError("not_found", "The file is gone.") from None
        turns.end()  # a client may read it slowly
        answer = Download(file, as_attachment=True, filename=attachment.name, content_type="application/octet-stream")
        answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
        answer["Cache-Control"] = "no-store"
        return answer


class AttachmentPreview(View):
    @described("attachment_preview", {200: bytes})
    def get(self, request: Request, attachment_id: UUID) -> Any:
        """Return a picture as a small WebP. Any other file has none."""
        attachment = attachment_of(request, attachment_id)
        if attachment.media_type not in media.FORMATS:
            raise ProtocolError("not_found", "This file has no preview.")
        try:
            with attachment.file.open("rb") as file:
                made = media.preview(file)
        except OSError:
            raise ProtocolError("not_found", "The file is gone.") from None
        answer = HttpResponse(made, content_type="image/webp")
        answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
        answer["Cache-Control"] = "no-store"
        return answer


class Download(FileResponse):
    """Django's response, without reading the whole file into memory before the first byte, as it does under ASGI."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self.file_to_stream is not None
        while piece := await asyncio.to_thread(self.file_to_stream.read, self.block_size):
            yield piece


def store(user_id: int, file: "UploadedFile[bytes]") -> Attachment:
    """Store a file of the user. Raises ProtocolError unsupported_data or too_large for one that Netra does not take."""
    head = file.read(HEAD)
    name = file.name or ""
    stored: Any = file
    if media_type := media.media_type_of(head):
        stored = ContentFile(media.cleaned(file, media_type, file.size or 0), name)
    elif not container_of(head, name)[0] and (why := refusal_of(head) or ("" if is_text(head) else NO_TEXT)):
        raise ProtocolError("unsupported_data", why, field="file")
    return Attachment.objects.create(
        user_id=user_id,
        name=name,
        media_type=media_type or TYPES.get(PurePosixPath(name).suffix.lower(), "text/plain"),
        size=stored.size or 0,
        recognised=recognise(head, name).as_json(),
        file=stored,
    )


def attachment_of(request: Request, attachment_id: UUID) -> Attachment:
    attachment = Attachment.objects.for_user(owner(request)).filter(pk=attachment_id).first()
    if attachment is None:
        raise ProtocolError("not_found", "There is no such attachment.")
    return attachment


def uploaded(request: Request) -> "UploadedFile[bytes]":
    files = request.FILES.getlist("file")
    if len(files) != 1:
        raise ProtocolError("invalid_message", "Send one file in the field `file`.", field="file")
    file: UploadedFile[bytes] = files[0]
    return file


def is_text(head: bytes) -> bool:
    """Return whether this may be text: UTF-8, UTF-16 with a byte order mark, or an 8-bit encoding; never with a NUL."""
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" not in head
