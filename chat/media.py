"""Pictures and PDF files: what is taken of them, without the metadata that tells about their author; previews; text.

A process of its own reads each file, within bounds of time and memory: a small file may take hours to decode.
"""

import resource
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from chat.protocol import KIB, ProtocolError

PDF = "application/pdf"
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}  # as Pillow names them

MAX_SIZE = 20 * 1024 * KIB  # bytes: what providers of models take
MAX_PAGES = 100
MAX_PIXELS = 40_000_000  # of all frames: 160 MB of memory
MAX_SECONDS = 15  # of the processor's time: a picture of 40 megapixels takes 3
MAX_MEMORY = 1536 * 1024 * KIB  # bytes: WebP's encoder takes 750 MB for a picture of 40 megapixels
PREVIEW_SIDE = 1024  # pixels
_REFUSED = 3  # exit status of the process for a file that is not taken; its output is the error
_ORIENTATION = 0x0112  # the EXIF tag
_SHOWN = {"icc_profile", "transparency", "duration", "loop", "background", "disposal"}  # what a picture looks like


def media_type_of(head: bytes) -> str:
    """Return the media type of a picture or PDF file by its first bytes; "" for any other file."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return PDF if head.startswith(b"%PDF-") else ""


def cleaned(file: IO[bytes], media_type: str, size: int) -> bytes:
    """Return the file without its metadata. Raises ProtocolError for one that is too large or cannot be read."""
    if size > MAX_SIZE:
        raise ProtocolError("too_large", f"A picture or PDF may have at most {MAX_SIZE} bytes.", field="file")
    file.seek(0)
    done = _apart("clean", file, media_type)
    if done.returncode == _REFUSED:
        code, _, message = done.stdout.decode().partition(" ")
        raise ProtocolError(code, message, field="file")
    what = "PDF" if media_type == PDF else "picture"
    if done.returncode < 0:
        raise ProtocolError("too_large", f"This {what} takes too long to read.", field="file")
    if done.returncode:  # the libraries raise whatever a broken file leads to
        raise ProtocolError("unsupported_data", f"This {what} cannot be read.", field="file")
    return done.stdout


def preview(file: IO[bytes]) -> bytes:
    """Return a small WebP of the picture. Raises OSError for one that cannot be read."""
    return _read("preview", file)


def pdf_text(file: IO[bytes], most: int) -> str:
    """Return at most so many characters of a PDF's text; "" if it has none. Raises OSError if it cannot be read."""
    return _read("text", file, str(most)).decode()


def _read(task: str, file: IO[bytes], *given: str) -> bytes:
    done = _apart(task, file, *given)
    if done.returncode:
        raise OSError("this file cannot be read")
    return done.stdout


def _apart(task: str, file: IO[bytes], *given: str) -> "subprocess.CompletedProcess[bytes]":
    """Execute the task in a process of its own. Its status is negative if it took too long."""
    command = [sys.executable, "-m", "chat.media", str(MAX_SECONDS), task, *given]
    folder = Path(__file__).resolve().parent.parent
    try:
        return subprocess.run(  # noqa: S603 the command is this module
            command, input=file.read(), capture_output=True, timeout=2 * MAX_SECONDS, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, b"")


# ---- In the process ----


def _execute(seconds: str, task: str, *given: str) -> bytes:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    file = BytesIO(sys.stdin.buffer.read())
    if task == "preview":
        return _preview(file)
    if task == "text":
        return _pdf_text(file, int(given[0])).encode(errors="replace")
    return _cleaned_pdf(file) if given[0] == PDF else _cleaned_picture(file, given[0])


def _cleaned_picture(file: IO[bytes], media_type: str) -> bytes:
    from PIL import Image, ImageOps

    made = BytesIO()
    with Image.open(file, formats=[FORMATS[media_type]]) as picture:
        # Behind a JPEG, cameras store smaller pictures of the same scene: only the first one is taken.
        frames = 1 if media_type == "image/jpeg" else getattr(picture, "n_frames", 1)
        if picture.width * picture.height * frames > MAX_PIXELS:
            raise ProtocolError("too_large", f"A picture may have at most {MAX_PIXELS} pixels.", field="file")
        picture.load()
        is_turned = picture.getexif().get(_ORIENTATION, 1) != 1
        shown: Any = ImageOps.exif_transpose(picture) if is_turned else picture
        shown.info = {name: value for name, value in shown.info.items() if name in _SHOWN}
        given: dict[str, Any] = {}
        if media_type == "image/jpeg":
            given = {"quality": "keep" if picture.format == "JPEG" and not is_turned else 95}
        elif media_type == "image/webp":
            given = {"quality": 90, "exif": b"", "xmp": b""}
        if frames > 1:
            given["save_all"] = True
        shown.save(made, FORMATS[media_type], **given)
    return made.getvalue()


def _cleaned_pdf(file: IO[bytes]) -> bytes:
    from pypdf import PdfReader, PdfWriter

    reader = PdfReader(file)
    if reader.is_encrypted:
        raise ProtocolError("unsupported_data", "This PDF is encrypted.", field="file")
    if len(reader.pages) > MAX_PAGES:
        raise ProtocolError("too_large", f"A PDF may have at most {MAX_PAGES} pages.", field="file")
    # What nothing refers to is not cloned: the streams of the metadata are left out with their names.
    for place in (reader.root_object, *(page.indirect_reference or page for page in reader.pages)):
        told: Any = place.get_object()
        for name in ("/Metadata", "/PieceInfo"):
            told.pop(name, None)
    writer = PdfWriter(clone_from=reader)
    writer.metadata = None
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def _preview(file: IO[bytes]) -> bytes:
    from PIL import Image

    made = BytesIO()
    with Image.open(file, formats=list(FORMATS.values())) as picture:
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        small = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
        small.info = {}
        small.save(made, "WEBP", quality=80)
    return made.getvalue()


def _pdf_text(file: IO[bytes], most: int) -> str:
    from pypdf import PdfReader

    texts, left = list[str](), most
    for page in PdfReader(file).pages:
        texts.append(page.extract_text()[:left])
        left -= len(texts[-1])
        if left <= 0:
            break
    return "\n\n".join(text for text in texts if text.strip())


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(_execute(*sys.argv[1:]))
    except ProtocolError as refused:
        sys.stdout.buffer.write(f"{refused.code} {refused.message}".encode())
        sys.exit(_REFUSED)
