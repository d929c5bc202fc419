"""Pictures and PDF files: how they are stored, and what reaches a model."""

import base64
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from chat import media
from chat.models import Attachment
from tests.factories import client, upload
from tests.model_provider import File, says

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]

SECRET = "Secret Street 5"


def picture(kind: str, size: tuple[int, int] = (4, 2), **given: Any) -> bytes:
    made = BytesIO()
    image = Image.new("RGB", size, (200, 30, 30))
    image.putpixel((0, 0), (10, 10, 200))
    image.save(made, kind, **given)
    return made.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    found = Image.Exif()
    found[0x0112], found[0x010E] = orientation, SECRET
    return found


def png_info() -> PngInfo:
    info = PngInfo()
    info.add_text("Author", SECRET)
    return info


def pdf(pages: int = 1, password: str = "") -> bytes:
    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(100, 100)
    writer.add_metadata({"/Author": SECRET})
    if password:
        writer.encrypt(password)
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def pdf_of(text: str) -> bytes:
    """A page with this text."""
    stream = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode()
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >> stream\n%s\nendstream" % (len(stream), stream),
        font,
    ]
    made, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj %s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(made))
    return made + head + table + tail


def stored() -> bytes:
    with Attachment.objects.get().file.open("rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("PNG", {"pnginfo": png_info(), "exif": exif()}),
        ("JPEG", {"exif": exif(), "comment": SECRET.encode()}),
        ("WEBP", {"exif": exif(), "lossless": True}),
        ("GIF", {"comment": SECRET.encode()}),
    ],
)
def test_a_picture_is_told_by_its_content_and_loses_its_metadata(alice, kind, given):
    sent = picture(kind, **given)
    assert SECRET.encode() in sent
    answer = upload(client(alice), "notes.txt", sent)
    assert (answer.status_code, answer.json()["media_type"]) == (201, f"image/{kind.lower()}")
    assert answer.json()["recognised"]["usage"] is False
    assert SECRET.encode() not in stored()
    assert answer.json()["size"] == len(stored())
    with Image.open(BytesIO(stored())) as image:
        assert (image.format, image.size) == (kind, (4, 2))


def test_a_picture_that_was_turned_is_stored_upright(alice):
    upload(client(alice), "a.jpg", picture("JPEG", exif=exif(6)))
    with Image.open(BytesIO(stored())) as image:
        assert image.size == (2, 4)


@pytest.mark.parametrize(("orientation", "size"), [(1, (4, 2)), (6, (2, 4))])
def test_the_first_of_the_pictures_of_a_jpeg_is_taken(alice, orientation, size):
    """Many cameras put a second picture behind the first one, whose pixels do not count."""
    sent = picture("MPO", save_all=True, append_images=[Image.new("RGB", (2, 1))], exif=exif(orientation))
    assert SECRET.encode() in sent
    answer = upload(client(alice), "a.jpg", sent)
    assert (answer.status_code, answer.json()["media_type"]) == (201, "image/jpeg")
    assert SECRET.encode() not in stored()
    with Image.open(BytesIO(stored())) as image:
        assert (image.format, image.size, dict(image.getexif())) == ("JPEG", size, {})


def test_the_pixels_of_a_jpeg_are_those_of_its_first_picture(alice):
    large = Image.new("RGB", (6000, 4000))
    sent = picture("MPO", (6000, 4000), save_all=True, append_images=[large])
    assert upload(client(alice), "a.jpg", sent).status_code == 201


def test_the_frames_of_an_animation_stay(alice):
    frames = [Image.new("RGB", (3, 3), (shade, 0, 0)) for shade in (0, 120, 240)]
    made = BytesIO()
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:], comment=SECRET.encode())
    upload(client(alice), "a.gif", made.getvalue())
    with Image.open(BytesIO(stored())) as image:
        assert image.n_frames == 3
    assert SECRET.encode() not in stored()


def test_a_pdf_loses_its_metadata(alice):
    answer = upload(client(alice), "a.csv", pdf(pages=3))
    assert (answer.status_code, answer.json()["media_type"]) == (201, "application/pdf")
    reader = PdfReader(BytesIO(stored()))
    assert len(reader.pages) == 3
    assert SECRET not in str(reader.metadata)
    assert SECRET.encode() not in stored()


