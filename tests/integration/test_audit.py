"""Audit records of sign-ins, ended sessions and acts of staff: immutable, and without secrets."""

import json

import pytest
from django.test import Client

from chat import runs
from chat.accounts import authentication, sessions
from chat.models import AuditRecord, User
from tests.factories import claim_one, completed, message

PASSWORD, WRONG, NEW = "correct horse battery", "wrong horse battery", "another horse battery"


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss@example.com", PASSWORD)


@pytest.fixture
def desk(boss):
    client = Client(REMOTE_ADDR="203.0.113.7")
    client.force_login(boss)
    AuditRecord.objects.all().delete()
    return client


def post(path, body, access=None):
    headers = {"Authorization": f"Bearer {access}"} if access else {}
    return Client(REMOTE_ADDR="203.0.113.9").post(
        path, json.dumps(body), content_type="application/json", headers=headers
    )


def records():
    """(kind, whose, by whom, detail), the oldest first; reading forgets them."""
    found = list(AuditRecord.objects.order_by("id").values_list("kind", "user_id", "by_id", "detail"))
    AuditRecord.objects.all().delete()
    return found


def test_signing_in_and_failing_to(alice):
    post("/auth/login", {"email": alice.email, "password": PASSWORD})
    post("/auth/login", {"email": "Alice@Example.com", "password": WRONG})
    post("/auth/login", {"email": "nobody@example.com", "password": WRONG})
    Client(REMOTE_ADDR="203.0.113.9").post("/admin/login/", {"username": alice.email, "password": WRONG})
    assert set(AuditRecord.objects.values_list("address", flat=True)) == {"203.0.113.9"}
    assert records() == [
        ("signed_in", alice.pk, None, "/auth/login"),
        ("sign_in_failed", alice.pk, None, "/auth/login"),
        ("sign_in_failed", None, None, "/auth/login"),
        ("sign_in_failed", alice.pk, None, "/admin/login/"),
    ]


def test_registering_is_signing_in(db):
    user = post("/auth/register", {"email": "ann@example.com", "password": PASSWORD}).json()["user"]
    assert records() == [("signed_in", int(user["id"]), None, "/auth/register")]


def test_a_lock_is_recorded_once(alice, settings, tmp_path):
    settings.NETRA_RATE_LIMITS = settings.AXES_ENABLED = True
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    for _ in range(8):
        post("/auth/login", {"email": alice.email, "password": WRONG})
    for _ in range(5):
        Client(REMOTE_ADDR="203.0.113.9").post("/admin/login/", {"username": alice.email, "password": WRONG})
    kinds = sorted(record[0] for record in records())
    assert kinds == ["locked_out"] + ["sign_in_failed"] * 10


def test_audit_records_each_end_of_a_session(alice):
    one, two = sessions.sign_in(alice, ""), sessions.sign_in(alice, "")
    sid = authentication.identify(one.access).session_id
    post("/auth/logout", {"refresh_token": one.refresh})
    assert records() == [("session_ended", alice.pk, None, f"session {sid}")]
    post("/auth/logout", {"refresh_token": two.refresh, "everywhere": True})
    assert records() == [("signed_out_everywhere", alice.pk, None, "1 sessions")]
    access = sessions.sign_in(alice, "").access
    assert post("/auth/password", {"current": WRONG, "new": NEW}, access).status_code == 422
    assert records() == [("sign_in_failed", alice.pk, None, "/auth/password")]
    assert post("/auth/password", {"current": PASSWORD, "new": NEW}, access).status_code == 200
    assert records() == [("password_changed", alice.pk, None, "")]
    user = User.objects.get(pk=alice.pk)
    user.is_active = False
    user.save()
    assert [record[0] for record in records()] == ["deactivated", "signed_out_everywhere"]
    user.delete()
    assert records() == [("deleted", alice.pk, None, "")]


def test_a_record_outlives_its_user(desk, alice):
    post("/auth/login", {"email": alice.email, "password": PASSWORD})
    User.objects.get(pk=alice.pk).delete()
    assert AuditRecord.objects.filter(user_id=alice.pk, kind="signed_in").exists()
    assert desk.get("/admin/chat/auditrecord/").status_code == 200


