"""Files inside files: gzip, ZIP, workbooks and Parquet, unpacked within limits of size, number and depth."""

import csv
import gzip
import io
import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from typing import IO, BinaryIO, NamedTuple, cast

import duckdb
import python_calamine

from agents.sdk import AgentError
from chat.translation import t
from chat.usage.text import HEAD, container_of

MAX_UNPACKED = 256 * 1024 * 1024  # bytes of one file: an upload of 25 MiB of logs unpacks to about that
MAX_WORKBOOK = 64 * 1024 * 1024  # bytes: a workbook is held in memory, several times as large as its XML
MAX_MEMBERS = 30
_CHUNK = 1 << 20


class Member(NamedTuple):
    """A file to be read, with the name that a person knows it by."""

    name: str
    binary: BinaryIO


def members(binary: BinaryIO, name: str, folder: str, depth: int = 0) -> Iterator[Member]:
    """The files in a file: itself, or what it contains. AgentError `too_large` or `no_usage_data` where that fails.

    `folder` takes temporary files; the caller removes it.
    """
    head = binary.read(HEAD)
    kind, _, inner = container_of(head, name)
    if not kind:
        yield Member(name, cast(BinaryIO, Joined(head, binary)))
        return
    if depth > 1:
        raise AgentError(t("{0} is packed more than twice.", name), code="no_usage_data")
    path = _copied(Joined(head, binary), folder, MAX_UNPACKED, name)
    try:
        if kind == "gzip":
            with gzip.open(path) as unpacked:
                opened = _copied(unpacked, folder, MAX_UNPACKED, name)
            with open(opened, "rb") as plain:
                yield from members(plain, inner, folder, depth + 1)
        elif kind == "zip":
            yield from _zipped(path, name, folder, depth)
        elif kind == "workbook":
            yield from _sheets(path, name, folder)
        else:
            with open(_records(path, folder), "rb") as lines:
                yield Member(name, lines)
    except _BROKEN as error:
        raise AgentError(t("{0} cannot be unpacked: it is broken or encrypted.", name), code="no_usage_data") from error


_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, NotImplementedError,
    ValueError, LookupError,
)  # fmt: skip


def _zipped(path: str, name: str, folder: str, depth: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        found = [one for one in archive.infolist() if not one.is_dir() and not _is_noise(one.filename)]
        if len(found) > MAX_MEMBERS:
            text = t("{0} has {1} files in it: at most {2}.", name, len(found), MAX_MEMBERS)
            raise AgentError(text, code="too_large")
        left = MAX_UNPACKED
        for one in found:
            with archive.open(one) as packed:
                opened = _copied(packed, folder, left, name)
            left -= os.path.getsize(opened)
            with open(opened, "rb") as plain:
                yield from members(plain, os.path.basename(one.filename) or name, folder, depth + 1)
            os.unlink(opened)


def _is_noise(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or last.startswith(".") or last.lower().startswith(("manifest", "readme"))


def _sheets(path: str, name: str, folder: str) -> Iterator[Member]:
    """Each sheet as CSV. Of a formula only the value that was saved with it is seen."""
    with zipfile.ZipFile(path) as archive:
        size = 0
        for one in archive.infolist():
            with archive.open(one) as packed:
                while piece := packed.read(_CHUNK):
                    size += len(piece)
                    if size > MAX_WORKBOOK:
                        raise AgentError(t("{0} is too large to be read: save it as CSV.", name), code="too_large")
    try:
        book = python_calamine.CalamineWorkbook.from_path(path)
        names = book.sheet_names[:MAX_MEMBERS]
        for sheet in names:
            shown = name if len(names) == 1 else f"{name} › {sheet}"
            opened = os.path.join(folder, f"sheet{len(os.listdir(folder))}")
            with open(opened, "w", encoding="utf-8", newline="") as text:
                writer = csv.writer(text)
                for row in book.get_sheet_by_name(sheet).iter_rows():
                    writer.writerow([_cell(cell) for cell in row])
            with open(opened, "rb") as plain:
                yield Member(shown, plain)
            os.unlink(opened)
    except AgentError:
        raise
    except BaseException as error:
        # A panic of the reader is no Exception.
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            raise ValueError(str(error)) from None
        raise


def _cell(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return value.isoformat(" ") if value.time().isoformat() != "00:00:00" else value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return str(value)


def _records(path: str, folder: str) -> str:
    """The rows of a Parquet file, one JSON record a line, by a database that may do nothing else."""
    lines = os.path.join(folder, f"parquet{len(os.listdir(folder))}")
    with closing(
        duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "512MB", "temp_directory": ""})
    ) as db:
        allowed = ", ".join("'" + one.replace("'", "''") + "'" for one in (path, lines))
        db.execute(f"SET allowed_paths = [{allowed}]")
        db.execute("SET enable_external_access = false")
        try:
            db.execute(f"COPY (FROM read_parquet({_quoted(path)})) TO {_quoted(lines)} (FORMAT json)")
        except duckdb.Error as error:
            raise ValueError(str(error)) from error
    if os.path.getsize(lines) > MAX_UNPACKED:
        raise AgentError(t("The Parquet file is too large to be read."), code="too_large")
    return lines


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def _copied(binary: "IO[bytes] | gzip.GzipFile | Joined", folder: str, most: int, name: str) -> str:
    """A copy in the folder under a name of ours: names in an archive are never used as paths."""
    handle, path = tempfile.mkstemp(dir=folder)
    size = 0
    with open(handle, "wb") as copy:
        while piece := binary.read(_CHUNK):
            size += len(piece)
            if size > most:
                text = t("{0} unpacks to more than {1} MiB.", name, MAX_UNPACKED >> 20)
                raise AgentError(text, code="too_large")
            copy.write(piece)
    return path


class Joined(io.RawIOBase):
    """The beginning of a stream that was read already, then the rest of it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] if self._head else memoryview(self._rest.read(len(buffer)))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
