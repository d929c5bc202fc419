"""The parser of uploads: it reads a multipart form in parts and stores the file on disk under the client's name."""

import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import IO, Any
from unicodedata import category
from urllib.parse import unquote_to_bytes

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from rest_framework.parsers import BaseParser, DataAndFiles

from chat.protocol import KIB, ProtocolError

MAX_SIZE = 25 * 1024 * KIB  # bytes of a file
MAX_PARTS = 100
MAX_HEADERS, MAX_HEADER = (
    20,
    16 * KIB,
)  # of a part; bytes of one: a name may be long, and each byte of it written as %XX
READ_SIZE = 64 * KIB  # bytes
# They join or part letters of other scripts, as in Persian words, and the signs of an emoji; in ASCII they only hide.
_JOINER = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:\\.|[^"\\])*"?|[^;]*)')


class FormParser(BaseParser):
    """A parser of multipart forms. Fields named `file` are its files; others are skipped."""

    media_type = "multipart/form-data"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the form's files. Raises ProtocolError for a form that is malformed, incomplete or too large."""
        boundary = parameters(media_type or "").get("boundary", "")
        if not 0 < len(boundary) <= 200:
            raise ProtocolError("invalid_message", "The Content-Type of a multipart form must name its boundary.")
        found: list[_File] = []
        try:
            parser = PushMultipartParser(
                boundary,
                max_segment_count=MAX_PARTS,
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER,
                header_charset="latin-1",
            )
            _read(parser, stream, found)
        except BaseException as error:
            for file in found:
                file.close()
            if isinstance(error, ParserLimitReached):
                raise ProtocolError("too_large", "The multipart form has too many parts, or too long ones.") from None
            if isinstance(error, MultipartError):
                raise ProtocolError("invalid_message", "The multipart form is malformed.") from None
            raise
        return DataAndFiles(QueryDict(), MultiValueDict({"file": found}))


def _read(parser: PushMultipartParser, stream: IO[bytes], found: list["_File"]) -> None:
    """Add the files to `found`."""
    file: _File | None = None
    while piece := stream.read(READ_SIZE):
        for event in parser.parse(piece):
            if isinstance(event, MultipartSegment):
                file = _begun(event) if event.name == "file" else None
                found += [file] if file else []
            elif event and file:
                file.size = (file.size or 0) + len(event)
                if file.size > MAX_SIZE:
                    raise ProtocolError("too_large", f"A file may have at most {MAX_SIZE} bytes.", field="file")
                file.write(event)
            elif file and not file.size and file.is_unnamed:  # what a browser sends where no file was chosen
                found.remove(file)
                file.close()
    try:
        parser.close()
    except MultipartError:
        raise ProtocolError(
            "invalid_message", "The multipart form ends before its last boundary: it is not complete."
        ) from None
    for file in found:
        file.seek(0)


class _File(TemporaryUploadedFile):
    is_unnamed = False


def _begun(part: MultipartSegment) -> _File:
    if part.header("Content-Transfer-Encoding", "").strip().lower() in ("base64", "quoted-printable"):
        raise ProtocolError("unsupported_data", "Send the file without a Content-Transfer-Encoding.")
    sent = name_of(part["Content-Disposition"])
    file = _File("file", "", 0, None)
    file.name, file.is_unnamed = clean_name(sent), not sent
    return file


def name_of(disposition: str) -> str:
    """Return the file name in a part's Content-Disposition, whose bytes are given as Latin-1; "" without one."""
    given = parameters(disposition)
    charset, mark, escaped = given.get("filename*", "").partition("'")
    if mark:
        return _decoded(unquote_to_bytes(escaped.partition("'")[2]), charset)
    name = _decoded((given.get("filename") or charset).encode("latin-1"))
    if "=?" in name:  # RFC 2047 does not allow it here; clients do it
        try:
            return str(make_header(decode_header(name)))
        except (HeaderParseError, LookupError, UnicodeError, ValueError):
            return name
    return re.sub("%0[DA]", "_", name.replace('\\"', '"').replace("%22", '"'))


def parameters(header: str) -> dict[str, str]:
    """Return the parameters of a Content-Type or Content-Disposition, without quotes."""
    return {name.lower(): value.strip().strip('"') for name, value in _PARAMETER.findall(header)}


def clean_name(name: str) -> str:
    """Return the last part of the sent name, printable, at most 255 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = printable(last, "_").strip()[-255:].strip()
    return "file" if shown in ("", ".", "..") else shown


def printable(text: str, instead: str) -> str:
    """Return the text with `instead` for each letter that cannot be printed; joiners between letters stay."""
    joiners = {found.start() for found in _JOINER.finditer(text)}

    def shown(at: int, letter: str) -> str:
        if letter.isprintable() or at in joiners:
            return letter
        return " " if category(letter) == "Zs" else instead

    return "".join(shown(at, letter) for at, letter in enumerate(text))


def _decoded(raw: bytes, charset: str = "utf-8") -> str:
    for encoding in (charset, "utf-8"):
        try:
            return raw.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return raw.decode("cp1252", "replace")
