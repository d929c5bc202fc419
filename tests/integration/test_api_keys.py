"""API keys over REST: making, scopes, agents, ends, and what real clients send."""

import json
import logging
import re
import uuid
from base64 import b64encode
from collections import Counter
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.contrib.auth.tokens import default_token_generator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.functions import Now
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from chat import runs
from chat.accounts import api_keys, sessions
from chat.db.access import in_database
from chat.models import ApiKey, AuditRecord, Run, Session, Thread, User
from chat.urls import urlpatterns
from tests.factories import claim_one, completed, message

# A use is written by the thread of chat.db.access, which sees committed rows only.
pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery"
NOWHERE = "00000000-0000-4000-8000-000000000000"


def written():
    """Wait for what is written after the requests."""
    async_to_sync(in_database)(lambda: None)


@pytest.fixture(autouse=True)
def _nothing_left_to_write():
    yield
    written()


@pytest.fixture
def access(alice):
    return sessions.sign_in(alice, "a browser").access


def call(client, method, path, credential, body=None, **headers):
    content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    authorization = {"Authorization": f"Bearer {credential}"} if credential else {}
    return client.generic(method, path, headers={**authorization, **headers}, **content)


@pytest.fixture
def make(client, access):
    """Make a key over REST; its answer."""

    def make(credential=access, **fields):
        answer = call(client, "POST", "/auth/keys", credential, {"name": "cron", **fields})
        assert answer.status_code == 201, answer.content
        return answer.json()

    return make


def is_refused(answer):
    """Tell if it is the answer to a bad token."""
    return (answer.status_code, answer.json()["error"], answer["WWW-Authenticate"]) == (401, "unauthorized", "Bearer")


def is_forbidden(answer):
    return (answer.status_code, answer.json()["error"]) == (403, "forbidden")


# ---- Making, listing, revoking -----------------------------------------------------------------------------


def test_a_made_key_is_shown_once_and_kept_as_its_digest(client, alice, access, make):
    made = make()
    key = made.pop("key")
    assert re.fullmatch(r"netra_[a-zA-Z0-9]{8}_[a-zA-Z0-9]{38}", key)
    row = ApiKey.objects.get()
    assert made["prefix"] == key[:14] == row.prefix
    assert (made["id"], made["name"], made["scopes"], made["agents"]) == (str(row.pk), "cron", ["read", "write"], [])
    assert made["last_used_at"] is None
    assert row.expires_at - row.created_at == pytest.approx(timedelta(days=90), abs=timedelta(minutes=1))
    assert key not in json.dumps([str(value) for value in ApiKey.objects.values_list().get()])
    listed = call(client, "GET", "/auth/keys", access)
    assert listed.json()["keys"] == [made]
    assert row.digest not in listed.content.decode()


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": [{}]}, "scopes"),
        ({"agents": "echo"}, "agents"),
        ({"agents": [5]}, "agents"),
        ({"agents": ["nobody"]}, "agents"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": "3600"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 1.5}, "expires_in"),
        ({"expires_in": 10**18}, "expires_in"),
    ],
)
def test_making_a_key_names_the_bad_field(client, access, fields, bad):
    answer = call(client, "POST", "/auth/keys", access, {"name": "cron", **fields})
    assert (answer.status_code, answer.json()["field"]) == (422, bad)
    assert not ApiKey.objects.exists()


def test_a_key_expires_as_asked_or_never(client, make):
    assert make(expires_in=None)["expires_at"] is None
    short = ApiKey.objects.get(pk=make(expires_in=1)["id"])
    assert short.expires_at - short.created_at == pytest.approx(timedelta(seconds=1), abs=timedelta(seconds=5))
    for key, exp in ((make(expires_in=None), None), (make(), 90 * 86_400)):
        shown = call(client, "GET", "/auth/verify", key["key"]).json()
        assert (shown["valid"], shown["email"]) == (True, "alice@example.com")
        assert (shown["exp"] is None) == (exp is None)


def test_a_user_has_at_most_fifty_live_keys(client, access, make):
    made = [make(name=str(number)) for number in range(50)]
    refused = call(client, "POST", "/auth/keys", access, {"name": "one too many"})
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    assert len(call(client, "GET", "/auth/keys", access).json()["keys"]) == 50
    assert call(client, "DELETE", f"/auth/keys/{made[0]['id']}", access).status_code == 204
    ApiKey.objects.filter(pk=made[1]["id"]).update(expires_at=Now() - timedelta(seconds=1))
    make(), make()
    assert call(client, "POST", "/auth/keys", access, {"name": "one too many"}).status_code == 409


