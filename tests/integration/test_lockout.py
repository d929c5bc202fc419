"""Ten failed sign-ins for an account from an address lock it there, for the REST API and the admin alike."""

import json
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.utils import timezone

from chat.accounts import sessions
from chat.models import User

PASSWORD, WRONG, NEW = "correct horse battery", "wrong horse battery", "another horse battery"
HERE, THERE = "203.0.113.9", "203.0.113.10"


@pytest.fixture(autouse=True)
def limited(settings, tmp_path):
    settings.NETRA_RATE_LIMITS = settings.AXES_ENABLED = True
    settings.NETRA_TRUSTED_PROXIES = 0
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"


def post(path, body, address=HERE, **headers):
    return Client(REMOTE_ADDR=address).post(path, json.dumps(body), content_type="application/json", headers=headers)


def log_in(email, password=WRONG, address=HERE, **headers):
    return post("/auth/login", {"email": email, "password": password}, address, **headers)


def admin(email, password=WRONG, address=HERE):
    return Client(REMOTE_ADDR=address).post("/admin/login/", {"username": email, "password": password})


def locked(answer):
    assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")
    assert 890 < int(answer["Retry-After"]) <= 900
    return True


def fail(email, times=10, **more):
    assert {log_in(email, **more).status_code for _ in range(times)} == {401}


def test_ten_failures_lock(alice, bob):
    fail(alice.email)
    assert locked(log_in(alice.email))
    assert locked(log_in(alice.email, PASSWORD)), "the right password does not open it"
    assert locked(log_in("ALICE@example.com", PASSWORD)), "nor does another way to write the address"
    assert log_in(alice.email, PASSWORD, THERE).status_code == 200, "the owner elsewhere is not shut out"
    assert log_in(bob.email, PASSWORD).status_code == 200
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert log_in(alice.email, PASSWORD).status_code == 200


def test_an_unknown_account_is_locked_alike(alice):
    answers = {}
    for email in (alice.email, "nobody@example.com"):
        fail(email)
        answers[email] = log_in(email)
    known, unknown = answers.values()
    assert locked(known)
    assert locked(unknown)
    assert [answer.json() | {"retry_after": 900} for answer in (known, unknown)] == [
        known.json() | {"retry_after": 900}
    ] * 2


def test_another_browser_is_the_same_address(alice):
    for number in range(10):
        assert log_in(alice.email, **{"User-Agent": f"browser {number}"}).status_code == 401
    assert locked(log_in(alice.email, **{"User-Agent": "yet another"}))


def test_lockout_success_resets_the_count(alice):
    for _ in range(2):
        fail(alice.email, 9)
        assert log_in(alice.email, PASSWORD).status_code == 200


def test_the_admin_counts_too(alice):
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    fail(alice.email, 5)
    assert {admin(f" {alice.email.upper()}").status_code for _ in range(4)} == {200}
    assert locked(admin(alice.email))
    assert locked(admin(alice.email, PASSWORD))
    assert locked(log_in(alice.email, PASSWORD))
    assert admin(alice.email, PASSWORD, THERE).status_code == 302


def test_guesses_at_the_current_password_count_too(alice):
    tokens = sessions.sign_in(alice, "")

    def change(current):
        return post("/auth/password", {"current": current, "new": NEW}, Authorization=f"Bearer {tokens.access}")

    assert {change(WRONG).status_code for _ in range(10)} == {422}
    assert locked(change(PASSWORD))
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD)


def test_lockout_keeps_no_typed_address(db):
    typed = "my-secret-password"
    admin(typed, typed)
    admin("ann@example.com", typed)
    log_in("ann@example.com", typed)
    kept = json.dumps(list(AccessAttempt.objects.values()), default=str)
    assert "secret" not in kept
    assert "ann@" not in kept
