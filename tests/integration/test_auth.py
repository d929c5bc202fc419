import base64
import json
import logging
import threading
import time
import uuid
import warnings
from datetime import timedelta

import httpx
import jwt
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import Group
from django.core.asgi import get_asgi_application
from django.core.checks import run_checks
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from chat import runs
from chat.accounts import authentication, sessions, tokens
from chat.api import bodies
from chat.models import AuditRecord, Session, User
from chat.oidc.accounts import is_verified, set_verified
from tests.factories import message

PASSWORD = "correct horse battery"
ORIGIN = {"Origin": "http://testserver"}


def post(client, path, body=None, **headers):
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def log_in(client, user, **more):
    return post(client, "/auth/login", {"email": user.email, "password": PASSWORD, **more})


def bearer(access):
    return {"Authorization": f"Bearer {access}"}


def refused(answer):
    return answer.status_code == 401 and answer.json()["error"] == "unauthorized"


@pytest.fixture(autouse=True)
def _quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def signed_in(alice):
    return sessions.sign_in(alice, "a browser")


@pytest.fixture
def forge(signed_in, settings):
    """Make an access token of alice's with other claims (None: without it), key or algorithm."""

    def forge(key=settings.SECRET_KEY, algorithm="HS256", of=signed_in.access, **claims):
        good = jwt.decode(of, options={"verify_signature": False}) | claims
        with warnings.catch_warnings(action="ignore"):  # our key is shorter than HS512 should have
            return jwt.encode({name: value for name, value in good.items() if value is not None}, key, algorithm)

    return forge


# ---- Registering and logging in ----------------------------------------------------------------------------


def test_registering_signs_in(client, db):
    answer = post(client, "/auth/register", {"email": "Ann@Example.com", "password": PASSWORD, "name": "Ann"})
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    user = User.objects.get(email="ann@example.com")
    assert body.pop("access_token") != body.pop("refresh_token")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 900,
        "user": {"id": str(user.pk), "email": "ann@example.com", "name": "Ann"},
    }
    assert log_in(client, user).status_code == 200


def test_an_address_is_taken_in_any_case(client, alice):
    answer = post(client, "/auth/register", {"email": "ALICE@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (409, "conflict", "email")


def test_registration_can_be_closed(client, db, settings):
    settings.NETRA_OPEN_REGISTRATION = False
    answer = post(client, "/auth/register", {"email": "ann@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", None),
        ("email", 5),
        ("email", ["ann@example.com"]),
        ("email", ""),
        ("email", "ann"),
        ("email", "ann@example.com\nBcc: bob@example.com"),
        ("email", "a" * 250 + "@example.com"),
        ("email", "ann@exam\u200bple.com"),
        ("email", "a@" + ".".join(["İ" * 60] * 4) + ".com"),  # in lower case it is longer
        ("password", None),
        ("password", 12345678901),
        ("password", True),
        ("password", ""),
        ("password", "short"),
        ("password", "password123"),
        ("password", "84629471630"),
        ("password", "ann.smith@example.com"),
        ("password", "x9" * 513),
        ("name", "n" * 151),
        ("name", {"first": "Ann"}),
        ("session", "header"),
        ("session", True),
    ],
)
def test_registering_names_the_bad_field(client, db, field, value):
    good = {"email": "ann.smith@example.com", "password": PASSWORD, "name": "Ann"}
    answer = post(client, "/auth/register", good | {field: value})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_message")
    assert answer.json()["field"] == field
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["\u200b", "\u2060\ufeff", "\u3164", "\u2800 \u00ad", "\x07", "   "])
def test_a_name_or_title_of_nothing_visible_is_none(client, db, name):
    account = {"email": "ann.smith@example.com", "password": PASSWORD, "name": name}
    given = post(client, "/auth/register", account)
    assert (given.status_code, given.json()["user"]["name"]) == (201, "")
    headers = bearer(given.json()["access_token"])
    renamed = client.patch("/auth/me", {"name": name}, content_type="application/json", headers=headers)
    assert renamed.json()["name"] == ""
    thread = client.post("/api/threads", {"title": name}, content_type="application/json", headers=headers)
    assert (thread.status_code, thread.json()["title"]) == (201, "")
    key = client.post("/auth/keys", {"name": name}, content_type="application/json", headers=headers)
    assert (key.status_code, key.json()["field"]) == (422, "name")