def test_a_revoked_key_is_refused_and_gone_from_the_list(client, access, make):
    made = make()
    assert call(client, "GET", "/api/threads", made["key"]).status_code == 200
    assert call(client, "DELETE", f"/auth/keys/{made['id']}", access).status_code == 204
    assert is_refused(call(client, "GET", "/api/threads", made["key"]))
    assert call(client, "GET", "/auth/keys", access).json()["keys"] == []
    assert call(client, "DELETE", f"/auth/keys/{made['id']}", access).status_code == 404


def test_a_key_of_another_user_is_like_a_missing_one(client, bob, make):
    made, theirs = make(), sessions.sign_in(bob, "").access
    answers = [call(client, "DELETE", f"/auth/keys/{id}", theirs) for id in (made["id"], NOWHERE)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert call(client, "GET", "/auth/keys", theirs).json()["keys"] == []
    assert call(client, "GET", "/api/threads", made["key"]).status_code == 200


# ---- Scopes ------------------------------------------------------------------------------------------------


@pytest.fixture
def answered(alice):
    """A thread of alice's with an answer."""
    accepted = runs.start(alice.id, message("hello"))
    runs.record([completed(claim_one())])
    return accepted


def filled(route, answered):
    """The path of a route below /api, with ids that alice has where there are any."""
    ids = {"thread_id": answered.thread_id, "run_id": answered.run_id}
    return "/" + re.sub(r"<id:(\w+)>", lambda match: str(ids.get(match[1], NOWHERE)), route)


READING = [
    route
    for route in (str(entry.pattern) for entry in urlpatterns)
    if route.startswith("api/")
    and route not in ("api/health", "api/discovery/services", "api/schema", "api/asyncapi", "api/docs")
]
WRITING = [
    ("POST", "/api/threads", {}),
    ("PATCH", "/api/threads/{thread}", {"title": "Mine"}),
    ("DELETE", "/api/threads/{thread}", None),
    ("POST", "/api/threads/{thread}/messages", {"content": "more"}),
    ("POST", "/api/messages", {"content": "more"}),
    ("POST", f"/api/messages/{NOWHERE}/regenerate", {}),
    ("POST", "/api/runs/{run}/cancel", None),
    ("POST", "/api/agents/execute", {"agent": "echo", "content": "more"}),
    ("POST", f"/api/inputs/{NOWHERE}/answer", {"action": "accept"}),
    ("DELETE", f"/api/grants/{NOWHERE}", None),
    ("PUT", f"/api/messages/{NOWHERE}/feedback", {"rating": 1}),
    ("DELETE", f"/api/messages/{NOWHERE}/feedback", None),
    ("POST", f"/api/threads/{NOWHERE}/share", {}),
    ("POST", f"/api/threads/{NOWHERE}/copy", {}),
    ("DELETE", f"/api/shares/{NOWHERE}", None),
    ("POST", "/api/attachments", {}),
]


@pytest.mark.parametrize("route", READING)
@pytest.mark.parametrize("scope", ["read", "write"])
def test_either_scope_reads_what_a_token_reads(client, access, answered, make, route, scope):
    key, path = make(scopes=[scope])["key"], filled(route, answered)
    with_token, with_key = (call(client, "GET", path, credential) for credential in (access, key))
    assert with_key.status_code == with_token.status_code
    assert with_key.content == with_token.content


@pytest.mark.parametrize(("method", "path", "body"), WRITING)
def test_only_the_scope_write_writes(client, alice, answered, make, method, path, body, media_folder):
    path = path.format(thread=answered.thread_id, run=answered.run_id)
    before = Thread.objects.count(), Run.objects.count(), Thread.objects.get().title
    assert is_forbidden(call(client, method, path, make(scopes=["read"])["key"], body, Prefer="respond-async"))
    assert (Thread.objects.count(), Run.objects.count(), Thread.objects.get().title) == before
    answer = call(client, method, path, make(scopes=["write"])["key"], body, Prefer="respond-async")
    assert answer.status_code not in (401, 403)


def test_a_key_with_the_scope_write_asks_and_uploads(client, alice, make, media_folder):
    key = make(scopes=["write"])["key"]
    asked = call(client, "POST", "/api/messages", key, {"content": "hello", "agent": "echo"})
    assert asked.status_code == 202
    assert Run.objects.get().user == alice
    file = SimpleUploadedFile("usage.csv", b"a,b\n1,2\n", "text/csv")
    sent = client.post("/api/attachments", {"file": file}, headers={"Authorization": f"Bearer {key}"})
    assert sent.status_code == 201


# ---- A key never reaches the account -----------------------------------------------------------------------

ACCOUNT = [str(entry.pattern) for entry in urlpatterns if str(entry.pattern).startswith("auth/")]


OPEN = {"auth/verify", "auth/mcp/client.json"}  # the second is of Netra, not of an account


@pytest.mark.parametrize("route", [route for route in ACCOUNT if route not in OPEN])
def test_a_key_is_forbidden_at_the_account(client, alice, make, route):
    key, path = make()["key"], "/" + re.sub(r"<[^>]+>", NOWHERE, route)
    body = {"email": "x@example.com", "password": PASSWORD, "current": PASSWORD, "new": "x", "name": "x"}
    answers = [call(client, method, path, key, body) for method in ("GET", "POST", "PATCH", "DELETE")]
    supported = [answer for answer in answers if answer.status_code != 405]
    assert supported and all(map(is_forbidden, supported))
    assert ApiKey.objects.count() == Session.objects.count() == 1
    alice.refresh_from_db()
    assert (alice.name, alice.check_password(PASSWORD)) == ("Alice", True)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_key_of_either_scope_is_verified(client, make, method):
    assert call(client, method, "/auth/verify", make(scopes=["read"])["key"]).json()["valid"] is True


def test_a_key_opens_neither_the_admin_nor_the_metrics(client, alice, make, settings):
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    key = make()["key"]
    assert call(client, "GET", "/admin/", key).status_code == 302
    assert call(client, "GET", "/metrics", key).status_code == 404
    settings.NETRA_METRICS_TOKEN = "opens-the-figures"
    assert call(client, "GET", "/metrics", key).status_code == 401


# ---- Agents ------------------------------------------------------------------------------------------------


def test_another_agent_is_as_if_it_did_not_exist(client, alice, make):
    key = make(agents=["echo"])["key"]
    assert [agent["name"] for agent in call(client, "GET", "/api/agents", key).json()["agents"]] == ["echo"]
    for path, body in (
        ("/api/messages", {"content": "hello"}),
        ("/api/threads", {}),
        (f"/api/threads/{uuid.uuid4()}/messages", {"content": "hello"}),
        ("/api/agents/execute", {"content": "hello"}),
    ):
        answers = [call(client, "POST", path, key, {**body, "agent": agent}) for agent in ("advisor", "no-such")]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert answers[0].json()["error"] == answers[1].json()["error"] == "unknown_agent"
        assert answers[0].content.replace(b"advisor", b"no-such") == answers[1].content
    assert not Thread.objects.exists()


def test_the_default_of_a_key_is_the_first_of_its_agents(client, alice, make, settings):
    key = make(agents=["echo"])["key"]
    assert next(iter(settings.AGENTS)) != "echo"
    assert call(client, "POST", "/api/messages", key, {"content": "hello"}).status_code == 202
    theirs = runs.create_thread(alice.pk, None, "", "advisor")
    path = f"/api/threads/{theirs.pk}/messages"
    assert call(client, "POST", path, key, {"content": "hello"}).status_code == 202
    assert set(Run.objects.values_list("agent", flat=True)) == {"echo"}


def test_an_answer_of_another_agent_is_regenerated_by_an_own_one(client, alice, make):
    accepted = runs.start(alice.id, message("hello", agent="advisor"))
    runs.record([completed(claim_one())])
    answer = Thread.objects.get(pk=accepted.thread_id).messages.get(role="assistant")
    key, path = make(agents=["echo"])["key"], f"/api/messages/{answer.pk}/regenerate"
    assert call(client, "POST", path, key, {"agent": "advisor"}).json()["error"] == "unknown_agent"
    assert call(client, "POST", path, key, {}).status_code == 202
    assert Run.objects.get(status=Run.QUEUED).agent == "echo"


# ---- Ends --------------------------------------------------------------------------------------------------


def by_expiry(alice, key):
    ApiKey.objects.update(expires_at=Now() - timedelta(seconds=1))


def by_revocation(alice, key):
    api_keys.revoke([key])


def by_deactivation(alice, key):
    alice.is_active = False
    alice.save()


def by_deletion(alice, key):
    alice.delete()


def by_another_secret(alice, key):
    ApiKey.objects.update(digest="0" * 64)


@pytest.mark.parametrize("end", [by_expiry, by_revocation, by_deactivation, by_deletion, by_another_secret])
def test_an_ended_key_is_refused_at_once_and_like_a_bad_token(client, alice, make, end):
    key = make()["key"]
    assert call(client, "GET", "/api/threads", key).status_code == 200
    written()
    end(alice, ApiKey.objects.get())
    refused = call(client, "GET", "/api/threads", key)
    assert is_refused(refused)
    bad_token = call(client, "GET", "/api/threads", "aaaa.bbbb.cccc")
    assert refused.content == bad_token.content


def test_a_new_password_ends_keys_on_demand_only(client, access, make):
    key, new = make()["key"], "another horse battery"
    changed = call(client, "POST", "/auth/password", access, {"current": PASSWORD, "new": new})
    assert changed.status_code == 200
    assert call(client, "GET", "/api/threads", key).status_code == 200
    body = {"current": new, "new": PASSWORD, "keys": True}
    assert call(client, "POST", "/auth/password", changed.json()["access_token"], body).status_code == 200
    assert is_refused(call(client, "GET", "/api/threads", key))


def test_signing_out_everywhere_ends_keys_on_demand_only(client, alice, access, make):
    key = make()["key"]
    assert call(client, "POST", "/auth/logout", access, {"everywhere": True}).status_code == 200
    assert call(client, "GET", "/api/threads", key).status_code == 200
    client.cookies.clear()
    again = sessions.sign_in(alice, "").access
    assert call(client, "POST", "/auth/logout", again, {"everywhere": True, "keys": True}).status_code == 200
    assert is_refused(call(client, "GET", "/api/threads", key))


def test_a_password_reset_by_mail_ends_keys(client, alice, make, settings, mailoutbox):
    settings.NETRA_EMAIL_URL = "smtp://localhost"
    key = make()["key"]
    uid, token = urlsafe_base64_encode(force_bytes(alice.pk)), default_token_generator.make_token(alice)
    form = client.get(f"/reset/{uid}/{token}")
    new = "another horse battery"
    assert client.post(form["Location"], {"new_password1": new, "new_password2": new}).status_code == 302
    assert is_refused(call(client, "GET", "/api/threads", key))
    assert ApiKey.objects.get().revoked_at is not None


# ---- What clients nobody here wrote send -------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {key}"},  # OpenAI, GitHub, Stripe
        {"Authorization": "bearer {key}"},  # Go's oauth2 with a lower-case token type
        {"Authorization": "BEARER {key}"},
        {"Authorization": "Bearer  {key}"},
        {"Authorization": "Bearer {key} "},  # pasted with its trailing blank
        {"Authorization": "Bearer\t{key}\t"},
        {"Authorization": "Bearer {key}", "X-Api-Key": "another"},
        {"Authorization": "Bearer {key}", "OpenAI-Organization": "org-1", "X-Stainless-Lang": "python"},
    ],
)
def test_a_key_is_taken_as_clients_send_it(client, make, headers):
    key = make()["key"]
    given = {name: value.format(key=key) for name, value in headers.items()}
    assert call(client, "GET", "/api/threads", None, **given).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("", {"Authorization": 'Bearer "{key}"'}),  # quotes of a .env file
        ("", {"Authorization": "Bearer '{key}'"}),
        ("", {"Authorization": "Bearer <{key}>"}),  # the manual's brackets
        ("", {"Authorization": "Bearer $NETRA_KEY"}),  # a variable that nothing replaced
        ("", {"Authorization": "Bearer Bearer {key}"}),  # a form that adds the scheme again
        ("", {"Authorization": "Bearer: {key}"}),
        ("", {"Authorization": "{key}"}),  # without a scheme
        ("", {"Authorization": "token {key}"}),  # GitHub's older one
        ("", {"Authorization": "Token {key}"}),  # DRF's
        ("", {"Authorization": "Basic {basic}"}),  # Stripe: the key as the name
        ("", {"Authorization": "Bearer {basic}"}),
        ("", {"Authorization": "Bearer {key},{key}"}),
        ("", {"Authorization": "Bearer {key}."}),  # the end of the sentence
        ("", {"Authorization": "Bearer {short}"}),  # a double click stops at the last underscore, or before
        ("", {"Authorization": "Bearer {upper}"}),
        ("", {"Authorization": "Bearer {typo}"}),
        ("", {"X-Api-Key": "{key}"}),  # Anthropic
        ("", {"Api-Key": "{key}"}),  # Azure
        ("", {"Proxy-Authorization": "Bearer {key}"}),
        ("", {"Cookie": "netra_refresh={key}; api_key={key}"}),
        ("?key={key}", {}),  # Google
        ("?api_key={key}&token={key}&access_token={key}", {}),
    ],
)
def test_a_key_in_another_dress_or_place_is_refused_like_a_bad_token(client, make, path, headers):
    key = make()["key"]
    given = {
        "key": key,
        "basic": b64encode(f"{key}:".encode()).decode(),
        "short": key.rsplit("_", 1)[1],
        "upper": key.upper(),
        "typo": key[:20] + ("a" if key[20] != "a" else "b") + key[21:],
    }
    sent = {name: value.format(**given) for name, value in headers.items()}
    assert is_refused(call(client, "GET", "/api/threads" + path.format(**given), None, **sent))
    written()
    assert ApiKey.objects.get().last_used_at is None


