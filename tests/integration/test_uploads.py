"""Multipart forms as real clients send them, and as broken ones do."""

import pytest
from rest_framework.test import APIClient

from chat.accounts import sessions
from chat.models import Attachment

CONTENT = b"day,cost\n2026-09-01,4.20\n"
TYPE = "multipart/form-data; boundary=XX"


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def caller(alice):
    found = APIClient()
    found.credentials(HTTP_AUTHORIZATION=f"Bearer {sessions.sign_in(alice, '').access}")
    return found


def part(disposition, content=CONTENT, *more):
    head = b"\r\n".join((b"Content-Disposition: form-data; " + disposition, *more))
    return b"--XX\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def send(caller, body, content_type=TYPE):
    return caller.generic("POST", "/api/attachments", body, content_type=content_type)


NAMES = {
    "browser": (b'filename="usage.csv"', "usage.csv"),
    "utf-8 bytes": ('filename="Größe 費用 🚀.csv"'.encode(), "Größe 費用 🚀.csv"),
    "latin-1 bytes": ('filename="Größe.csv"'.encode("latin-1"), "Größe.csv"),
    "windows-1252 bytes": (b'filename="5\x80 \x96 a.csv"', "5€ – a.csv"),
    "no charset at all": (b'filename="a\x81b.csv"', "a\ufffdb.csv"),
    "extended": (b"filename*=UTF-8''Gr%C3%B6%C3%9Fe%20a.csv", "Größe a.csv"),
    "extended, requests": (b"filename*=utf-8''%E8%B2%BB.csv", "費.csv"),
    "extended, utf8": (b"filename*=utf8''%E8%B2%BB.csv", "費.csv"),
    "extended, latin-1": (b"filename*=ISO-8859-1'en'Gr%F6.csv", "Grö.csv"),
    "extended, unknown charset": (b"filename*=klingon''Gr%C3%B6.csv", "Grö.csv"),
    "extended, wrong charset": (b"filename*=UTF-8''Gr%F6.csv", "Grö.csv"),
    "extended without a charset": ('filename*="測試.csv"'.encode(), "測試.csv"),
    "extended after a plain one": (b"filename=\"?.csv\"; filename*=UTF-8''%E8%B2%BB.csv", "費.csv"),
    "extended before a plain one": (b"filename*=UTF-8''%E8%B2%BB.csv; filename=\"?.csv\"", "費.csv"),
    "encoded word": (b'filename="=?utf-8?B?6LK755SoLmNzdg==?="', "費用.csv"),
    "encoded word, quoted-printable": (b'filename="=?iso-8859-1?Q?Gr=F6=DFe.csv?="', "Größe.csv"),
    "encoded word, broken": (b'filename="=?x-no?B?!!?=.csv"', "=?x-no?B?!!?=.csv"),
    "both, .net": (b"filename=\"=?utf-8?B?6LK755SoLmNzdg==?=\"; filename*=utf-8''%E8%B2%BB%E7%94%A8.csv", "費用.csv"),
    "escaped quotes": (rb'filename="the \"real\" one.csv"', 'the "real" one.csv'),
    "percent quotes": (b'filename="the %22real%22 one.csv"', 'the "real" one.csv'),
    "other percent signs": (b'filename="100%25 %41.csv"', "100%25 %41.csv"),
    "semicolon": (b'filename="a; filename=b.csv"', "a; filename=b.csv"),
    "no quotes": (b"filename=usage.csv", "usage.csv"),
    "no quotes, spaces": (b"filename=my own usage.csv", "my own usage.csv"),
    "open quote": (b'filename="usage.csv', "usage.csv"),
    "spaces around": (b'filename = "usage.csv" ', "usage.csv"),
    "upper case": (b'FILENAME="usage.csv"', "usage.csv"),
    "windows path": (rb'filename="C:\Users\alice\usage.csv"', "usage.csv"),
    "escaped windows path": (rb'filename="C:\\Users\\alice\\usage.csv"', "usage.csv"),
    "network path": (rb'filename="\\server\share\usage.csv"', "usage.csv"),
    "unix path": (b'filename="/home/alice/usage.csv"', "usage.csv"),
    "folder upload": (b'filename="2026/09/usage.csv"', "usage.csv"),
    "traversal": (b'filename="../../etc/passwd"', "passwd"),
    "two dots": (b'filename=".."', "file"),
    "a folder": (b'filename="usage/"', "file"),
    "only spaces": (b'filename="   "', "file"),
    "empty": (b'filename=""', "file"),
    "none": (b"", "file"),
    "very long": (b'filename="' + b"n" * 3000 + b'.csv"', "n" * 251 + ".csv"),
    "very long, extended": (b"filename*=UTF-8''" + b"%C3%B6" * 1000 + b".csv", "ö" * 251 + ".csv"),
    "control characters": (b'filename="a\x00b\x1b[31m\x7f.csv"', "a_b_[31m_.csv"),
    "line breaks": (b'filename="a%0D%0ASet-Cookie: x.csv"', "a__Set-Cookie: x.csv"),
    "right to left": ('filename="report\u202evsc.exe"'.encode(), "report_vsc.exe"),
    "narrow space of a screenshot": ('filename="Shot 12.53\u202fPM.csv"'.encode(), "Shot 12.53 PM.csv"),
    "entities": (b'filename="R&amp;D &lt;x&gt;.csv"', "R&amp;D &lt;x&gt;.csv"),
    "hidden": (b'filename=".env"', ".env"),
    "combining marks": ('filename="Ku\u0308ndigung.csv"'.encode(), "Ku\u0308ndigung.csv"),
}


