"""The text in the bytes of a file, and what is none. PURE: standard library."""

import codecs
import re
import struct
import zlib
from typing import Literal

from chat.translation import t

HEAD = 256 * 1024
Container = Literal["", "gzip", "zip", "workbook", "parquet"]


def text_of(head: bytes, encoding: str = "") -> str:
    """The text that a file begins with."""
    head = head[:HEAD]
    return codecs.getincrementaldecoder(encoding or encoding_of(head))("replace").decode(head).removeprefix("\ufeff")


def container_of(head: bytes, name: str) -> tuple[Container, bytes, str]:
    """The container of a file, with the beginning and the name of its first part as far as the head has them."""
    if head.startswith(b"PAR1"):
        return "parquet", b"", name
    if head.startswith(b"\x1f\x8b"):
        inner = inflated(head, 31)
        return ("gzip", inner, re.sub(r"\.gz$", "", name, flags=re.I)) if inner else ("", b"", name)
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return "", b"", name
    method, size, extra = int.from_bytes(head[8:10], "little"), *struct.unpack("<HH", head[26:30])
    first = head[30 : 30 + size].decode("utf-8", "replace")
    if re.match(r"\[Content_Types\]|_rels/|xl/|docProps/|mimetype$", first):
        return "workbook", b"", name
    body = head[30 + size + extra :]
    inner = inflated(body, -15) if method == 8 else body if method == 0 else b""
    return "zip", b"" if first.endswith("/") or inner.startswith(b"PK") else inner, first


def inflated(data: bytes, window: int) -> bytes:
    """The first 256 KiB of compressed data; what there is of it where it is broken, empty where it is none."""
    try:
        return zlib.decompressobj(window).decompress(data, HEAD)
    except zlib.error:
        return b""


def refusal_of(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return t("This is said to be compressed with gzip, but cannot be unpacked.")
    if head.startswith(b"%PDF"):
        return t("This is a PDF file, so it is no usage data. Send the same data as CSV, JSONL or a workbook.")
    if head.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")) or head[:4] + head[8:12] == b"RIFFWEBP":
        return t("This is a picture, so it is no usage data.")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return t("This is an old or encrypted Office file. Save it as .xlsx or CSV and send that.")
    return ""


def encoding_of(head: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    first = head[:4096]
    even, odd = first[::2].count(0), first[1::2].count(0)
    if max(even, odd) * 5 > len(first) and min(even, odd) * 20 < len(first):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def is_binary(text: str) -> bool:
    sample = text[:20_000]
    odd = len(re.findall("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]", sample))
    return odd * 20 > len(sample)


def is_prose(text: str) -> bool:
    """Tell if most of it is words, in lines of sentences."""
    sample = text[:20_000]
    letters = sum(len(word) for word in re.findall(r"[^\W\d_]{2,}", sample))
    lines = [line for line in sample.splitlines() if line.strip()]
    sentences = [line for line in lines if len(line.split()) >= 5]
    return letters * 2 > len(sample) and len(sentences) * 3 >= len(lines) and bool(re.search(r"[.!?]", sample))