def test_logging_in_is_in_any_case_of_the_address(client, alice):
    answer = post(client, "/auth/login", {"email": "Alice@EXAMPLE.com", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == str(alice.pk)
    assert Session.objects.get().user == alice


def test_a_password_keeps_its_spaces(client, db):
    body = {"email": "ann@example.com", "password": f" {PASSWORD} "}
    assert post(client, "/auth/register", body).status_code == 201
    assert refused(post(client, "/auth/login", body | {"password": PASSWORD}))
    assert post(client, "/auth/login", body).status_code == 200


def test_a_failed_log_in_does_not_tell_why(client, alice, bob):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    answers = [
        post(client, "/auth/login", {"email": email, "password": password})
        for email, password in [
            ("alice@example.com", "wrong horse battery"),
            ("nobody@example.com", PASSWORD),
            ("bob@example.com", PASSWORD),
        ]
    ]
    assert all(map(refused, answers))
    assert len({answer.content for answer in answers}) == 1
    assert {answer["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert not Session.objects.exists()


class CountingHasher(MD5PasswordHasher):
    hashed = 0

    def encode(self, password, salt):
        CountingHasher.hashed += 1
        return super().encode(password, salt)


class WatchingHasher(MD5PasswordHasher):
    in_transactions = []

    def encode(self, password, salt):
        WatchingHasher.in_transactions.append(connection.in_atomic_block)
        return super().encode(password, salt)


@pytest.mark.django_db(transaction=True)
def test_login_hashes_outside_a_transaction(client, settings):
    """SQLite has one writer at a time, and hashing takes tenths of a second."""
    settings.PASSWORD_HASHERS = [f"{__name__}.WatchingHasher"]
    answer = post(client, "/auth/register", {"email": "ann@example.com", "password": PASSWORD})
    log_in(client, User.objects.get())
    body = {"current": PASSWORD, "new": "quite another battery"}
    changed = post(client, "/auth/password", body, **bearer(answer.json()["access_token"]))
    assert changed.status_code == 200
    assert set(WatchingHasher.in_transactions) == {False}


@pytest.mark.django_db
def test_a_log_in_hashes_as_often_for_an_unknown_account(client, settings):
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    ann = User.objects.create_user("ann@example.com", PASSWORD)
    counts = []
    for email in (ann.email, "nobody@example.com"):
        before = CountingHasher.hashed
        post(client, "/auth/login", {"email": email, "password": "wrong horse battery"})
        counts.append(CountingHasher.hashed - before)
    assert counts == [1, 1]


# ---- What is and is not a token ----------------------------------------------------------------------------


def test_a_token_is_its_owner_in_one_query(alice, signed_in, django_assert_num_queries):
    with django_assert_num_queries(1):
        identity = authentication.identify(signed_in.access)
    claims = jwt.decode(signed_in.access, options={"verify_signature": False})
    assert identity == authentication.Identity(alice.pk, alice.email, Session.objects.get().pk, claims["exp"])
    assert claims["user_id"] == str(alice.pk)


def test_admit_returns_the_owner_and_the_heads_of_their_threads_in_one_query(
    alice, bob, signed_in, django_assert_num_queries
):
    claims = authentication.read_claims(signed_in.access)
    identity = authentication.identify(signed_in.access)
    assert authentication.admit(claims) == (identity, {}, None)
    threads = [runs.start(user.pk, message()).thread_id for user in (alice, alice, bob, alice)]
    runs.rename(alice.pk, threads[1], "A name")
    runs.delete(alice.pk, threads[3])
    with django_assert_num_queries(1):
        assert authentication.admit(claims) == (identity, {str(threads[0]): 1, str(threads[1]): 2}, None)


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}])
def test_admit_after_a_change_of_the_user_is_refused(alice, signed_in, change):
    claims = authentication.read_claims(signed_in.access)
    User.objects.filter(pk=alice.pk).update(**change)
    with pytest.raises(authentication.Unauthorized):
        authentication.admit(claims)


def test_admit_after_the_session_ended_is_refused(signed_in):
    claims = authentication.read_claims(signed_in.access)
    Session.objects.update(ended_at=Now())
    with pytest.raises(authentication.Unauthorized):
        authentication.admit(claims)


def test_the_user_id_may_be_a_number(alice, forge):
    assert authentication.identify(forge(user_id=alice.pk)).user_id == alice.pk


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize("ahead", [1, 1.5, 10])
def test_identify_clock_seconds_behind_accepts(client, alice, forge, claim, ahead):
    """The clock of the process that made the token is ahead of this one's."""
    token = forge(**{claim: time.time() + ahead})
    assert authentication.identify(token).user_id == alice.pk
    assert client.get("/auth/me", headers=bearer(token)).json()["id"] == str(alice.pk)


def test_refresh_clock_seconds_behind_accepts(client, signed_in, forge):
    token = forge(of=signed_in.refresh, iat=int(time.time()) + 10)
    assert post(client, "/auth/refresh", {"refresh_token": token}).status_code == 200


@pytest.mark.parametrize("claims", [{"exp": -1}, {"iat": 120}, {"nbf": 120}])
def test_refresh_outside_its_time_is_refused(client, signed_in, forge, claims):
    token = forge(of=signed_in.refresh, **{name: int(time.time()) + seconds for name, seconds in claims.items()})
    assert refused(post(client, "/auth/refresh", {"refresh_token": token}))
    assert refused(post(client, "/auth/logout", {"refresh_token": token}))


# A header of lists in lists, which is read before any signature is checked.
DEEP = base64.urlsafe_b64encode(b'{"a":' + b"[" * 3001).decode() + ".e30.c2ln"
BAD = {
    "empty": lambda forge, signed_in: "",
    "no token at all": lambda forge, signed_in: "a.b.c",
    "unprintable": lambda forge, signed_in: "\ud800.\x00.é",
    "deep header": lambda forge, signed_in: DEEP,
    "expired": lambda forge, signed_in: forge(exp=1_000_000_000),
    "expired this second": lambda forge, signed_in: forge(exp=int(time.time())),
    "expired within the leeway": lambda forge, signed_in: forge(exp=time.time() - 1.5),
    "issued minutes from now": lambda forge, signed_in: forge(iat=int(time.time()) + 120),
    "not valid for minutes": lambda forge, signed_in: forge(nbf=int(time.time()) + 120),
    "issued at no number": lambda forge, signed_in: forge(iat="now"),
    "never expires": lambda forge, signed_in: forge(exp=None),
    "expires at no number": lambda forge, signed_in: forge(exp="soon"),
    "expires too far away": lambda forge, signed_in: forge(exp=10**30),
    "another key": lambda forge, signed_in: forge(key="another key of at least thirty-two characters"),
    "algorithm none": lambda forge, signed_in: forge(key="", algorithm="none"),
    "another algorithm": lambda forge, signed_in: forge(algorithm="HS512"),
    "wrong audience": lambda forge, signed_in: forge(aud="others"),
    "no audience": lambda forge, signed_in: forge(aud=None),
    "wrong issuer": lambda forge, signed_in: forge(iss="others"),
    "no issuer": lambda forge, signed_in: forge(iss=None),
    "refresh token": lambda forge, signed_in: signed_in.refresh,
    "no type": lambda forge, signed_in: forge(token_type=None),
    "odd type": lambda forge, signed_in: forge(token_type=["access"]),
    "no id": lambda forge, signed_in: forge(jti=None),
    "no user": lambda forge, signed_in: forge(user_id=None),
    "user is a word": lambda forge, signed_in: forge(user_id="alice"),
    "user is a list": lambda forge, signed_in: forge(user_id=[1]),
    "user is an object": lambda forge, signed_in: forge(user_id={"id": 1}),
    "user is true": lambda forge, signed_in: forge(user_id=True),
    "user is a fraction": lambda forge, signed_in: forge(user_id=1.5),
    "user is negative": lambda forge, signed_in: forge(user_id=-1),
    "user is huge": lambda forge, signed_in: forge(user_id=10**40),
    "user is a huge text": lambda forge, signed_in: forge(user_id="9" * 5000),
    "user is in other digits": lambda forge, signed_in: forge(user_id="\u0661"),
    "user is unknown": lambda forge, signed_in: forge(user_id="999999"),
    "no session": lambda forge, signed_in: forge(sid=None),
    "session is a number": lambda forge, signed_in: forge(sid=5),
    "session is a word": lambda forge, signed_in: forge(sid="mine"),
    "session is unknown": lambda forge, signed_in: forge(sid=str(uuid.uuid4())),
    "no revoke claim": lambda forge, signed_in: forge(hash_password=None),
    "wrong revoke claim": lambda forge, signed_in: forge(hash_password="0" * 32),
    "odd revoke claim": lambda forge, signed_in: forge(hash_password=["é"]),
}


@pytest.mark.parametrize("bad", BAD)
def test_identify_bad_token_is_refused(forge, signed_in, bad):
    with pytest.raises(authentication.Unauthorized) as caught:
        authentication.identify(BAD[bad](forge, signed_in))
    assert caught.value.reason


@pytest.mark.parametrize("bad", [name for name in BAD if name not in ("empty", "unprintable")])
def test_every_bad_token_gets_the_same_answer_and_stays_out_of_the_log(client, forge, signed_in, bad, caplog):
    token = BAD[bad](forge, signed_in)
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/auth/verify", headers=bearer(token))
    assert refused(answer)
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.content == client.get("/auth/verify").content
    (record,) = [record for record in caplog.records if record.name == "netra.auth"]
    assert record.getMessage().startswith("refused: ")
    assert not any(part in caplog.text for part in token.split(".") if len(part) > 8)


def test_identify_token_of_another_users_session_is_refused(bob, forge):
    theirs = sessions.sign_in(bob, "")
    sid = jwt.decode(theirs.access, options={"verify_signature": False})["sid"]
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(forge(sid=sid))


def test_identify_inactive_or_deleted_user_is_refused(alice, signed_in):
    User.objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(signed_in.access)
    alice.delete()
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(signed_in.access)


@pytest.mark.parametrize(
    "header", ["Basic YWxpY2U6cGFzc3dvcmQ=", "", "Bearer", "Bearer {}, Bearer {}", "Bearer {} {}", "Token {}", "{}"]
)
def test_other_authorization_is_none(client, signed_in, header):
    assert refused(client.get("/auth/verify", headers={"Authorization": header.replace("{}", signed_in.access)}))


def test_a_token_counts_only_in_the_header(client, signed_in):
    client.cookies["access_token"] = signed_in.access
    assert refused(client.get(f"/auth/verify?token={signed_in.access}&access_token={signed_in.access}"))


def test_the_scheme_is_in_any_case(client, signed_in):
    assert client.get("/auth/verify", headers={"Authorization": f"bearer {signed_in.access}"}).status_code == 200


# ---- Refreshing --------------------------------------------------------------------------------------------


def refresh(client, token, key=None, **headers):
    return post(
        client, "/auth/refresh", {"refresh_token": token}, **({"Idempotency-Key": key} if key else {}), **headers
    )


def sid(access):
    return jwt.decode(access, options={"verify_signature": False})["sid"]


def test_refreshing_rotates(client, alice, signed_in):
    answer = refresh(client, signed_in.refresh)
    assert answer.status_code == 200
    fresh = answer.json()
    assert fresh["user"]["id"] == str(alice.pk)
    assert (
        authentication.identify(fresh["access_token"]).session_id
        == authentication.identify(signed_in.access).session_id
    )
    assert refresh(client, fresh["refresh_token"]).status_code == 200


def test_refresh_with_a_spent_token_ends_the_session(client, alice, bob, signed_in, django_capture_on_commit_callbacks):
    elsewhere, theirs = sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    fresh = refresh(client, signed_in.refresh).json()
    unknown = refresh(client, "a.b.c")
    with django_capture_on_commit_callbacks() as callbacks:
        answer = refresh(client, signed_in.refresh)
    session = sid(signed_in.access)
    assert refused(answer)
    assert answer.json() == unknown.json()
    assert signals(callbacks) == [(f"user.{alice.pk}", {"type": "session_ended", "session": session})]
    for access in (signed_in.access, fresh["access_token"]):
        assert refused(client.get("/auth/verify", headers=bearer(access)))
    assert refused(refresh(client, fresh["refresh_token"]))
    assert authentication.identify(elsewhere.access)
    assert authentication.identify(theirs.access)
    record = AuditRecord.objects.get()
    assert (record.kind, record.user_id, record.by_id) == ("refresh_token_reused", alice.pk, None)
    assert (record.detail, record.address) == (f"session {session}", "127.0.0.1")


@pytest.mark.parametrize("generations", [1, 2, 3])
def test_refresh_with_any_older_token_ends_the_session(client, signed_in, generations):
    family = [signed_in.refresh]
    for _ in range(generations):
        family.append(refresh(client, family[-1], str(uuid.uuid4())).json()["refresh_token"])
    assert refused(refresh(client, signed_in.refresh))
    assert refused(refresh(client, family[-1]))
    assert AuditRecord.objects.filter(kind="refresh_token_reused").count() == 1


def test_refresh_with_the_key_of_the_first_try_gives_the_same_pair_again(client, signed_in):
    key = str(uuid.uuid4())
    lost, again = (refresh(client, signed_in.refresh, key).json() for _ in range(2))
    claims = [jwt.decode(one["refresh_token"], options={"verify_signature": False}) for one in (lost, again)]
    assert claims[0]["jti"] == claims[1]["jti"]
    assert refresh(client, again["refresh_token"]).status_code == 200
    late = refresh(client, signed_in.refresh, key)
    assert refused(late), "the session has gone on since"
    assert authentication.identify(again["access_token"]), "a request that was on its way twice is no reuse"
    assert refused(refresh(client, lost["refresh_token"])), "both are one token, and it is spent"
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(again["access_token"])


@pytest.mark.parametrize("key", [None, "another key of thirty characters"])
def test_refresh_with_another_key_or_none_ends_the_session(client, signed_in, key):
    fresh = refresh(client, signed_in.refresh, "the first key of thirty characters").json()
    assert refused(refresh(client, signed_in.refresh, key))
    assert refused(client.get("/auth/verify", headers=bearer(fresh["access_token"])))
    assert refused(refresh(client, signed_in.refresh, "the first key of thirty characters"))


def test_refresh_key_of_another_user_is_no_key(client, bob, signed_in):
    key = str(uuid.uuid4())
    refresh(client, signed_in.refresh, key)
    theirs = sessions.sign_in(bob, "")
    tokens.refresh(theirs.refresh)
    assert refused(refresh(client, theirs.refresh, key))
    assert authentication.identify(signed_in.access)


@pytest.mark.parametrize("why", ["ended", "expired", "forged", "inactive", "password"])
def test_refresh_with_a_spent_token_that_is_nobodys_ends_and_records_nothing(client, alice, signed_in, forge, why):
    fresh = tokens.refresh(signed_in.refresh)
    given = signed_in.refresh
    match why:
        case "ended":
            sessions.end_session(Session.objects.get())
        case "expired":
            given = forge(of=given, exp=1)
        case "forged":
            given = forge(of=given, key="another key of at least thirty-two characters")
        case "inactive":
            User.objects.filter(pk=alice.pk).update(is_active=False)
        case "password":
            User.objects.filter(pk=alice.pk).update(password="another")
    assert refused(refresh(client, given))
    assert not AuditRecord.objects.filter(kind="refresh_token_reused").exists()
    if why in ("expired", "forged"):
        assert authentication.identify(fresh.access)


def test_logging_out_with_a_spent_token_ends_the_session(client, alice, signed_in, django_capture_on_commit_callbacks):
    fresh = tokens.refresh(signed_in.refresh)
    with django_capture_on_commit_callbacks() as callbacks:
        assert refused(post(client, "/auth/logout", {"refresh_token": signed_in.refresh, "everywhere": True}))
    assert len(signals(callbacks)) == 1
    assert refused(refresh(client, fresh.refresh))
    assert AuditRecord.objects.values_list("kind", "address").get() == ("refresh_token_reused", "127.0.0.1")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", ["", "one and the same key"])
def test_of_two_that_refresh_at_once_one_wins_unless_they_have_one_key(alice, key):
    signed_in = sessions.sign_in(alice, "")
    start = threading.Barrier(2)
    done = []

    def spend():
        start.wait()
        try:
            done.append(tokens.refresh(signed_in.refresh, key))
        except authentication.Unauthorized as error:
            done.append(error.reason)
        connection.close()

    both = [threading.Thread(target=spend) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    won = [one for one in done if isinstance(one, tokens.Tokens)]
    assert len(won) == (2 if key else 1)
    assert bool(sessions.alive({uuid.UUID(sid(signed_in.access))})) == bool(key), "one who lost is taken for a thief"


def test_refresh_repeated_after_the_session_ended_is_refused(client, alice, signed_in):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    post(client, "/auth/refresh", {"refresh_token": signed_in.refresh}, **key)
    sessions.end_session(Session.objects.get(user=alice))
    assert refused(post(client, "/auth/refresh", {"refresh_token": signed_in.refresh}, **key))


def test_a_key_that_could_be_guessed_is_refused(client, signed_in):
    answer = post(client, "/auth/refresh", {"refresh_token": signed_in.refresh}, **{"Idempotency-Key": "1"})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_message")
    assert post(client, "/auth/refresh", {"refresh_token": signed_in.refresh}).status_code == 200, "nothing was spent"


def test_no_refresh_token_is_kept(alice, signed_in):
    tokens.refresh(signed_in.refresh)
    (kept,) = OutstandingToken.objects.all()
    assert (kept.user, kept.token) == (alice, "")


def test_refreshing_is_noted(signed_in):
    session = Session.objects.get()
    Session.objects.update(used_at=session.used_at - timedelta(days=1))
    tokens.refresh(signed_in.refresh)
    assert Session.objects.get().used_at >= session.used_at


@pytest.mark.parametrize("token", ["access", "garbage", "forged", "no id", "odd id"])
def test_only_a_refresh_token_refreshes(client, signed_in, forge, token):
    given = {
        "access": signed_in.access,
        "garbage": "a.b.c",
        "forged": forge(of=signed_in.refresh, key="another key of at least thirty-two characters"),
        "no id": forge(of=signed_in.refresh, jti=None),
        "odd id": forge(of=signed_in.refresh, jti=["x"]),
    }[token]
    answer = post(client, "/auth/refresh", {"refresh_token": given})
    assert refused(answer)
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("given", [5, True, ["x"], "", {"token": "x"}])
def test_a_refresh_token_is_a_text(client, db, given):
    answer = post(client, "/auth/refresh", {"refresh_token": given})
    assert (answer.status_code, answer.json()["field"]) == (422, "refresh_token")


def test_refreshing_ends_with_the_session_the_user_and_the_password(alice):
    one, two, three = (sessions.sign_in(alice, "") for _ in range(3))
    sessions.end_session(sessions.session_of(one.refresh))
    with pytest.raises(authentication.Unauthorized):
        tokens.refresh(one.refresh)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(authentication.Unauthorized):
        tokens.refresh(two.refresh)
    User.objects.filter(pk=alice.pk).update(is_active=True, password="another")
    with pytest.raises(authentication.Unauthorized):
        tokens.refresh(three.refresh)


# ---- The refresh token as a cookie -------------------------------------------------------------------------


@pytest.mark.parametrize("https", [True, False])
def test_the_cookie_is_for_our_pages_only(client, alice, settings, https):
    settings.NETRA_HTTPS = https
    answer = log_in(client, alice, session="cookie")
    assert "refresh_token" not in answer.json()
    cookie = answer.cookies["netra_refresh"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/auth")
    assert cookie["max-age"] == 1_209_600
    assert bool(cookie["secure"]) is https
    assert cookie.value not in answer.content.decode()


def test_registering_gives_the_cookie_too(client, db):
    body = {"email": "ann@example.com", "password": PASSWORD, "session": "cookie"}
    answer = post(client, "/auth/register", body)
    assert "refresh_token" not in answer.json()
    assert sessions.session_of(answer.cookies["netra_refresh"].value)


def test_without_asking_there_is_no_cookie(client, alice):
    assert not log_in(client, alice).cookies


@pytest.mark.parametrize("empty", [True, False])
def test_the_cookie_is_rotated(client, alice, empty):
    spent = log_in(client, alice, session="cookie").cookies["netra_refresh"].value
    if empty:
        answer = client.generic("POST", "/auth/refresh", headers=ORIGIN)
    else:
        answer = post(client, "/auth/refresh", {}, **ORIGIN)
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert authentication.identify(answer.json()["access_token"]).user_id == alice.pk
    assert answer.cookies["netra_refresh"].value != spent
    client.cookies["netra_refresh"] = spent
    assert refused(post(client, "/auth/refresh", {}, **ORIGIN))


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "null", "http://testserver.evil.example", "http://testserver:81"]
)
def test_the_cookie_needs_an_allowed_origin(client, alice, path, origin):
    cookie = log_in(client, alice, session="cookie").cookies["netra_refresh"].value
    answer = post(client, path, {}, **({"Origin": origin} if origin else {}))
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert sessions.session_of(cookie)


def test_the_body_goes_before_the_cookie(client, alice, bob):
    log_in(client, alice, session="cookie")
    theirs = sessions.sign_in(bob, "")
    answer = post(client, "/auth/refresh", {"refresh_token": theirs.refresh})
    assert answer.json()["user"]["id"] == str(bob.pk)
    assert "refresh_token" in answer.json()
    assert not answer.cookies


def test_no_token_at_all_is_unauthorized(client, db):
    assert refused(post(client, "/auth/refresh", {}))
    assert refused(post(client, "/auth/logout", {}, **ORIGIN))
    assert refused(client.generic("POST", "/auth/refresh"))


def test_logging_out_drops_the_cookie(client, alice):
    cookie = log_in(client, alice, session="cookie").cookies["netra_refresh"].value
    answer = post(client, "/auth/logout", {}, **ORIGIN)
    assert answer.status_code == 200
    dropped = answer.cookies["netra_refresh"]
    assert (dropped.value, dropped["max-age"], dropped["path"]) == ("", 0, "/auth")
    with pytest.raises(authentication.Unauthorized):
        sessions.session_of(cookie)


# ---- Sessions and their end --------------------------------------------------------------------------------


def signals(callbacks):
    """(group, message) of what was posted to a user's sockets."""
    return [callback.args for callback in callbacks if callback.args[1]["type"] == "session_ended"]


@pytest.mark.parametrize("by", ["refresh token", "access token"])
def test_logging_out_ends_one_session(client, alice, bob, by, django_capture_on_commit_callbacks):
    here, there, theirs = sessions.sign_in(alice, ""), sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    session = authentication.identify(here.access).session_id
    with django_capture_on_commit_callbacks() as callbacks:
        if by == "refresh token":
            answer = post(client, "/auth/logout", {"refresh_token": here.refresh})
        else:
            answer = client.generic("POST", "/auth/logout", headers=bearer(here.access))
    assert answer.status_code == 200
    assert signals(callbacks) == [(f"user.{alice.pk}", {"type": "session_ended", "session": str(session)})]
    assert refused(client.get("/auth/verify", headers=bearer(here.access)))
    assert refused(post(client, "/auth/refresh", {"refresh_token": here.refresh}))
    assert authentication.identify(there.access)
    assert authentication.identify(theirs.access)


def test_logging_out_goes_by_the_refresh_token_first(client, alice):
    here, there = sessions.sign_in(alice, ""), sessions.sign_in(alice, "")
    post(client, "/auth/logout", {"refresh_token": there.refresh}, **bearer(here.access))
    assert authentication.identify(here.access)
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(there.access)


def test_logging_out_everywhere_ends_all_of_the_users_sessions(client, alice, bob, django_capture_on_commit_callbacks):
    here, there, theirs = sessions.sign_in(alice, ""), sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    with django_capture_on_commit_callbacks() as callbacks:
        answer = post(client, "/auth/logout", {"refresh_token": here.refresh, "everywhere": True})
    assert answer.json() == {"everywhere": True}
    assert signals(callbacks) == [(f"user.{alice.pk}", {"type": "session_ended", "session": None})]
    for signed_in in (here, there):
        assert refused(client.get("/auth/verify", headers=bearer(signed_in.access)))
        assert refused(post(client, "/auth/refresh", {"refresh_token": signed_in.refresh}))
    assert authentication.identify(theirs.access)


def test_everywhere_is_a_boolean(client, signed_in):
    for everywhere in ("true", 1, []):
        answer = post(client, "/auth/logout", {"refresh_token": signed_in.refresh, "everywhere": everywhere})
        assert (answer.status_code, answer.json()["field"]) == (422, "everywhere")
    assert authentication.identify(signed_in.access)


@pytest.mark.parametrize("token", ["access", "garbage", "ended"])
def test_logging_out_takes_a_good_token(client, signed_in, token):
    if token == "ended":
        sessions.end_session(sessions.session_of(signed_in.refresh))
    given = {"access": signed_in.access, "garbage": "a.b.c", "ended": signed_in.refresh}[token]
    assert refused(post(client, "/auth/logout", {"refresh_token": given}))


@pytest.mark.parametrize("change", ["password", "is_active", "deleted", "name"])
def test_sessions_end_with_what_they_stood_on(alice, bob, change, django_capture_on_commit_callbacks):
    ids_of_sessions = {authentication.identify(sessions.sign_in(alice, "").access).session_id for _ in range(2)}
    theirs = authentication.identify(sessions.sign_in(bob, "").access).session_id
    everybody = {*ids_of_sessions, theirs, uuid.uuid4()}
    assert sessions.alive(everybody) == {*ids_of_sessions, theirs}
    group = f"user.{alice.pk}"
    with django_capture_on_commit_callbacks() as callbacks:
        match change:
            case "password":
                alice.set_password("another horse battery")
                alice.save()
            case "is_active":
                alice.is_active = False
                alice.save(update_fields=["is_active"])
            case "deleted":
                User.objects.filter(pk=alice.pk).delete()
            case "name":
                alice.name = "Alicia"
                alice.save()
    if change == "name":
        assert signals(callbacks) == []
        assert sessions.alive(everybody) == {*ids_of_sessions, theirs}
    else:
        assert signals(callbacks) == [(group, {"type": "session_ended", "session": None})]
        assert sessions.alive(everybody) == {theirs}


def test_a_user_made_inactive_behind_our_back_has_no_live_session(alice, django_assert_num_queries):
    session = authentication.identify(sessions.sign_in(alice, "").access).session_id
    User.objects.filter(pk=alice.pk).update(is_active=False)
    with django_assert_num_queries(1):
        assert sessions.alive([session]) == set()


def test_a_session_knows_its_browser(alice):
    sessions.sign_in(alice, "Mozilla\0" + "x" * 1000)
    assert Session.objects.get().user_agent == "Mozilla" + "x" * 293


# ---- The password and the list of sessions -----------------------------------------------------------------

NEW = "another horse battery"


def change(client, access, current=PASSWORD, new=NEW):
    return post(client, "/auth/password", {"current": current, "new": new}, **bearer(access))


def test_a_new_password_ends_the_other_sessions(client, alice, bob, django_capture_on_commit_callbacks):
    here, there, theirs = sessions.sign_in(alice, ""), sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    ids_of_sessions = {
        name: authentication.identify(of.access).session_id for name, of in (("here", here), ("there", there))
    }
    with django_capture_on_commit_callbacks() as callbacks:
        answer = change(client, here.access)
    assert answer.status_code == 200
    assert signals(callbacks) == [
        (f"user.{alice.pk}", {"type": "session_ended", "session": str(ids_of_sessions["there"])})
    ]
    for old in (here, there):
        assert refused(client.get("/auth/verify", headers=bearer(old.access)))
        assert refused(post(client, "/auth/refresh", {"refresh_token": old.refresh}))
    fresh = answer.json()
    assert authentication.identify(fresh["access_token"]).session_id == ids_of_sessions["here"]
    assert post(client, "/auth/refresh", {"refresh_token": fresh["refresh_token"]}).status_code == 200
    assert authentication.identify(theirs.access)
    assert refused(log_in(client, alice))
    assert post(client, "/auth/login", {"email": alice.email, "password": NEW}).status_code == 200


def test_with_a_cookie_the_fresh_refresh_token_is_in_the_cookie(client, alice):
    body = log_in(client, alice, session="cookie").json()
    answer = change(client, body["access_token"])
    assert "refresh_token" not in answer.json()
    assert sessions.session_of(answer.cookies["netra_refresh"].value)
    assert post(client, "/auth/refresh", {}, **ORIGIN).status_code == 200


def test_the_cookie_of_another_session_stays_as_it_is(client, alice, bob):
    log_in(client, bob, session="cookie")
    answer = change(client, sessions.sign_in(alice, "").access)
    assert "refresh_token" in answer.json()
    assert not answer.cookies
    assert post(client, "/auth/refresh", {}, **ORIGIN).json()["user"]["id"] == str(bob.pk)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("current", {"current": "wrong horse battery", "new": NEW}),
        ("current", {"current": f" {PASSWORD}", "new": NEW}),
        ("current", {"new": NEW}),
        ("current", {"current": 5, "new": NEW}),
        ("new", {"current": PASSWORD}),
        ("new", {"current": PASSWORD, "new": "short"}),
        ("new", {"current": PASSWORD, "new": "password123"}),
        ("new", {"current": PASSWORD, "new": "alice@example.com"}),
        ("new", {"current": PASSWORD, "new": "x9" * 513}),
        ("new", {"current": PASSWORD, "new": ["x"]}),
    ],
)
def test_a_password_that_is_not_changed_is_named(client, alice, signed_in, field, body):
    there = sessions.sign_in(alice, "")
    answer = post(client, "/auth/password", body, **bearer(signed_in.access))
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (422, "invalid_message", field)
    for still in (signed_in, there):
        assert authentication.identify(still.access)