def test_a_mistyped_key_costs_no_query(client, make, django_assert_num_queries):
    key = make()["key"]
    with django_assert_num_queries(0):
        assert is_refused(call(client, "GET", "/api/threads", key[:-1] + ("a" if key[-1] != "a" else "b")))


def test_bad_keys_are_limited_by_address_and_good_ones_are_not(client, make, limited_by):
    good = make()["key"]
    limited_by("redis://127.0.0.1:1/0")  # counted in this process alone
    answers = (call(client, "GET", "/api/threads", api_keys.new_key()) for _ in range(3000))  # some are let in anew
    codes = Counter()
    for limited in answers:
        codes[limited.status_code] += 1
        if limited.status_code == 429:
            break
    assert codes[401] >= 300 and codes[429] == 1
    assert limited.json()["error"] == "rate_limited" and int(limited["Retry-After"]) >= 1
    assert call(client, "GET", "/api/threads", good).status_code == 200


# ---- Use, audit, log ---------------------------------------------------------------------------------------


def test_the_use_of_a_key_is_written_at_most_once_a_minute(client, make):
    key = make()["key"]
    used = []
    for _ in range(3):
        call(client, "GET", "/api/threads", key)
        written()
        used.append(ApiKey.objects.get().last_used_at)
    assert used[0] is not None and len(set(used)) == 1
    ApiKey.objects.update(last_used_at=used[0] - timedelta(seconds=61))
    call(client, "GET", "/api/threads", key)
    written()
    assert ApiKey.objects.get().last_used_at >= used[0]


