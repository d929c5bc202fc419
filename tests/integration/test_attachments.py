"""Files: in, back out as they came, and nobody else's."""

import uuid

import pytest
from django.core.files.storage import default_storage
from rest_framework.test import APIClient

from chat import runs
from chat.api.uploads import MAX_SIZE
from chat.models import Attachment, Message
from chat.protocol import ProtocolError
from tests.factories import USAGE, claim_one, client, frames, message, upload

pytestmark = pytest.mark.usefixtures("media_folder")


def test_a_file_comes_back_as_it_was(alice):
    caller = client(alice)
    answer = upload(caller)
    assert answer.status_code == 201
    found = answer.json()
    assert (found["name"], found["media_type"], found["size"]) == ("usage.csv", "text/csv", len(USAGE))
    assert found["recognised"]["usage"] is True
    assert caller.get(f"/api/attachments/{found['id']}").json() == found
    content = caller.get(f"/api/attachments/{found['id']}/content")
    assert b"".join(content.streaming_content) == USAGE
    assert content["Content-Disposition"] == 'attachment; filename="usage.csv"'
    assert content["Content-Type"] == "application/octet-stream"
    assert "sandbox" in content["Content-Security-Policy"]


@pytest.mark.django_db(transaction=True)
def test_a_file_goes_with_its_user(alice, bob, media_folder):
    for user in (alice, bob):
        upload(client(user))
    theirs = Attachment.objects.get(user=bob)
    alice.delete()
    assert [path for path in media_folder.rglob("*") if path.is_file()] == [media_folder / theirs.file.name]


def test_a_file_is_its_owner_s_only(alice, bob):
    found = upload(client(alice)).json()
    for path in (f"/api/attachments/{found['id']}", f"/api/attachments/{found['id']}/content"):
        missing = client(bob).get(path.replace(found["id"], str(uuid.uuid4())))
        other = client(bob).get(path)
        assert (other.status_code, other.json()) == (missing.status_code, missing.json()) == (404, missing.json())
    with pytest.raises(ProtocolError) as error:
        runs.start(bob.id, message(attachment_ids=(uuid.UUID(found["id"]),)))
    assert (error.value.code, error.value.field) == ("not_found", "attachment_ids")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\r\nSet-Cookie: x=1.csv", "a__Set-Cookie: x=1.csv"),
        ("\u202egpj.csv", "_gpj.csv"),
        # Persian words have non-joiners, and emoji joiners. Between letters of ASCII they only hide.
        ("می\u200cشود 👩\u200d💻.csv", "می\u200cشود 👩\u200d💻.csv"),
        ("a\u200db\u200c.csv", "a_b_.csv"),
        ("n" * 300 + ".csv", "n" * 251 + ".csv"),
        ('"><img src=x>.csv', '"><img src=x>.csv'),
    ],
)
def test_a_name_is_only_a_name(alice, media_folder, name, stored):
    from chat.api.uploads import clean_name

    assert clean_name(name) == stored
    assert upload(client(alice), name).status_code == 201
    for path in media_folder.rglob("*"):
        assert path.is_dir() or path.name == Attachment.objects.get().id.hex


@pytest.mark.parametrize(
    ("file", "code", "status"),
    [
        ({"content": b"PK\x03\x04\x00\x00"}, "unsupported_data", 415),
        ({"content": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"}, "unsupported_data", 415),
        ({"content": b"x" * (MAX_SIZE + 1)}, "too_large", 413),
        ({"other": "field"}, None, 201),
    ],
    ids=["binary", "pdf", "large", "other fields"],
)
def test_what_is_not_taken(alice, file, code, status):
    answer = upload(client(alice), **file)
    assert answer.status_code == status
    assert code is None or answer.json()["error"] == code
    assert Attachment.objects.count() == (status == 201)


def test_a_body_without_a_file(alice):
    caller = client(alice)
    nothing = caller.post("/api/attachments", {"name": "x"}, format="multipart")
    assert (nothing.status_code, nothing.json()["field"]) == (422, "file")
    assert caller.post("/api/attachments", {"file": "x"}, format="json").status_code == 415
    broken = caller.generic("POST", "/api/attachments", b"--x", content_type="multipart/form-data; boundary=")
    assert broken.status_code == 422
    assert APIClient().post("/api/attachments").status_code == 401


@pytest.mark.parametrize(
    "content", [b"", b"complete nonsense", b"\xff\xfea\x00,\x00b\x00"], ids=["empty", "text", "utf-16"]
)
def test_any_text_is_taken_and_said_to_be_what_it_is(alice, content):
    recognised = upload(client(alice), content=content).json()["recognised"]
    assert recognised["usage"] is False
    assert recognised["words"]


def test_a_message_carries_its_files_to_the_agent(alice):
    caller = client(alice)
    first, second = upload(caller).json(), upload(caller, "notes.txt", b"Read me.").json()
    ids = tuple(uuid.UUID(found["id"]) for found in (second, first))
    accepted = runs.start(alice.id, message(attachment_ids=ids, client_msg_id="one"))
    assert frames(accepted.thread_id)[0]["attachments"] == [second, first]
    assert runs.start(alice.id, message(attachment_ids=ids[::-1], client_msg_id="one")).repeated
    with pytest.raises(ProtocolError, match="another message"):
        runs.start(alice.id, message(client_msg_id="one"))
    listed = caller.get("/api/messages").json()["messages"][0]["attachments"]
    assert {found["id"] for found in listed} == {first["id"], second["id"]}
    _, attachments = runs.history(claim_one())
    assert [attachment.name for attachment in attachments] == ["usage.csv", "notes.txt"]
    with default_storage.open(attachments[0].file.name) as file:
        assert file.read() == USAGE


def test_a_later_message_still_has_the_thread_s_files(alice):
    found = upload(client(alice)).json()
    first = runs.start(alice.id, message(attachment_ids=(uuid.UUID(found["id"]),)))
    runs.cancel(alice.id)
    runs.start(alice.id, message("and now?", thread_id=first.thread_id))
    assert [attachment.name for attachment in runs.history(claim_one())[1]] == ["usage.csv"]
    runs.cancel(alice.id)
    runs.start(alice.id, message("anew", thread_id=first.thread_id, parent_id=None))
    assert runs.history(claim_one())[1] == []
    assert Message.objects.filter(attachments=found["id"]).count() == 1