@pytest.mark.parametrize(("sent", "stored"), NAMES.values(), ids=NAMES)
def test_upload_with_any_file_name_is_stored_under_a_sensible_one(caller, sent, stored):
    answer = send(caller, part(b'name="file"; ' + sent) + b"--XX--\r\n")
    assert (answer.status_code, answer.json().get("name")) == (201, stored), answer.content
    content = caller.get(f"/api/attachments/{answer.json()['id']}/content")
    assert b"".join(content.streaming_content) == CONTENT
    assert "\r" not in content["Content-Disposition"]


NAMED = b'name="file"; filename="a.csv"'
FILE = part(NAMED, CONTENT, b"Content-Type: text/csv")
SHAPES = {
    "browser": (FILE + b"--XX--\r\n", TYPE),
    "no line break at the end": (FILE + b"--XX--", TYPE),
    "preamble": (b"This is a message in MIME format.\r\n\r\n" + FILE + b"--XX--\r\n", TYPE),
    "empty line before": (b"\r\n" + FILE + b"--XX--\r\n", TYPE),
    "epilogue": (FILE + b"--XX--\r\nanything at all\r\n", TYPE),
    "fields before the file": (part(b'name="note"', b"x" * 200_000) + part(b'name="b"') + FILE + b"--XX--", TYPE),
    "fields after the file": (FILE + part(b'name="note"', b"x") + b"--XX--", TYPE),
    "file of another field": (part(b'name="other"; filename="b.csv"', b"x") + FILE + b"--XX--", TYPE),
    "lower case": (FILE.replace(b"Content-Disposition", b"content-disposition") + b"--XX--", TYPE),
    "upper case": (FILE.replace(b"Content-Disposition", b"CONTENT-DISPOSITION") + b"--XX--", TYPE),
    "folded": (FILE.replace(b"; filename", b";\r\n filename") + b"--XX--", TYPE),
    "file name first": (part(b'filename="a.csv"; name="file"') + b"--XX--", TYPE),
    "many headers": (part(NAMED, CONTENT, b"Content-Length: 25", b"X-A: 1", b"MIME-Version: 1.0") + b"--XX--", TYPE),
    "binary": (part(b'name="file"; filename="a.csv"', CONTENT, b"Content-Transfer-Encoding: binary") + b"--XX--", TYPE),
    "type in capitals": (FILE + b"--XX--", "Multipart/Form-Data; Boundary=XX"),
    "quoted boundary": (FILE + b"--XX--", 'multipart/form-data; boundary="XX"'),
    "charset before the boundary": (FILE + b"--XX--", "multipart/form-data; charset=utf-8; boundary=XX"),
    "no space": (FILE + b"--XX--", "multipart/form-data;boundary=XX"),
    "boundary of a browser": (
        (FILE + b"--XX--").replace(b"XX", b"----WebKitFormBoundary7MA4YWxkTrZu0gW"),
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    ),
    "boundary that ends like the last one": (
        (FILE + b"--XX--").replace(b"XX", b"XX--"),
        "multipart/form-data; boundary=XX--",
    ),
    "boundary with signs": (
        (FILE + b"--XX--").replace(b"XX", b"=_a:b/(c)?'"),
        'multipart/form-data; boundary="=_a:b/(c)?\'"',
    ),
}