@pytest.mark.parametrize("holder", ["document", "page"])
@pytest.mark.parametrize("name", ["/Metadata", "/PieceInfo"])
def test_a_pdf_loses_the_metadata_of_programs(alice, holder, name):
    """XMP and what an editor keeps for itself are objects of their own, to which the document and its pages refer."""
    writer = PdfWriter(clone_from=BytesIO(pdf_of("The total is 42 francs.")))
    stream = StreamObject()
    stream.set_data(SECRET.encode())
    private = writer._add_object(DictionaryObject({NameObject("/Private"): writer._add_object(stream)}))
    kept = private.get_object()["/Private"].indirect_reference if name == "/Metadata" else private
    where = writer.root_object if holder == "document" else writer.pages[0]
    where[NameObject(name)] = kept
    made = BytesIO()
    writer.write(made)
    assert SECRET.encode() in made.getvalue()
    assert upload(client(alice), "a.pdf", made.getvalue()).status_code == 201
    assert SECRET.encode() not in stored()
    assert "42 francs" in PdfReader(BytesIO(stored())).pages[0].extract_text()


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (lambda: picture("PNG")[:40], 415, "unsupported_data"),
        (lambda: b"\xff\xd8\xff\xe0" + b"x" * 500, 415, "unsupported_data"),
        (lambda: b"%PDF-1.7 and no more", 415, "unsupported_data"),
        (lambda: pdf(password="x"), 415, "unsupported_data"),
        (lambda: pdf(pages=media.MAX_PAGES + 1), 413, "too_large"),
        (lambda: picture("PNG", (8001, 5000)), 413, "too_large"),
        (lambda: picture("PNG") + b"\0" * media.MAX_SIZE, 413, "too_large"),
    ],
    ids=["cut", "no picture", "no pdf", "encrypted", "pages", "pixels", "bytes"],
)
def test_a_file_that_cannot_be_taken_is_refused(alice, content, status, code):
    answer = upload(client(alice), "a.png", content())
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert not Attachment.objects.exists()


def test_a_picture_that_takes_hours_to_decode_is_refused_in_seconds(alice, monkeypatch):
    monkeypatch.setattr(media, "MAX_SECONDS", 1)
    content = picture("JPEG", (6000, 6000), progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]  # refines a few bits: some bytes for all pixels
    answer = upload(client(alice), "a.jpg", content[:-2] + 5_000 * scan + content[-2:])
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert "too long" in answer.json()["message"]


def test_a_preview_is_for_the_owner_of_a_picture(alice, bob):
    id = upload(client(alice), "a.png", picture("PNG", (3000, 1500), pnginfo=png_info())).json()["id"]
    answer = client(alice).get(f"/api/attachments/{id}/preview")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert "sandbox" in answer["Content-Security-Policy"]
    with Image.open(BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("WEBP", (1024, 512))
    assert client(bob).get(f"/api/attachments/{id}/preview").status_code == 404
    text = upload(client(alice), "a.csv", b"a,b\n1,2\n").json()["id"]
    assert client(alice).get(f"/api/attachments/{text}/preview").status_code == 404


# ---- For a model ----


def asked(play: Any, *files: File, **options: Any) -> tuple[Any, Any]:
    """Ask the assistant about these files. Return the turn, and the content of the newest message to the provider."""
    turn, _, provider = play(says("I see."), text="What is it?", attachments=files)
    return turn, provider.asked[-1].request["messages"][-1]["content"]


def test_a_picture_reaches_a_model_that_takes_it(play: Any) -> None:
    data = picture("PNG")
    turn, content = asked(play, File("cat.png", data, "image/png"))
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert urls == [f"data:image/png;base64,{base64.b64encode(data).decode()}"]
    assert [part["text"] for part in content if part["type"] == "text"] == ["What is it?", "[Attached: cat.png]"]
    assert turn.said == "I see."


def test_a_model_that_takes_no_pictures_says_so(play: Any, model_settings: Any) -> None:
    model_settings.NETRA_MODELS["default"]["options"] = {"images": False}
    turn, content = asked(play, File("cat.png", picture("PNG"), "image/png"))
    assert content == "What is it?"
    assert turn.said == "*“cat.png” was not looked at: the model takes no pictures.*\n\nI see."


def test_a_pdf_reaches_a_model_whole_or_as_text(play: Any, model_settings: Any) -> None:
    data = pdf_of("The total is 42 francs.")
    model_settings.NETRA_MODELS["default"]["options"] = {"pdf": True}
    _, content = asked(play, File("bill.pdf", data, "application/pdf"))
    [file] = [part["file"] for part in content if part["type"] == "file"]
    assert file["file_data"] == f"data:application/pdf;base64,{base64.b64encode(data).decode()}"
    model_settings.NETRA_MODELS["default"]["options"] = {"pdf": False}
    _, content = asked(play, File("bill.pdf", data, "application/pdf"))
    texts = " ".join(part["text"] for part in content)
    assert "The total is 42 francs." in texts
    assert "<untrusted-content" in texts