@pytest.fixture
def answered(alice):
    accepted = runs.start(alice.id, message("What do I pay?"))
    runs.record([completed(claim_one(), "Too much.")])
    return accepted


def test_reading_a_users_data_in_the_admin(desk, boss, alice, answered):
    desk.get("/admin/chat/message/")
    desk.get(f"/admin/chat/message/{answered.message_id}/change/")
    desk.get(f"/admin/chat/thread/{answered.thread_id}/change/")
    desk.get(f"/admin/chat/run/{answered.run_id}/change/")
    assert set(AuditRecord.objects.values_list("address", flat=True)) == {"203.0.113.7"}
    assert records() == [
        ("admin_read", None, boss.pk, "list of messages"),
        ("admin_read", alice.pk, boss.pk, f"message {answered.message_id}"),
        ("admin_read", alice.pk, boss.pk, f"thread {answered.thread_id}"),
        ("admin_read", alice.pk, boss.pk, f"run {answered.run_id}"),
    ]


def test_acting_on_a_users_data_in_the_admin(desk, boss, alice):
    run = runs.start(alice.id, message()).run_id
    desk.post("/admin/chat/run/", {"action": "cancel", "_selected_action": [str(run)]})
    assert records() == [("admin_acted", alice.pk, boss.pk, f"cancel run {run}")]
    desk.post("/admin/chat/user/", {"action": "sign_out", "_selected_action": [str(alice.pk)]})
    assert records()[0] == ("admin_acted", alice.pk, boss.pk, "sign out everywhere")


def test_changing_users_in_the_admin(desk, boss):
    passwords = {"password1": NEW, "password2": NEW}
    desk.post("/admin/chat/user/add/", {"email": "carol@example.com", "name": "", **passwords})
    carol = User.objects.get(email="carol@example.com")
    assert records() == [("admin_added", carol.pk, boss.pk, "")]
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    assert desk.post(f"/admin/chat/user/{carol.pk}/password/", passwords).status_code == 302
    assert [record[:3] for record in records()] == [
        ("password_changed", carol.pk, None),
        ("signed_out_everywhere", carol.pk, None),
        ("admin_changed", carol.pk, boss.pk),
    ]
    desk.post(
        f"/admin/chat/user/{carol.pk}/change/",
        {"email": "carol@example.com", "name": "Secret Name", "input_mail": "all"},
    )
    found = records()
    assert [record[0] for record in found] == ["deactivated", "signed_out_everywhere", "admin_changed"]
    assert found[-1] == ("admin_changed", carol.pk, boss.pk, "Name, Mail about requests, Is active")
    desk.post("/admin/chat/user/", {"action": "delete_selected", "_selected_action": [str(carol.pk)], "post": "yes"})
    assert records() == [("admin_deleted", carol.pk, boss.pk, ""), ("deleted", carol.pk, None, "")]


def test_a_record_cannot_be_changed(desk, alice):
    post("/auth/login", {"email": alice.email, "password": PASSWORD})
    path = f"/admin/chat/auditrecord/{AuditRecord.objects.get().pk}"
    assert desk.get("/admin/chat/auditrecord/").status_code == 200
    assert desk.get(f"{path}/change/").status_code == 200
    assert desk.post(f"{path}/change/", {"detail": "x"}).status_code == 403
    assert desk.post(f"{path}/delete/", {"post": "yes"}).status_code == 403
    assert desk.get("/admin/chat/auditrecord/add/").status_code == 403
    desk.post("/admin/chat/auditrecord/", {"action": "delete_selected", "_selected_action": ["1"], "post": "yes"})
    assert AuditRecord.objects.get().kind == "signed_in"


def test_no_secret_is_recorded(alice):
    tokens = sessions.sign_in(alice, "")
    for password in (PASSWORD, WRONG):
        post("/auth/login", {"email": alice.email, "password": password})
    Client().post("/admin/login/", {"username": WRONG, "password": WRONG})
    post("/auth/password", {"current": PASSWORD, "new": NEW}, tokens.access)
    post("/auth/logout", {"refresh_token": tokens.refresh})
    kept = json.dumps(list(AuditRecord.objects.values()), default=str)
    assert not any(secret in kept for secret in (PASSWORD, WRONG, NEW, tokens.access[-20:], tokens.refresh[-20:]))
