"""Files inside a message of another client."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes
from uuid import UUID

from django.core.files.uploadedfile import SimpleUploadedFile

from chat.api.attachments import TYPES, store
from chat.api.uploads import clean_name
from chat.models import Attachment
from chat.protocol import ProtocolError

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL | re.IGNORECASE)
_OWN = re.compile(r"(?:https?://[^/?#]+)?(?:/[^?#]*)?/api/attachments/([0-9a-fA-F-]{36})/content")
_SUFFIXES = {media_type: suffix for suffix, media_type in reversed(TYPES.items())}


def store_bytes(user_id: int, content: bytes, name: str | None, media_type: str = "") -> Attachment:
    """Store a file. One without a name is named after its media type. Raises ProtocolError unsupported_data."""
    default = f"file{_SUFFIXES.get(media_type.strip().lower(), '.txt')}"
    return store(user_id, SimpleUploadedFile(clean_name(name or default), content))


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
