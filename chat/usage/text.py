"""From the bytes of a file to its text, and what is none. PURE: standard library."""

import codecs
import re

HEAD = 256 * 1024


def text_of(head: bytes) -> str:
    """The text that a file begins with."""
    head = head[:HEAD]
    return codecs.getincrementaldecoder(encoding_of(head))("replace").decode(head).removeprefix("\ufeff")


def refusal_of(head: bytes, name: str) -> str:
    ending = name.lower().rpartition(".")[2]
    if head.startswith(b"PK\x03\x04"):
        what = "an Excel workbook" if ending in ("xlsx", "xlsm") else "a ZIP archive"
        return f"This is {what}. Save what is in it as CSV or JSONL and send that."
    for magic, what in ((b"\x1f\x8b", "compressed with gzip"), (b"PAR1", "a Parquet file"), (b"%PDF", "a PDF file")):
        if head.startswith(magic):
            return f"This is {what}. Send the same data as plain CSV or JSONL."
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
    """Whether most of it is words, in lines of sentences."""
    sample = text[:20_000]
    letters = sum(len(word) for word in re.findall(r"[^\W\d_]{2,}", sample))
    lines = [line for line in sample.splitlines() if line.strip()]
    sentences = [line for line in lines if len(line.split()) >= 5]
    return letters * 2 > len(sample) and len(sentences) * 3 >= len(lines) and bool(re.search(r"[.!?]", sample))