def test_of_two_that_change_the_password_at_once_one_wins(alice, signed_in):
    other = User.objects.get(pk=alice.pk)
    session = authentication.identify(signed_in.access).session_id
    sessions.change_password(alice, PASSWORD, NEW, session)
    with pytest.raises(authentication.Unauthorized):
        sessions.change_password(other, PASSWORD, "yet another battery", session)
    assert User.objects.get(pk=alice.pk).check_password(NEW)


def test_my_sessions_are_listed(client, alice, bob, settings):
    here, there, ended, old = (sessions.sign_in(alice, f"browser {n}") for n in range(4))
    sessions.sign_in(bob, "")
    sessions.end_session(sessions.session_of(ended.refresh))
    ids = [authentication.identify(of.access).session_id for of in (here, there)]
    expired = Session.objects.filter(pk=authentication.identify(old.access).session_id)
    expired.update(used_at=expired.get().used_at - settings.SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"])
    Session.objects.filter(pk=ids[0]).update(used_at=Session.objects.get(pk=ids[0]).used_at - timedelta(hours=1))
    listed = client.get("/auth/sessions", headers=bearer(here.access)).json()
    ids_of_sessions = listed.pop("sessions")
    assert listed == {"total_count": 2, "page": 1, "page_size": 50, "has_more": False}
    assert [(shown["id"], shown["current"], shown["user_agent"]) for shown in ids_of_sessions] == [
        (str(ids[1]), False, "browser 1"),
        (str(ids[0]), True, "browser 0"),
    ]
    assert set(ids_of_sessions[0]) == {"id", "current", "user_agent", "created_at", "used_at"}
    assert all(shown[name].endswith("Z") for shown in ids_of_sessions for name in ("created_at", "used_at"))


@pytest.mark.parametrize("which", ["another", "current"])
def test_a_session_can_be_ended_from_the_list(client, alice, which, django_capture_on_commit_callbacks):
    here, there = sessions.sign_in(alice, ""), sessions.sign_in(alice, "")
    ended, kept = (there, here) if which == "another" else (here, there)
    session = str(authentication.identify(ended.access).session_id)
    with django_capture_on_commit_callbacks() as callbacks:
        answer = client.delete(f"/auth/sessions/{session}", headers=bearer(here.access))
    assert (answer.status_code, answer.content) == (204, b"")
    assert signals(callbacks) == [(f"user.{alice.pk}", {"type": "session_ended", "session": session})]
    assert refused(client.get("/auth/verify", headers=bearer(ended.access)))
    again = client.delete(f"/auth/sessions/{session}", headers=bearer(kept.access))
    assert (again.status_code, again.json()["error"]) == (404, "not_found")


def test_another_users_session_is_not_there(client, alice, bob):
    here, theirs = sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    path = f"/auth/sessions/{authentication.identify(theirs.access).session_id}"
    answer = client.delete(path, headers=bearer(here.access))
    missing = client.delete(f"/auth/sessions/{uuid.uuid4()}", headers=bearer(here.access))
    assert (answer.status_code, answer.content) == (missing.status_code, missing.content) == (404, missing.content)
    assert authentication.identify(theirs.access)


# ---- Who am I ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post"])
def test_verify_tells_whose_token_it_is(client, alice, signed_in, method):
    answer = getattr(client, method)("/auth/verify", headers=bearer(signed_in.access))
    exp = jwt.decode(signed_in.access, options={"verify_signature": False})["exp"]
    assert answer.json() == {"valid": True, "user_id": str(alice.pk), "email": alice.email, "exp": exp}


def test_me(client, alice, signed_in):
    answer = client.get("/auth/me", headers=bearer(signed_in.access)).json()
    assert answer.pop("created_at").endswith("Z")
    assert answer.pop("email_verified") is False
    assert answer.pop("groups") == []
    assert answer == {"id": str(alice.pk), "user_id": str(alice.pk), "email": alice.email, "name": "Alice"}


def test_me_names_the_groups_of_the_user_alone(client, alice, bob, signed_in):
    for name, members in (("staff", [alice, bob]), ("finance", [alice]), ("others", [bob])):
        Group.objects.create(name=name).user_set.set(members)
    assert client.get("/auth/me", headers=bearer(signed_in.access)).json()["groups"] == ["finance", "staff"]


def test_me_after_a_provider_or_a_mail_has_shown_whose_the_address_is(client, alice, bob, signed_in):
    set_verified(alice)
    answer = client.get("/auth/me", headers=bearer(signed_in.access)).json()
    assert answer["email_verified"] is True
    alice.email = "alice@elsewhere.example"
    alice.save(update_fields=["email"])
    assert client.get("/auth/me", headers=bearer(signed_in.access)).json()["email_verified"] is False
    assert not is_verified(bob)


def test_my_name_can_be_changed_and_nothing_else(client, alice, signed_in):
    body = json.dumps({"name": "Alicia", "email": "root@example.com", "is_staff": True})
    answer = client.patch("/auth/me", body, content_type="application/json", headers=bearer(signed_in.access))
    assert (answer.json()["name"], answer.json()["email"]) == ("Alicia", "alice@example.com")
    alice.refresh_from_db()
    assert (alice.name, alice.email, alice.is_staff) == ("Alicia", "alice@example.com", False)


@pytest.mark.parametrize("name", [5, None, ["Alice"], "n" * 151])
def test_my_name_is_a_text(client, signed_in, name):
    body = json.dumps({"name": name})
    answer = client.patch("/auth/me", body, content_type="application/json", headers=bearer(signed_in.access))
    assert (answer.status_code, answer.json()["field"]) == (422, "name")


# ---- Requests that are wrong in themselves -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["register", "login", "refresh", "logout"])
@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"email":"a","email":"b"}', 400, "invalid_json"),
        (b'{"email":NaN}', 400, "invalid_json"),
        (b'{"email":"\xff"}', 400, "invalid_json"),
        (b'{"email":"\\ud800"}', 422, "invalid_message"),
        (b'{"password":"a\\u0000b"}', 422, "invalid_message"),
        (b'["email"]', 422, "invalid_message"),
        (b"null", 422, "invalid_message"),
        (b'{"email":"' + b"x" * 70_000 + b'"}', 413, "too_large"),
        (b"x" * 3_000_000, 413, "too_large"),
    ],
)
def test_a_bad_body_is_named(client, db, path, raw, status, error):
    answer = client.post(f"/auth/{path}", raw, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize("path", ["register", "login"])
def test_a_body_is_needed(client, path):
    answer = client.post(f"/auth/{path}", b"", content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_only_json_is_read(client, kind):
    answer = client.post("/auth/login", b'{"email":"a@example.com","password":"x"}', content_type=kind)
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_data")


def test_json_with_a_charset_is_json(client, alice):
    body = json.dumps({"email": alice.email, "password": PASSWORD})
    assert client.post("/auth/login", body, content_type="application/json; charset=utf-8").status_code == 200


def test_a_body_without_a_length_is_read(db):
    async def send():
        async def chunks():
            yield b'["email",'
            yield b"5]"

        transport = httpx.ASGITransport(bodies.bounded(get_asgi_application()))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.post("/auth/login", content=chunks(), headers={"Content-Type": "application/json"})

    answer = async_to_sync(send)()
    assert (answer.status_code, answer.json()["message"]) == (422, "The body must be a JSON object.")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("register", "POST"),
        ("login", "POST"),
        ("refresh", "POST"),
        ("logout", "POST"),
        ("verify", "GET, POST"),
        ("me", "GET, PATCH"),
        ("password", "POST"),
        ("sessions", "GET"),
        (f"sessions/{uuid.UUID(int=0)}", "DELETE"),
    ],
)
def test_other_methods_are_not_allowed(client, signed_in, path, allowed):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        if method not in allowed:
            answer = client.generic(method, f"/auth/{path}", headers=bearer(signed_in.access))
            assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
            assert set(allowed.split(", ")) <= set(answer["Allow"].split(", "))


@pytest.mark.parametrize(
    "way", ["GET verify", "GET me", "POST password", "GET sessions", f"DELETE sessions/{uuid.UUID(int=0)}"]
)
def test_routes_of_a_user_need_a_token(client, db, way):
    method, path = way.split()
    answer = client.generic(method, f"/auth/{path}")
    assert refused(answer)
    assert answer["WWW-Authenticate"] == "Bearer"


def test_no_cookie_of_djangos_signs_anybody_in(alice):
    browser = Client()
    browser.force_login(alice)
    assert refused(browser.get("/auth/me"))


# ---- Start-up checks ---------------------------------------------------------------------------------------


def errors():
    return {error.id for error in run_checks(tags=["security"]) if error.id.startswith("netra.")}


def test_the_settings_that_revocation_needs_are_checked(settings):
    assert errors() == set()
    for name in ("AUDIENCE", "ISSUER", "CHECK_REVOKE_TOKEN"):
        good = settings.SIMPLE_JWT
        settings.SIMPLE_JWT = {key: value for key, value in good.items() if key != name}
        assert len(errors()) == 1
        settings.SIMPLE_JWT = good
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if "blacklist" not in app]
    assert errors() == {"netra.E001"}
