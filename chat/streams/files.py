"""Files inside a message of another client."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from uuid import UUID

from django.core.files.uploadedfile import SimpleUploadedFile

from chat.api.attachments import TYPES, store
from chat.api.uploads import clean_name
from chat.models import Attachment, Message
from chat.protocol import MAX_ATTACHMENTS, ProtocolError

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL | re.IGNORECASE)
_OWN = re.compile(r"(?:https?://[^/?#]+)?(?:/[^?#]*)?/api/attachments/([0-9a-fA-F-]{36})/content")
_SUFFIXES = {media_type: suffix for suffix, media_type in reversed(TYPES.items())}


class SentFile(NamedTuple):
    """A file as the client sent it: its bytes, or the id of an attachment."""

    content: bytes | None
    name: str | None = None
    media_type: str = ""
    attachment: UUID | None = None


def store_all(user_id: int, files: Sequence[SentFile], field: str) -> tuple[UUID, ...]:
    """Return the ids of the files' attachments; those with bytes are stored. `field` is that of the files.

    A file without a name is named after its media type. Raises ProtocolError invalid_message, unsupported_data.
    """
    if len(files) > MAX_ATTACHMENTS:
        raise ProtocolError("invalid_message", f"A message has at most {MAX_ATTACHMENTS} files.", field=field)
    return tuple(_stored(user_id, file) if file.attachment is None else file.attachment for file in files)


def _stored(user_id: int, file: SentFile) -> UUID:
    default = f"file{_SUFFIXES.get(file.media_type.strip().lower(), '.txt')}"
    return store(user_id, SimpleUploadedFile(clean_name(file.name or default), file.content or b"")).pk


def has_files(message: Message, files: Sequence[SentFile]) -> bool:
    """Return whether these are the files of a message, in any order."""
    left = list(message.attachments.all())
    if len(left) != len(files):
        return False
    for file in files:
        same = next((stored for stored in left if _is_same(stored, file)), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _is_same(stored: Attachment, sent: SentFile) -> bool:
    if sent.content is None:
        return sent.attachment == stored.pk
    if len(sent.content) != stored.size:
        return False
    try:
        with stored.file.open("rb") as file:
            return bool(file.read() == sent.content)
    except OSError:
        return False


def data_url(url: str, field: str) -> tuple[bytes, str] | None:
    """Return the bytes and the media type in a data URL, None for another URL. Raises ProtocolError invalid_message."""
    found = _DATA_URL.fullmatch(url)
    if found is None:
        return None
    media_type, parameters, data = found.groups()
    if ";base64" not in parameters.lower():
        return unquote_to_bytes(data), media_type
    return base64_bytes(data, field), media_type


def base64_bytes(text: str, field: str) -> bytes:
    """Return the bytes of a Base64 text. Raises ProtocolError invalid_message."""
    try:
        return base64.b64decode(unquote_to_bytes(text), validate=True)
    except binascii.Error:
        raise ProtocolError("invalid_message", f"{field} must be Base64.", field=field) from None


def attachment_in(url: str) -> UUID | None:
    """Return the id of the attachment whose content the URL names, None for another URL."""
    found = _OWN.fullmatch(url)
    try:
        return UUID(found[1]) if found else None
    except ValueError:
        return None
