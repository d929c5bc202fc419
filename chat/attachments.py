"""Files that come with messages: CSV, JSONL and text, stored as they came, read by nobody but their owner."""

import codecs
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from chat import limits
from chat.models import Attachment
from chat.protocol import ProtocolError
from chat.rest import View, described, owner
from chat.runs import attached
from chat.shapes import AttachmentSerializer, UploadSerializer
from chat.usage import recognise
from chat.usage.text import HEAD

MAX_SIZE = 25 * 1024 * 1024  # bytes
TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".md": "text/markdown",
}


class Attachments(View):
    parser_classes: tuple[type[BaseParser], ...] = (MultiPartParser,)

    @described("upload", {201: AttachmentSerializer}, UploadSerializer)
    def post(self, request: Request) -> Response:
        """Store a file (multipart, field `file`, at most 25 MiB); what was recognised in it is in the answer."""
        limits.UPLOADS.spend_now(owner(request).pk)
        file = uploaded(request)
        head = file.read(HEAD)
        if not is_text(head):
            raise ProtocolError("unsupported_data", "A file must be text: CSV, JSONL or plain text.", field="file")
        name = clean_name(file.name or "")
        attachment = Attachment.objects.create(
            user=owner(request),
            name=name,
            media_type=TYPES.get(PurePosixPath(name).suffix.lower(), "text/plain"),
            size=file.size or 0,
            recognised=recognise(head, name).as_json(),
            file=file,
        )
        return Response(attached(attachment), status=201)


class OneAttachment(View):
    @described("attachment", {200: AttachmentSerializer})
    def get(self, request: Request, attachment_id: UUID) -> Response:
        return Response(attached(attachment_of(request, attachment_id)))


class AttachmentContent(View):
    @described("attachment_content", {200: bytes})
    def get(self, request: Request, attachment_id: UUID) -> Any:
        """The file's bytes, to be saved: a browser never shows them as part of this site."""
        attachment = attachment_of(request, attachment_id)
        try:
            file = attachment.file.open("rb")
        except OSError:
            raise ProtocolError("not_found", "The file is gone.") from None
        answer = FileResponse(
            file, as_attachment=True, filename=attachment.name, content_type="application/octet-stream"
        )
        answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
        answer["Cache-Control"] = "no-store"
        return answer


def attachment_of(request: Request, attachment_id: UUID) -> Attachment:
    attachment = Attachment.objects.for_user(owner(request)).filter(pk=attachment_id).first()
    if attachment is None:
        raise ProtocolError("not_found", "There is no such attachment.")
    return attachment


def uploaded(request: Request) -> "UploadedFile[bytes]":
    try:
        files = request.FILES.getlist("file")
    except ParseError:
        raise ProtocolError("invalid_message", "The multipart body is malformed.") from None
    if len(files) != 1:
        raise ProtocolError("invalid_message", "One file is needed, in the field `file`.", field="file")
    file: UploadedFile[bytes] = files[0]
    if (file.size or 0) > MAX_SIZE:
        raise ProtocolError("too_large", f"A file may have at most {MAX_SIZE} bytes.", field="file")
    return file


def is_text(head: bytes) -> bool:
    """Whether this can be text: UTF-8, UTF-16 with its mark, or an 8-bit encoding; never with a NUL in it."""
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" not in head


def clean_name(name: str) -> str:
    """The last part of the name that was sent, printable, at most 255 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter if letter.isprintable() else "_" for letter in last).strip()[-255:] or "file"