def test_audit_names_the_prefix_and_the_log_never_the_key(client, alice, access, make, caplog):
    caplog.set_level(logging.DEBUG)
    made = make()
    for _ in range(2):
        call(client, "GET", "/api/threads", made["key"], **{"X-Forwarded-For": "192.0.2.7"})
        written()
    call(client, "GET", "/api/threads", made["key"][:-1] + "_")
    call(client, "DELETE", f"/auth/keys/{made['id']}", access)
    call(client, "GET", "/api/threads", made["key"])
    kinds = ("key_made", "key_used_first", "key_revoked")
    records = AuditRecord.objects.filter(kind__startswith="key_").order_by("pk")
    assert [(one.kind, one.user_id, one.address, one.detail) for one in records] == [
        (kind, alice.pk, "127.0.0.1", made["prefix"]) for kind in kinds
    ]
    assert made["key"][15:] not in caplog.text
    assert made["key"][15:] not in " ".join(str(vars(record)) for record in caplog.records)


def test_staff_see_and_revoke_keys_but_not_the_digest(client, alice, make):
    made = make()
    row = ApiKey.objects.get()
    desk = User.objects.create_superuser("boss@example.com", PASSWORD)
    client.force_login(desk)
    listed = client.get("/admin/chat/apikey/")
    shown = client.get(f"/admin/chat/apikey/{row.pk}/change/")
    for page in (listed, shown):
        assert made["prefix"] in page.content.decode()
        assert row.digest not in page.content.decode()
    client.post("/admin/chat/apikey/", {"action": "revoke", "_selected_action": [str(row.pk)]})
    assert is_refused(call(client, "GET", "/api/threads", made["key"]))
    assert AuditRecord.objects.filter(kind="key_revoked", user=alice, by=desk, detail=row.prefix).count() == 1


def test_staff_who_may_only_look_revoke_nothing(client, bob, make):
    make()
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(bob)
    client.post("/admin/chat/apikey/", {"action": "revoke", "_selected_action": [str(ApiKey.objects.get().pk)]})
    assert ApiKey.objects.get().revoked_at is None
