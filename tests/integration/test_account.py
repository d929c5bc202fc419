"""Self-service of an account: another address, an export, the end of it, instructions."""

import io
import json
import zipfile

import pytest
from rest_framework.test import APIClient

from chat import runs
from chat.accounts import sessions
from chat.models import Attachment, AuditRecord, Message, Session, Thread, User
from tests.conftest import PASSWORD
from tests.factories import claim_one, client, completed, message, upload


@pytest.fixture
def api_client():
    return APIClient()


def post(caller, path, **body):
    return caller.post(path, body, format="json")


def refusal(answer):
    return answer.status_code, answer.json()["error"], answer.json().get("field")


def signed_in(caller, email):
    return post(caller, "/auth/login", email=email, password=PASSWORD).status_code == 200


def test_new_address_signs_in_and_the_old_one_does_not(ann, alice, api_client):
    changed = post(ann, "/auth/email", email="  Alice@New.example ", current=PASSWORD)
    assert (changed.status_code, changed.json()["email"]) == (200, "alice@new.example")
    assert ann.get("/auth/me").json()["email"] == "alice@new.example"
    assert signed_in(api_client, "ALICE@new.example")
    assert not signed_in(api_client, "alice@example.com")
    record = AuditRecord.objects.get(kind="address_changed")
    assert (record.user_id, record.detail) == (alice.id, "")


@pytest.mark.parametrize("email", ["", "alice", "a@b@c", "a b@example.com", "x" * 250 + "@example.com", 5, None])
def test_bad_address_is_refused(ann, email):
    assert refusal(post(ann, "/auth/email", email=email, current=PASSWORD)) == (422, "invalid_message", "email")


def test_address_needs_the_password_and_is_unique(ann, alice, bob):
    assert refusal(post(ann, "/auth/email", email="x@example.com", current="wrong horse")) == (
        422, "invalid_message", "current",
    )  # fmt: skip
    assert refusal(post(ann, "/auth/email", email="x@example.com")) == (422, "invalid_message", "current")
    assert refusal(post(ann, "/auth/email", email="BOB@example.com", current=PASSWORD)) == (409, "conflict", "email")
    assert {User.objects.get(pk=user.pk).email for user in (alice, bob)} == {"alice@example.com", "bob@example.com"}
    assert AuditRecord.objects.filter(kind="sign_in_failed").count() == 1


def test_guesses_at_the_password_lock_the_account(ann, alice, limited_by, tmp_path, settings):
    limited_by(f"unix://{tmp_path}/nothing.sock")
    settings.AXES_ENABLED = True
    for path in ("/auth/email", "/auth/delete"):
        for _ in range(5):
            assert post(ann, path, email="x@example.com", current="guess").status_code == 422
    assert post(ann, "/auth/delete", current=PASSWORD).status_code == 429
    assert User.objects.filter(pk=alice.pk).exists()


def test_export_has_all_that_is_the_users_and_nothing_else(ann, alice, bob, media_folder):
    runs.start(alice.id, message("What do I pay?"))
    runs.start(bob.id, message("bob's words"))
    upload(ann)
    User.objects.filter(pk=alice.pk).update(instructions="Be brief.")
    answer = ann.get("/auth/export")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
    assert 'filename="netra.zip"' in answer["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as found:
        texts = {name: found.read(name) for name in found.namelist()}
    profile = json.loads(texts["profile.json"])
    assert (profile["email"], profile["instructions"]) == (alice.email, "Be brief.")
    assert any(name.endswith("usage.csv") for name in texts)
    assert b"What do I pay?" in b"".join(texts.values())
    assert b"bob" not in b"".join(texts.values())


def test_deleted_account_leaves_nothing_and_ends_its_sessions(ann, alice, bob, media_folder):
    runs.start(alice.id, message("mine"))
    runs.record([completed(claim_one())])
    runs.start(bob.id, message("his"))
    upload(ann)
    assert refusal(post(ann, "/auth/delete", current="wrong horse")) == (422, "invalid_message", "current")
    assert post(ann, "/auth/delete").status_code == 422
    done = post(ann, "/auth/delete", current=PASSWORD)
    assert done.status_code == 204
    assert {done.cookies[name]["max-age"] for name in ("netra_refresh", "netra_view")} == {0}
    assert not User.objects.filter(pk=alice.pk).exists()
    assert [thread.user for thread in Thread.objects.all()] == [bob]
    assert not Attachment.objects.exists() and not Session.objects.filter(user=alice.pk).exists()
    assert ann.get("/auth/me").status_code == 401
    assert AuditRecord.objects.get(kind="deleted").user_id == alice.pk


def test_last_administrator_cannot_delete_the_account(db):
    admin = User.objects.create_superuser("admin@example.com", PASSWORD)
    refused = post(client(admin), "/auth/delete", current=PASSWORD)
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    assert User.objects.get(pk=admin.pk).is_active


def test_all_conversations_of_the_user_are_deleted_at_once(ann, alice, bob):
    for user in (alice, alice, bob):
        runs.start(user.id, message())
    assert ann.delete("/api/threads").status_code == 204
    assert ann.get("/api/threads").json()["threads"] == []
    assert [thread.user for thread in Thread.objects.filter(deleted_at=None)] == [bob]
    assert sessions.live_sessions(alice).exists()


def test_temporary_conversation_is_emptied_when_all_are_deleted(ann, alice):
    started = runs.start(alice.id, message("for nobody"))
    Thread.objects.filter(pk=started.thread_id).update(temporary=True)
    assert ann.delete("/api/threads").status_code == 204
    assert not Message.objects.filter(thread=started.thread_id).exists()


def test_instructions_are_kept_for_the_user_alone(ann, alice, bob):
    path = "/auth/instructions"
    assert ann.get(path).json() == {"instructions": ""}
    kept = ann.patch(path, {"instructions": "Answer in one line. 🙂"}, format="json")
    assert kept.json() == ann.get(path).json() == {"instructions": "Answer in one line. 🙂"}
    assert client(bob).get(path).json() == {"instructions": ""}
    for wrong in ({}, {"instructions": "x" * 2001}, {"instructions": 5}, {"instructions": "a\0b"}):
        assert refusal(ann.patch(path, wrong, format="json")) == (422, "invalid_message", "instructions")