@pytest.mark.parametrize(("body", "content_type"), SHAPES.values(), ids=SHAPES)
def test_upload_in_any_shape_of_a_form_is_taken(caller, body, content_type):
    answer = send(caller, body, content_type)
    assert (answer.status_code, answer.json().get("name")) == (201, "a.csv"), answer.content
    assert answer.json()["size"] == len(CONTENT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"--XX",
        b"a\r\n--X",
        b"a\r\n--XY\r\n",
        b"\r\n\r\n--\r\n",
        b"x" * 65_000 + b"\r\n--X" + b"y" * 70_000,
    ],
)
def test_upload_of_anything_but_the_boundary_is_stored_as_it_is(caller, content):
    answer = send(caller, part(b'name="file"; filename="a.txt"', content) + b"--XX--")
    stored = caller.get(f"/api/attachments/{answer.json()['id']}/content")
    assert b"".join(stored.streaming_content) == content


BROKEN = {
    "no boundary": (FILE, "multipart/form-data", 422, "boundary"),
    "empty boundary": (FILE, "multipart/form-data; boundary=", 422, "boundary"),
    "endless boundary": (FILE, "multipart/form-data; boundary=" + "x" * 300, 422, "boundary"),
    "another boundary": (FILE + b"--XX--", "multipart/form-data; boundary=YY", 422, "not complete"),
    "cut off in the file": (FILE[:-10], TYPE, 422, "not complete"),
    "no last boundary": (FILE, TYPE, 422, "not complete"),
    "last boundary without its end": (FILE + b"--XX", TYPE, 422, "not complete"),
    "cut off in the headers": (b"--XX\r\nContent-Disposition: form-", TYPE, 422, "not complete"),
    "no form": (b"day,cost\n", TYPE, 422, "not complete"),
    "bare line feeds": ((FILE + b"--XX--").replace(b"\r\n", b"\n"), TYPE, 422, "malformed"),
    "no disposition": (b"--XX\r\nContent-Type: text/csv\r\n\r\na\r\n--XX--", TYPE, 422, "malformed"),
    "wrong length": (part(NAMED, b"a", b"Content-Length: 9") + b"--XX--", TYPE, 422, "malformed"),
    "base64": (
        part(NAMED, b"YQ==", b"Content-Transfer-Encoding: base64") + b"--XX--",
        TYPE,
        415,
        "Encoding",
    ),
    "two files": (FILE + FILE + b"--XX--", TYPE, 422, "Send one file"),
    "no file": (part(b'name="note"', b"x") + b"--XX--", TYPE, 422, "Send one file"),
    "no file chosen": (part(b'name="file"; filename=""', b"") + b"--XX--", TYPE, 422, "Send one file"),
    "nothing": (b"--XX--\r\n", TYPE, 422, "Send one file"),
    "no body": (b"", TYPE, 422, "Send one file"),
    "many parts": (part(b'name="a"', b"") * 20_000 + b"--XX--", TYPE, 413, "too many"),
    "many headers": (part(b'name="a"', b"", *[b"A: b"] * 100) + b"--XX--", TYPE, 413, "too many"),
    "endless header": (b"--XX\r\nContent-Disposition: " + b"x" * 100_000, TYPE, 413, "too long"),
}


@pytest.mark.parametrize(("body", "content_type", "status", "word"), BROKEN.values(), ids=BROKEN)
def test_upload_of_a_broken_form_says_what_is_wrong(caller, body, content_type, status, word):
    answer = send(caller, body, content_type)
    assert answer.status_code == status, answer.content
    assert word in answer.json()["message"]
    assert answer.json()["error"] in ("invalid_message", "too_large", "unsupported_data")
    assert not Attachment.objects.exists()
