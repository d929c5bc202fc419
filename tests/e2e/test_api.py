import json
import logging
import sqlite3
import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from chat import protocol, runs
from chat.accounts import sessions
from chat.api import health
from chat.db import search
from chat.db.search import fold
from chat.models import Attachment, Message, Run, Thread, User, Worker
from chat.realtime.channel_layer import PubSubChannelLayer
from chat.runs import RunBatch, RunOutcome, event_log

SOMEBODY = uuid.UUID("00000000-0000-4000-8000-000000000000")  # no row has this id


class Caller:
    """A client that is signed in."""

    def __init__(self, user):
        self.user = user
        self.token = sessions.sign_in(user, "").access
        self.client = Client()

    def __call__(self, method, path, body=None, **headers):
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        return self.client.generic(method, path, raw, content_type="application/json", headers=headers)

    def get(self, path, **headers):
        return self("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self("POST", path, body, **headers)

    def patch(self, path, body=None):
        return self("PATCH", path, body)

    def delete(self, path):
        return self("DELETE", path)

    def say(self, content="hello", **more):
        answer = self.post("/api/messages", {"content": content, **more})
        assert answer.status_code == 202, answer.content
        return answer.json()


@pytest.fixture(autouse=True)
def _quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ann(alice):
    return Caller(alice)


@pytest.fixture
def ben(bob):
    return Caller(bob)


@pytest.fixture
def worker(db):
    id = uuid.uuid4()
    offered = {name: {"description": f"I am {name}", "available": True, "reason": None} for name in ("advisor", "echo")}
    runs.register(id, "here", 1, offered)
    return Worker.objects.get(pk=id)


@pytest.fixture
def play(worker):
    """Play every queued run to its end with this answer; returns the answer's message id (of the last one)."""

    def play(answer="the answer", status="completed", result=None, **extra):
        message_id = None
        for run in runs.claim(worker.id, ["advisor", "echo"], 10):
            message_id = uuid.uuid4()
            event = {"type": f"agent_{status}", "agent_name": run.agent, "status": status, **extra}
            end = RunOutcome("failed", error_code=extra.get("error_code", ""))
            if status == "completed":
                event |= {"final_response": answer, "result": result, "message_id": str(message_id)}
                end = RunOutcome("completed", answer, message_id, usage={"tokens": 3})
            runs.record([RunBatch(run, [event_log.encode_event(run.thread_id, run.run_id, run.attempt, event)], end)])
        return message_id

    return play


def error(answer):
    return answer.status_code, answer.json()["error"]


def bad(answer, field):
    return error(answer) == (422, "invalid_message") and answer.json()["field"] == field


# ---- Every route -------------------------------------------------------------------------------------------

ROUTES = [
    ("GET POST DELETE", "/api/threads"),
    ("GET PATCH DELETE", "/api/threads/{id}"),
    ("GET POST", "/api/threads/{id}/messages"),
    ("GET", "/api/threads/{id}/events"),
    ("GET", "/api/threads/{id}/export"),
    ("GET POST", "/api/messages"),
    ("POST", "/api/messages/{id}/regenerate"),
    ("PUT DELETE", "/api/messages/{id}/feedback"),
    ("GET", "/api/threads/{id}/feedback"),
    ("GET POST", "/api/threads/{id}/share"),
    ("POST", "/api/threads/{id}/copy"),
    ("GET", "/api/shares"),
    ("DELETE", "/api/shares/{id}"),
    ("GET", "/api/chat/messages"),
    ("GET", "/api/runs/{id}"),
    ("POST", "/api/runs/{id}/cancel"),
    ("GET", "/api/agents"),
    ("GET", "/api/agents/status"),
    ("POST", "/api/agents/execute"),
    ("GET", "/api/metrics"),
]
OPEN = ["/health", "/api/health", "/api/discovery/services", "/ws/config", "/api/schema", "/api/asyncapi", "/api/docs"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize(("methods", "path"), ROUTES)
@pytest.mark.parametrize("token", [None, "a.b.c"])
def test_a_route_needs_a_token(client, db, methods, path, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for method in methods.split():
        answer = client.generic(method, path.format(id=SOMEBODY), headers=headers)
        assert error(answer) == (401, "unauthorized")
        assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", OPEN)
def test_an_open_route_does_not_look_at_tokens(client, db, path):
    for headers in ({}, {"Authorization": "Bearer a.b.c"}):
        assert client.get(path, headers=headers).status_code in (200, 503)


@pytest.mark.parametrize(("methods", "path"), [*ROUTES, *(("GET", path) for path in OPEN)])
def test_other_methods_are_not_allowed(ann, methods, path):
    for method in METHODS:
        if method not in methods:
            answer = ann(method, path.format(id=SOMEBODY), {})
            assert error(answer) == (405, "method_not_allowed")
            assert set(methods.split()) <= set(answer["Allow"].split(", ")) <= {*METHODS, "HEAD"} - {method}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/threads/{thread}", None),
        ("PATCH", "/api/threads/{thread}", {"title": "mine"}),
        ("DELETE", "/api/threads/{thread}", None),
        ("GET", "/api/threads/{thread}/messages", None),
        ("GET", "/api/threads/{thread}/events", None),
        ("GET", "/api/threads/{thread}/export", None),
        ("GET", "/api/threads/{thread}/export?format=json", None),
        ("GET", "/api/chat/messages?thread_id={thread}", None),
        ("GET", "/api/messages?thread_id={thread}", None),
        ("POST", "/api/messages/{message}/regenerate", {}),
        ("PUT", "/api/messages/{message}/feedback", {"rating": 1}),
        ("DELETE", "/api/messages/{message}/feedback", None),
        ("GET", "/api/threads/{thread}/feedback", None),
        ("GET", "/api/threads/{thread}/share", None),
        ("POST", "/api/threads/{thread}/share", {}),
        ("POST", "/api/threads/{thread}/copy", {}),
        ("POST", "/api/messages", {"content": "x", "parent_id": "{message}"}),
        ("GET", "/api/runs/{run}", None),
        ("POST", "/api/runs/{run}/cancel", None),
    ],
)
@pytest.mark.parametrize("whose", ["another's", "a deleted thread's"])
def test_what_is_not_there_for_this_user_answers_like_what_never_was(ann, ben, play, method, path, body, whose):
    said = ann.say()
    ids = {"thread": said["thread_id"], "run": said["run_id"], "message": str(play())}
    if whose == "a deleted thread's":
        assert ann.delete(f"/api/threads/{said['thread_id']}").status_code == 204
    caller = ben if whose == "another's" else ann

    def ask(ids):
        filled = json.loads(json.dumps(body).replace("{message}", ids["message"]))
        return caller(method, path.format(**ids), filled)

    answer = ask(ids)
    assert error(answer) == (404, "not_found")
    assert answer.content == ask(dict.fromkeys(ids, str(SOMEBODY))).content
    events = Thread.objects.get(pk=said["thread_id"]).last_seq
    assert events == 3, "nothing was written"


@pytest.mark.parametrize("whose", ["another's", "a deleted thread's"])
def test_nothing_can_be_said_in_a_thread_that_is_not_there_for_this_user(ann, ben, whose):
    thread = ann.say()["thread_id"]
    if whose == "a deleted thread's":
        ann.delete(f"/api/threads/{thread}")
    caller = ben if whose == "another's" else ann
    for path, body in (
        (f"/api/threads/{thread}/messages", {"content": "x"}),
        ("/api/messages", {"content": "x", "thread_id": thread}),
        ("/api/agents/execute", {"content": "x", "agent": "echo", "thread_id": thread}),
    ):
        assert error(caller.post(path, body)) == (404, "not_found")
    assert error(caller.post("/api/threads", {"id": thread})) == (409, "conflict")
    assert Message.objects.count() == 1


def test_lists_and_numbers_are_ones_own(ann, ben, play):
    ann.say("of ann's")
    play()
    assert ann.get("/api/metrics").json()["runs"]["completed"] == 1
    for path, things in [
        ("/api/threads", "threads"),
        ("/api/messages", "messages"),
        ("/api/chat/messages", "messages"),
    ]:
        assert ann.get(path).json()["total_count"] > 0
        assert ben.get(path).json() == {things: [], "total_count": 0, "page": 1, "page_size": 50, "has_more": False}
    assert ben.get("/api/threads?q=ann").json()["threads"] == []
    ann.say()
    assert len(ann.get("/api/agents/status").json()["runs"]) == 1
    assert ben.get("/api/agents/status").json() == {"runs": []}
    none = dict.fromkeys(("queued", "running", "waiting", "completed", "failed", "cancelled"), 0)
    assert ben.get("/api/metrics").json() == {
        "threads": 0,
        "messages": 0,
        "runs": none,
        "tokens": {"input": 0, "output": 0},
        "cost_usd": 0,
    }


@pytest.mark.parametrize(
    "path",
    [
        "/api/threads/{}",
        "/api/threads/{}/messages",
        "/api/threads/{}/events",
        "/api/threads/{}/export",
        "/api/messages/{}/regenerate",
        "/api/runs/{}",
        "/api/runs/{}/cancel",
    ],
)
@pytest.mark.parametrize("id", ["1", "mine", "00000000-0000-4000-8000", "%00", "..%2f..", "'"])
def test_a_malformed_id_is_not_found(ann, path, id):
    assert error(ann.post(path.format(id), {})) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/threads/{id}"),
        ("POST", "/api/threads/{id}/messages"),
        ("POST", "/api/messages"),
        ("POST", "/api/agents/execute"),
    ],
)
@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        (b"", "application/json", (400, "invalid_json")),
        (b"{", "application/json", (400, "invalid_json")),
        (b'{"content":"a","content":"b"}', "application/json", (400, "invalid_json")),
        (b'{"content":1e999}', "application/json", (400, "invalid_json")),
        (b"[" * 100_000, "application/json", (413, "too_large")),
        (b"[" * 10_000, "application/json", (400, "invalid_json")),
        (b'["content"]', "application/json", (422, "invalid_message")),
        (b'"content"', "application/json", (422, "invalid_message")),
        (b'{"content":"\\u0000"}', "application/json", (422, "invalid_message")),
        (b"content=x", "application/x-www-form-urlencoded", (415, "unsupported_data")),
        (b'{"content":"x"}', "text/json", (415, "unsupported_data")),
    ],
)
def test_a_bad_body_is_named(ann, method, path, raw, kind, expected):
    answer = ann.client.generic(
        method, path.format(id=SOMEBODY), raw, content_type=kind, headers={"Authorization": f"Bearer {ann.token}"}
    )
    assert error(answer) == expected
    assert not Thread.objects.exists()


# ---- Threads -----------------------------------------------------------------------------------------------


def test_a_thread_from_its_making_to_its_end(ann):
    made = ann.post("/api/threads", {"title": "Spend", "agent": "echo"})
    assert made.status_code == 201
    thread = made.json()
    assert thread.pop("created_at").endswith("Z")
    assert thread.pop("updated_at").endswith("Z")
    shown = {"object": "thread", "title": "Spend", "agent": "echo", "message_count": 0, "last_seq": 0, "open_inputs": 0}
    shown |= {"seen_seq": 0, "unread": None}
    shown |= {"pinned": False, "archived": False, "temporary": False, "project_id": None}
    assert thread == {"id": thread["id"], **shown}

    path = f"/api/threads/{thread['id']}"
    ann.say(thread_id=thread["id"])
    got = ann.get(path).json()
    assert (got["message_count"], got["last_seq"], got["title"]) == (1, 1, "Spend")
    renamed = ann.patch(path, {"title": " Costs "})
    assert (renamed.status_code, renamed.json()["title"], renamed.json()["last_seq"]) == (200, "Costs", 2)
    whole = ann.get(path).json()
    assert whole.pop("usage")["input_tokens"] == 0
    assert ann.get("/api/threads").json()["threads"] == [whole]

    gone = ann.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert error(ann.delete(path)) == (404, "not_found")
    assert ann.get("/api/threads").json()["total_count"] == 0
    assert error(ann.post("/api/threads", {"id": thread["id"]})) == (409, "conflict")


@pytest.mark.parametrize("body", [None, {}, {"title": None, "agent": None, "id": None}])
def test_a_thread_needs_no_fields(ann, body, settings):
    thread = ann.post("/api/threads", body).json()
    assert (thread["title"], thread["agent"]) == ("", next(iter(settings.AGENTS)))


def test_a_thread_may_have_a_chosen_id(ann):
    id = str(uuid.uuid4())
    assert ann.post("/api/threads", {"id": id}).json()["id"] == id
    answer = ann.post("/api/threads", {"id": id.upper()})
    assert error(answer) == (409, "conflict")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("id", "mine"),
        ("id", "{" + str(SOMEBODY) + "}"),
        ("id", SOMEBODY.hex),
        ("title", 5),
        ("title", ["x"]),
        ("title", "x" * 201),
        ("agent", 5),
        ("agent", "x" * 65),
    ],
)
def test_a_new_threads_fields_are_strict(ann, field, value):
    assert bad(ann.post("/api/threads", {field: value}), field)


def test_a_thread_of_an_unknown_agent(ann):
    answer = ann.post("/api/threads", {"agent": "nobody"})
    assert (*error(answer), answer.json()["field"]) == (422, "unknown_agent", "agent")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": None},
        {"title": ""},
        {"title": "  "},
        {"title": "\u200b\u3164"},
        {"title": 5},
        {"title": "x" * 201},
    ],
)
def test_a_new_title_is_a_text(ann, body):
    thread = ann.post("/api/threads").json()
    assert bad(ann.patch(f"/api/threads/{thread['id']}", body), "title")


def test_the_thread_that_changed_last_is_first(ann):
    first, second, third = (ann.post("/api/threads", {"title": str(n)}).json()["id"] for n in range(3))
    for age, id in enumerate((third, first, second)):
        Thread.objects.filter(pk=id).update(updated_at=Now() - timedelta(hours=age + 1))
    listed = [thread["id"] for thread in ann.get("/api/threads").json()["threads"]]
    assert listed == [third, first, second]
    ann.say(thread_id=second)
    assert ann.get("/api/threads").json()["threads"][0]["id"] == second


def test_a_search_finds_titles_and_messages(ann, play):
    titled = ann.post("/api/threads", {"title": "The GPT-4 bill"}).json()["id"]
    said = ann.say("what of the Embeddings?")["thread_id"]
    play("They cost 100% of 3_4")

    def found(q):
        return {thread["id"] for thread in ann.client.get("/api/threads", {"q": q}, headers=headers).json()["threads"]}

    headers = {"Authorization": f"Bearer {ann.token}"}
    assert found("gpt-4") == {titled}
    assert found("EMBEDDINGS") == {said}
    assert found("100%") == {said}
    assert found("3_4") == {said}
    assert found("%") == {said}
    assert found("3x4") == set()
    assert found(" ") == {titled, said}
    assert bad(ann.get("/api/threads?q=%00"), "q")
    assert bad(ann.get("/api/threads?q=" + "x" * 201), "q")


FOUND = [
    ("übersicht", "Die Übersicht der Kosten"),
    ("ÜBERSICHT", "die übersicht der kosten"),
    ("привет", "ПРИВЕТ, МИР"),
    ("ПрИвЕт", "привет, мир"),
    ("υγεία", "ΥΓΕΊΑ"),
    ("οδοσ", "Η ΟΔΟΣ"),
    ("ΟΔΟΣ", "η οδός είναι οδος"),
    ("STRASSE", "Hauptstraße 1"),
    ("straße", "HAUPTSTRASSE 1"),
    ("straße", "HAUPTSTRAẞE 1"),
    ("istanbul", "İSTANBUL"),
    ("İstanbul", "istanbul"),
    ("ISPARTA", "ısparta"),
    ("ısparta", "ISPARTA"),
    ("caf\u00e9", "CAFE\u0301 au lait"),
    ("cafe\u0301", "Caf\u00e9 au lait"),
    ("e\u0302t", "for\u00eat"),
    ("캘린더", "\u110f\u1162\u11af\u1105\u1175\u11ab\u1103\u1165"),
    ("バス", "ハ\u3099ス"),
    ("バス", "ﾊﾞｽ"),
    ("netra", "Ｎｅｔｒａ"),
    ("ｎｅｔｒａ", "NETRA"),
    ("office", "o\ufb03ce"),
    ("Ω", "5 \u2126"),
    ("ÅNGSTRÖM", "\u212bngstr\u00f6m"),
    ("ǆ", "Ǆ ǅ"),
    ("ԱՐԵՎ", "արեվ"),
    ("გამარჯობა", "ᲒᲐᲛᲐᲠᲯᲝᲑᲐ"),
    ("ꭰ", "Ꭰ"),
    ("𐐨", "𐐀"),
    ("👩‍💻", "with 👩‍💻 at work"),
    ("🚀", "🚀🚀"),
    ("❤", "❤\ufe0f"),
    ("❤\ufe0f", "I ❤ it"),
    ("zusammenarbeit", "Zusammen\u00adarbeit"),
    ("नमस्ते", "नमस्ते दुनिया"),
    ("שָׁלוֹם", "אמר שָׁלוֹם"),
    ("two words", "TWO\u00a0WORDS"),
    ("50%", "50% off"),
    ("a_b", "A_B"),
    ("c:\\dir", "C:\\DIR\\file"),
    ("\\%", "a \\% b"),
    ("'; DROP", "'; drop table"),
    ("%s", "a %S b"),
    ("{0}", "a {0} b"),
]
MISSED = [
    ("ubersicht", "Übersicht"),
    ("a_b", "axb"),
    ("a%b", "a b"),
    ("%", "none here"),
    ("_", "none here"),
    ("\\", "none here"),
    ("*", "none here"),
    ("привет", "прилет"),
    ("é", "e"),
    ("🚀", "🛸"),
]


@pytest.mark.parametrize(("sought", "text", "expected"), [(*one, 1) for one in FOUND] + [(*one, 0) for one in MISSED])
def test_search_folds_case_and_form_of_every_script(ann, ben, sought, text, expected):
    titled = ann.post("/api/threads", {"title": text}).json()["id"]
    said = ann.say(f"before {text} after")["thread_id"]
    ben.say(text)
    answer = ann.client.get("/api/threads", {"q": sought}, headers={"Authorization": f"Bearer {ann.token}"}).json()
    assert {thread["id"] for thread in answer["threads"]} == ({titled, said} if expected else set())


@pytest.mark.parametrize("neighbour", ["", "e", "\u0301", "ß", "…"])
def test_search_finds_every_character_in_each_of_its_forms(ann, neighbour):
    """Strings that PostgreSQL searches before case folding: none of them may hide a match."""
    characters = [chr(code) for code in (*range(0xA0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2190))]
    texts = {c: f"x{c}{neighbour}y" for c in characters if c.isprintable() and not c.isspace()}
    threads = [Thread(user=ann.user, agent="echo", title=text) for text in texts.values()]
    Thread.objects.bulk_create(threads)
    for text in list(texts.values())[::7]:
        forms = {title for title in texts.values() if fold(text) in fold(title)}
        sought = Thread.objects.filter(user=ann.user, title__contains_folded=text)
        assert set(sought.values_list("title", flat=True)) == forms


@pytest.mark.parametrize("most", [0, 1, 1000])
def test_search_finds_the_same_with_and_without_the_index(ann, ben, monkeypatch, most):
    """SQLite's index is asked first; a word of more texts than this is then looked for in the texts themselves."""
    monkeypatch.setattr(search, "MAX_CANDIDATES", most)
    texts = ["Straße nach Köln", "STRASSE", 'say "it"', "abcd xbcde", "abcxbcd", "價格表", "價格", "a%b_c\\d", "👩‍💻👩"]
    threads = {ann.say(text)["thread_id"]: text for text in texts}
    ben.say(" ".join(texts))
    for sought in (
        "strasse",
        "abcd",
        "bcd",
        "價格表",
        "價格",
        "ab",
        '"it"',
        "say it",
        "b_c\\d",
        "👩‍💻👩",
        "STRASSE köln",
    ):
        headers = {"Authorization": f"Bearer {ann.token}"}
        found = ann.client.get("/api/threads", {"q": sought}, headers=headers).json()["threads"]
        words = [search.fold(word.strip('"')) for word in sought.split()]
        held = {id for id, text in threads.items() if all(word in search.fold(text) for word in words)}
        assert {thread["id"] for thread in found} == held, sought


def test_search_looks_through_the_messages_once(ann):
    ann.say("the words")
    with CaptureQueriesContext(connection) as queries:
        assert ann.get("/api/threads?q=words&page_size=1").json()["total_count"] == 1
    looking = [query["sql"] for query in queries if '"folded"' in query["sql"]]
    # The other one looks through the threads of the page alone, for what is shown of them.
    assert len(looking) == 2
    assert sum("title" in sql for sql in looking) == 1


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("python reverse", True),
        ("reverse python", True),
        ("REVERSE blue", True),
        ('"python function"', True),
        ('"function python"', False),
        ("python missing", False),
        ('"', False),
        ("python a b c d e f g h i j", False),
    ],
)
def test_search_finds_threads_that_have_every_word(ann, ben, sought, found):
    thread = ann.post("/api/threads", {"title": "Write me a python function to reverse a string"}).json()["id"]
    ann.say("and make it blue", thread_id=thread)
    ben.say("python reverse blue")
    ann.say("python alone")
    answer = ann.client.get("/api/threads", {"q": sought}, headers={"Authorization": f"Bearer {ann.token}"}).json()
    assert [one["id"] for one in answer["threads"]] == ([thread] if found else [])


def test_search_shows_where_a_word_stands(ann):
    titled = ann.post("/api/threads", {"title": "Prices of gpt-4o"}).json()["id"]
    said = ann.say("x " * 50 + "is GPT-4o\ncheaper" + " y" * 100)
    answer = {one["id"]: one["match"] for one in ann.get("/api/threads?q=gpt-4o").json()["threads"]}
    assert answer[titled] is None
    match = answer[said["thread_id"]]
    assert (match["message_id"], match["text"]) == (said["message_id"], "GPT-4o")
    assert match["before"] == "…" + ("x " * 50 + "is ")[-40:]
    assert match["after"] == (" cheaper" + " y" * 100)[:120] + "…"
    assert "match" not in ann.get("/api/threads").json()["threads"][0]
    (other,) = ann.get("/api/threads?q=ｃｈｅａｐｅｒ").json()["threads"]
    assert (other["match"]["text"], other["match"]["before"]) == ("", "")


def test_lists_come_in_pages(ann):
    ids = [ann.post("/api/threads", {"title": str(n)}).json()["id"] for n in range(5)]
    seen = []
    for number, more in ((1, True), (2, True), (3, False)):
        page = ann.get(f"/api/threads?page={number}&page_size=2").json()
        assert (page["total_count"], page["page"], page["page_size"], page["has_more"]) == (5, number, 2, more)
        seen += [thread["id"] for thread in page["threads"]]
    assert sorted(seen) == sorted(ids)
    after = ann.get("/api/threads?page=4&page_size=2").json()
    assert (after["threads"], after["has_more"]) == ([], False)
    assert ann.get("/api/threads?page=999999999&page_size=100").json()["threads"] == []


@pytest.mark.parametrize("path", ["/api/threads", "/api/messages", "/api/chat/messages", "/api/threads/{id}/messages"])
@pytest.mark.parametrize("field", ["page", "page_size"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "", " 1", "+1", "1e1", "٣", "9" * 30, "0x1"])
def test_a_page_is_a_whole_number(ann, path, field, value):
    thread = ann.say()["thread_id"]
    answer = ann.client.get(path.format(id=thread), {field: value}, headers={"Authorization": f"Bearer {ann.token}"})
    assert bad(answer, field)


def test_a_page_has_at_most_a_hundred(ann):
    assert ann.get("/api/threads?page_size=100").status_code == 200
    assert bad(ann.get("/api/threads?page_size=101"), "page_size")


@pytest.mark.parametrize(("path", "queries"), [("/api/threads", 3), ("/api/threads?q=o", 5), ("/api/messages", 4)])
def test_a_longer_list_takes_no_more_queries(ann, play, path, queries, django_assert_num_queries):
    for count in (1, 5):
        for n in range(count):
            ann.say(f"so {n}")
        play()
        with django_assert_num_queries(queries):
            assert ann.get(path).status_code == 200


# ---- Messages ----------------------------------------------------------------------------------------------


def test_what_is_said_is_accepted_and_listed(ann, play):
    said = ann.say("how much?", client_msg_id="m1")
    assert set(said) == {"thread_id", "message_id", "run_id", "seq", "client_msg_id"}
    assert (said["seq"], said["client_msg_id"]) == (1, "m1")
    answer_id = str(play("five dollars"))
    listed = ann.get(f"/api/threads/{said['thread_id']}/messages").json()
    assert (listed["total_count"], listed["has_more"]) == (2, False)
    question, answer = listed["messages"]
    assert question["created_at"].endswith("Z")
    assert question == {
        "created_at": question["created_at"],
        "id": said["message_id"],
        "thread_id": said["thread_id"],
        "run_id": None,
        "parent_id": None,
        "role": "user",
        "content": "how much?",
        "attachments": [],
        "feedback": None,
    }
    assert (answer["id"], answer["role"], answer["content"]) == (answer_id, "assistant", "five dollars")
    assert (answer["run_id"], answer["parent_id"]) == (said["run_id"], said["message_id"])
    for path in ("/api/messages", "/api/chat/messages"):
        assert ann.get(path).json() == listed
        assert ann.get(f"{path}?thread_id={said['thread_id']}").json() == listed


def test_messages_of_one_thread_or_of_all(ann):
    first, second = ann.say("one"), ann.say("two")
    for path in ("/api/messages", "/api/chat/messages"):
        everything = ann.get(path).json()["messages"]
        assert [message["content"] for message in everything] == ["one", "two"]
        of_one = ann.get(f"{path}?thread_id={second['thread_id']}").json()["messages"]
        assert [message["content"] for message in of_one] == ["two"]
        assert bad(ann.get(f"{path}?thread_id=mine"), "thread_id")
        assert bad(ann.get(f"{path}?thread_id="), "thread_id")
    assert first["thread_id"] != second["thread_id"]


def test_a_message_to_a_thread_by_its_path(ann):
    chosen = str(uuid.uuid4())
    path = f"/api/threads/{chosen}/messages"
    said = ann.post(path, {"content": "x", "agent": "echo"})
    assert (said.status_code, said.json()["thread_id"]) == (202, chosen)
    again = ann.post(path, {"content": "y", "thread_id": chosen})
    assert (again.status_code, again.json()["seq"]) == (202, 2)
    assert bad(ann.post(path, {"content": "z", "thread_id": str(SOMEBODY)}), "thread_id")
    assert Message.objects.count() == 2


@pytest.mark.parametrize("path", ["/api/messages", "/api/threads/{id}/messages", "/api/agents/execute"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("content", None),
        ("content", 5),
        ("content", ""),
        ("content", " \n"),
        ("content", ["x"]),
        ("thread_id", 5),
        ("thread_id", "mine"),
        ("agent", 5),
        ("client_msg_id", 5),
        ("client_msg_id", "x" * 201),
        ("parent_id", "mine"),
        ("attachment_ids", "x"),
        ("attachment_ids", ["x"]),
    ],
)
def test_a_messages_fields_are_strict(ann, path, field, value):
    body = {"content": "x", "agent": "echo"} | {field: value}
    assert bad(ann.post(path.format(id=uuid.uuid4()), body), field)
    assert not Run.objects.exists()


def test_a_message_to_an_unknown_agent(ann):
    assert error(ann.post("/api/messages", {"content": "x", "agent": "nobody"})) == (422, "unknown_agent")


def test_a_message_sent_twice_is_one(ann):
    body = {"content": "x", "client_msg_id": "m1"}
    first = ann.post("/api/messages", body)
    again = ann.post("/api/messages", body)
    by_header = ann.post("/api/messages", {"content": "x"}, **{"Idempotency-Key": "m1"})
    both = ann.post("/api/messages", body, **{"Idempotency-Key": "m1"})
    assert {answer.content for answer in (first, again, by_header, both)} == {first.content}
    assert Run.objects.count() == 1
    other = ann.post("/api/messages", {"content": "y"}, **{"Idempotency-Key": "m1"})
    assert error(other) == (409, "conflict")
    for path in ("/api/messages", f"/api/threads/{SOMEBODY}/messages", f"/api/messages/{SOMEBODY}/regenerate"):
        assert bad(ann.post(path, body, **{"Idempotency-Key": "m2"}), "client_msg_id")
        for key in ("", "x" * 201, "é", "a\x7fb"):
            assert bad(ann.post(path, {"content": "x"}, **{"Idempotency-Key": key}), "client_msg_id")
    assert Run.objects.count() == 1


def test_another_users_key_is_another_key(ann, ben):
    assert ann.say(client_msg_id="m1")["run_id"] != ben.say(client_msg_id="m1")["run_id"]


def test_an_answer_can_be_had_anew(ann, play):
    said = ann.say("how much?")
    answer_id = play("five")
    path = f"/api/messages/{answer_id}/regenerate"
    anew = ann.post(path, None, **{"Idempotency-Key": "r1"})
    assert anew.status_code == 202
    assert anew.json()["message_id"] == said["message_id"]
    assert anew.json()["run_id"] != said["run_id"]
    assert ann.post(path, {"client_msg_id": "r1"}).content == anew.content
    assert error(ann.post(path, {"client_msg_id": "r1", "agent": "echo"})) == (409, "conflict")
    assert error(ann.post(path, {"agent": "nobody"})) == (422, "unknown_agent")
    assert bad(ann.post(path, {"agent": 5}), "agent")
    assert error(ann.post(f"/api/messages/{said['message_id']}/regenerate")) == (404, "not_found")
    play("six")
    listed = ann.get(f"/api/threads/{said['thread_id']}/messages").json()["messages"]
    assert [(message["content"], message["parent_id"]) for message in listed] == [
        ("how much?", None),
        ("five", said["message_id"]),
        ("six", said["message_id"]),
    ]


# ---- Events ------------------------------------------------------------------------------------------------


def test_events_come_as_they_are_stored(ann, play):
    said = ann.say("how much?")
    play("fünf 💶")
    path = f"/api/threads/{said['thread_id']}/events"
    answer = ann.get(path)
    assert answer["Content-Type"] == "application/json"
    log = answer.json()
    assert [event["type"] for event in log["events"]] == ["message_created", "agent_started", "agent_completed"]
    assert [event["seq"] for event in log["events"]] == [1, 2, 3]
    assert log["events"][2]["final_response"] == "fünf 💶"
    assert (log["head"], log["more"]) == (3, False)
    for frame in event_log.replay(ann.user.pk, said["thread_id"], 0, 10).frames:
        assert frame.encode() in answer.content


def test_events_come_in_pieces(ann, play):
    path = f"/api/threads/{ann.say()['thread_id']}/events"
    play()

    def piece(query):
        log = ann.get(path + query).json()
        return [event["seq"] for event in log["events"]], log["head"], log["more"]

    assert piece("?limit=2") == ([1, 2], 3, True)
    assert piece("?after=2&limit=1") == ([3], 3, False)
    assert piece("?after=3") == ([], 3, False)
    assert piece("?after=99") == ([], 3, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("after", "-1"),
        ("after", "x"),
        ("after", ""),
        ("after", "9" * 19),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "1.0"),
    ],
)
def test_a_place_in_the_log_is_a_whole_number(ann, field, value):
    assert bad(ann.get(f"/api/threads/{ann.say()['thread_id']}/events?{field}={value}"), field)


def test_a_thread_without_events_has_an_empty_log(ann):
    thread = ann.post("/api/threads").json()["id"]
    assert ann.get(f"/api/threads/{thread}/events").json() == {"events": [], "head": 0, "more": False}


# ---- Export ------------------------------------------------------------------------------------------------


@pytest.fixture
def branched(ann, play):
    """A thread with a question asked in two ways, the first answered twice; a file came with it."""
    file = Attachment.objects.create(user=ann.user, name="bill.csv", media_type="text/csv", size=1234)
    asked = ann.say("How **much**?", agent="echo", attachment_ids=[str(file.pk)])
    answer_id = play("five")
    ann.post(f"/api/messages/{answer_id}/regenerate")
    play("six")
    ann.say("How little?", thread_id=asked["thread_id"], parent_id=None)
    return asked["thread_id"]


def test_a_thread_can_be_taken_away_to_be_read(ann, branched):
    answer = ann.get(f"/api/threads/{branched}/export")
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="How much.md"'
    assert answer["Cache-Control"] == "no-store"
    times = [message["created_at"] for message in ann.get(f"/api/threads/{branched}/messages").json()["messages"]]
    assert answer.content.decode().split("\n\n") == [
        "# How much?",
        f"## You, {times[0]}",
        "How **much**?",
        "- bill.csv (text/csv, 1,234 bytes)",
        f"## echo, {times[1]}",
        "five",
        f"## echo (another version), {times[2]}",
        "six",
        f"## You (another version), {times[3]}",
        "How little?\n",
    ]
    assert ann.get(f"/api/threads/{branched}/export?format=md").content == answer.content


def test_export_has_a_later_answer_behind_its_message(ann, play):
    asked = ann.say("first?", agent="echo")
    answer_id = play("one")
    ann.say("second?", thread_id=asked["thread_id"])
    play("two")
    ann.post(f"/api/messages/{answer_id}/regenerate")
    play("one again")
    exported = ann.get(f"/api/threads/{asked['thread_id']}/export?format=json").json()["messages"]
    assert [message["content"] for message in exported] == ["first?", "one", "one again", "second?", "two"]


def test_a_thread_can_be_taken_away_as_data(ann, branched):
    answer = ann.get(f"/api/threads/{branched}/export?format=json")
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="How much.json"'
    listed = ann.get(f"/api/threads/{branched}/messages").json()["messages"]
    thread = ann.get(f"/api/threads/{branched}").json()
    del thread["usage"]  # of its runs, which are not taken away
    assert answer.json() == {"thread": thread, "messages": listed}


def test_a_longer_export_takes_no_more_queries(ann, branched, django_assert_num_queries):
    for count in (1, 5):
        for n in range(count):
            ann.say(f"so {n}", thread_id=branched)
        with django_assert_num_queries(4):
            ann.get(f"/api/threads/{branched}/export")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("", 'filename="thread.md"'),
        ("...", 'filename="thread.md"'),
        ('../../etc/"passwd"\r\nX-Evil: 1', 'filename="etc passwd X-Evil 1.md"'),
        ("x" * 200, f'filename="{"x" * 80}.md"'),
        ("Übersicht \u202efdp.exe", "filename*=utf-8''%C3%9Cbersicht%20fdp.exe.md"),
    ],
)
def test_an_exports_name_does_no_harm(ann, title, name):
    thread = ann.post("/api/threads", {"title": title}).json()["id"]
    assert ann.get(f"/api/threads/{thread}/export")["Content-Disposition"] == f"attachment; {name}"


@pytest.mark.parametrize("format", ["", "html", "MD", "json/"])
def test_an_export_has_one_of_two_formats(ann, format):
    assert bad(ann.get(f"/api/threads/{ann.say()['thread_id']}/export?format={format}"), "format")


# ---- Runs and agents ---------------------------------------------------------------------------------------


def test_a_run_from_queued_to_completed(ann, play):
    said = ann.say(agent="echo")
    path = f"/api/runs/{said['run_id']}"
    queued = ann.get(path).json()
    assert queued.pop("created_at").endswith("Z")
    assert queued == {
        "id": said["run_id"],
        "thread_id": said["thread_id"],
        "message_id": said["message_id"],
        "agent": "echo",
        "status": "queued",
        "attempt": 0,
        "error_code": None,
        "usage": {},
        "started_at": None,
        "finished_at": None,
        "waiting_since": None,
        "inputs": [],
    }
    (active,) = ann.get("/api/agents/status").json()["runs"]
    assert (active["run_id"], active["status"]) == (said["run_id"], "queued")
    play()
    done = ann.get(path).json()
    assert (done["status"], done["attempt"], done["usage"]) == ("completed", 1, {"tokens": 3})
    assert done["started_at"] <= done["finished_at"]
    assert ann.get("/api/agents/status").json() == {"runs": []}


def test_a_failed_run_tells_its_code(ann, play):
    said = ann.say()
    play(status="failed", error_code="agent_error", message="no", recoverable=True)
    assert ann.get(f"/api/runs/{said['run_id']}").json()["error_code"] == "agent_error"


def test_a_run_can_be_cancelled_once(ann):
    said = ann.say()
    path = f"/api/runs/{said['run_id']}"
    stopped = ann.post(f"{path}/cancel")
    assert (stopped.status_code, stopped.json()) == (202, {"run_ids": [said["run_id"]]})
    assert ann.get(path).json()["status"] == "cancelled"
    assert ann.post(f"{path}/cancel", {}).json() == {"run_ids": []}
    events = ann.get(f"/api/threads/{said['thread_id']}/events").json()["events"]
    assert [event["type"] for event in events] == ["message_created", "agent_cancelled"]


def test_agents_are_those_of_the_settings_with_the_assistants_behind_the_first(ann, settings):
    settings.AGENTS = {"echo": "agents.echo.echo", "advisor": "agents.advisor.advisor"}
    listed = ann.get("/api/agents").json()["agents"]
    assert [agent["name"] for agent in listed] == ["echo", "assistant", "advisor"]
    for agent in listed:
        assert agent["available"] is False
        assert agent["reason"] == "No worker is running."


def test_an_agent_is_available_where_a_live_worker_offers_it(ann, worker, settings):
    settings.AGENTS = {"advisor": "a.b", "echo": "a.c", "free": "a.d"}
    worker.agents["echo"] |= {"available": False, "reason": "No model is configured."}
    worker.agents["other"] = worker.agents["advisor"]
    worker.save()
    first = {"name": "advisor", "description": "I am advisor", "available": True}
    assert agents_of_settings(ann) == [
        first,
        {"name": "echo", "description": "I am echo", "available": False, "reason": "No model is configured."},
        {"name": "free", "description": "", "available": False, "reason": "No worker executes this agent."},
    ]
    runs.register(uuid.uuid4(), "there", 2, {"echo": {"description": "I too", "available": True, "reason": None}})
    assert agents_of_settings(ann)[1] == {"name": "echo", "description": "I too", "available": True}


def agents_of_settings(ann):
    return [agent for agent in ann.get("/api/agents").json()["agents"] if agent["name"] != "assistant"]


@pytest.mark.parametrize("gone", ["draining", "silent"])
def test_a_worker_that_takes_nothing_offers_nothing(ann, worker, settings, gone):
    if gone == "draining":
        Worker.objects.update(draining=True)
    else:
        Worker.objects.update(heartbeat_at=Now() - timedelta(seconds=settings.NETRA_LEASE_SECONDS + 1))
    assert not any(agent["available"] for agent in ann.get("/api/agents").json()["agents"])
    assert ann.get("/api/health").json()["checks"]["workers"] == "unhealthy"


# ---- Executing ---------------------------------------------------------------------------------------------


def test_executing_waits_for_the_end(ann, play, monkeypatch):
    waits = []

    def while_waiting(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            play("five dollars", result={"total": 5})

    monkeypatch.setattr("chat.api.agents.time.sleep", while_waiting)
    answer = ann.post("/api/agents/execute", {"agent": "echo", "content": "how much?"})
    run = Run.objects.get()
    assert answer.status_code == 200
    assert answer.json() == {
        "run_id": str(run.pk),
        "thread_id": str(run.thread_id),
        "status": "completed",
        "final_response": "five dollars",
        "result": {"total": 5},
    }
    assert waits == sorted(waits)
    assert len(waits) == 3
    assert run.agent == "echo"


def test_executing_tells_of_a_failure(ann, play, monkeypatch):
    failure = {"error_code": "agent_error", "message": "no numbers", "recoverable": True}
    monkeypatch.setattr("chat.api.agents.time.sleep", lambda seconds: play(status="failed", **failure))
    answer = ann.post("/api/agents/execute", {"agent": "echo", "content": "how much?"}).json()
    assert (answer["status"], answer["final_response"], answer["result"]) == ("failed", None, None)
    assert (answer["error_code"], answer["message"]) == ("agent_error", "no numbers")


def test_executing_tells_of_a_cancelled_run(ann, monkeypatch):
    monkeypatch.setattr("chat.api.agents.time.sleep", lambda seconds: runs.cancel(ann.user.pk))
    answer = ann.post("/api/agents/execute", {"agent": "echo", "content": "how much?"}).json()
    assert (answer["status"], answer["final_response"]) == ("cancelled", None)


@pytest.mark.parametrize("prefer", ["respond-async", "wait=10, Respond-Async"])
def test_executing_need_not_wait(ann, prefer):
    answer = ann.post("/api/agents/execute", {"agent": "echo", "content": "x"}, Prefer=prefer)
    run = Run.objects.get()
    assert answer.status_code == 202
    ids = {"run_id": str(run.pk), "thread_id": str(run.thread_id), "message_id": str(run.message_id)}
    assert answer.json() == {**ids, "status": "queued"}


def test_executing_waits_no_longer_than_a_run_may_take(ann, settings):
    settings.NETRA_RUN_TIMEOUT = 0.05
    answer = ann.post("/api/agents/execute", {"agent": "echo", "content": "x"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_executing_names_its_agent(ann):
    assert bad(ann.post("/api/agents/execute", {"content": "x"}), "agent")
    assert error(ann.post("/api/agents/execute", {"content": "x", "agent": "nobody"})) == (422, "unknown_agent")
    assert not Run.objects.exists()


def test_an_execution_asked_twice_is_one(ann, play):
    said = ann.say("x", agent="echo", client_msg_id="e1")
    play("five")
    body = {"agent": "echo", "content": "x"}
    answer = ann.post("/api/agents/execute", body, **{"Idempotency-Key": "e1"}).json()
    assert (answer["run_id"], answer["final_response"]) == (said["run_id"], "five")


# ---- The system --------------------------------------------------------------------------------------------


def test_the_users_numbers(ann, play):
    ann.say()
    play()
    said = ann.say()
    ann.say(thread_id=said["thread_id"])
    runs.cancel(ann.user.pk, uuid.UUID(said["run_id"]))
    assert ann.get("/api/metrics").json() == {
        "threads": 2,
        "messages": 4,
        "runs": {"queued": 1, "running": 0, "waiting": 0, "completed": 1, "failed": 0, "cancelled": 1},
        "tokens": {"input": 0, "output": 0},
        "cost_usd": 0,
    }
    ann.delete(f"/api/threads/{said['thread_id']}")
    assert ann.get("/api/metrics").json()["threads"] == 1


def test_what_the_users_runs_cost(ann, ben, play):
    for usage in (
        {"input_tokens": 1000, "output_tokens": 10, "cost_usd": 0.25},
        {"input_tokens": 1, "cost_usd": None},
        {"input_tokens": "many", "output_tokens": -1, "cost_usd": True, "tokens": 7},
    ):
        said = ann.say()
        play()
        Run.objects.filter(pk=said["run_id"]).update(usage=usage)
    numbers = ann.get("/api/metrics").json()
    assert (numbers["tokens"], numbers["cost_usd"]) == ({"input": 1001, "output": 10}, 0.25)
    assert ben.get("/api/metrics").json()["cost_usd"] == 0


def test_alive(client):
    assert client.get("/health").json() == {"status": "healthy"}
    assert client.head("/health").status_code == 200


def test_ready_names_what_is_missing(client, db, settings):
    answer = client.get("/api/health")
    assert (*error(answer), answer.json()["status"]) == (503, "unavailable", "unhealthy")
    body = answer.json()
    assert body["checks"]["database"] == "healthy"
    assert body["checks"]["workers"] == "unhealthy"
    assert body["details"]["workers"]["reason"] == "No worker is running."
    assert "reason" not in body["details"]["database"]
    assert body["details"]["database"]["duration_ms"] > 0
    assert "workers" in body["message"]
    assert body["version"] == client.get("/api/schema").json()["info"]["version"]
    assert body["uptime_seconds"] > 0


def test_ready_when_nothing_is_missing(client, worker, monkeypatch):
    # Whether a signal comes back is the channel layer's own test; it needs a loop and a Redis.
    monkeypatch.setattr(PubSubChannelLayer, "ping", lambda layer: True)
    answer = client.get("/api/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "healthy"
    assert body["checks"] == dict.fromkeys(("database", "migrations", "channel_layer", "workers"), "healthy")
    assert set(body["details"]) == set(body["checks"])
    assert "reason" not in str(body["details"])
    assert "error" not in body


def test_ready_says_how_long_no_worker_was_heard(client, worker):
    Worker.objects.update(heartbeat_at=Now() - timedelta(seconds=300))
    assert client.get("/api/health").json()["details"]["workers"]["reason"] == "No worker has been heard of for 300 s."
    Worker.objects.update(heartbeat_at=Now(), draining=True)
    assert client.get("/api/health").json()["details"]["workers"]["reason"] == "Every worker is draining."


def test_ready_demands_the_migrations(client, worker, monkeypatch):
    monkeypatch.setitem(health.CHECKS, "migrations", health.MigrationsCheck())
    recorder = MigrationRecorder(connection)
    newest = recorder.migration_qs.filter(app="chat").latest("id").name
    recorder.record_unapplied("chat", newest)
    body = client.get("/api/health").json()
    assert body["checks"]["migrations"] == "unhealthy"
    assert body["details"]["migrations"]["reason"] == "Migrations that are not applied: 1. Run manage.py migrate."
    recorder.record_applied("chat", newest)
    assert client.get("/api/health").json()["checks"]["migrations"] == "healthy"


def broken(*args):
    cause = sqlite3.OperationalError("the database is locked: secret")
    cause.sqlite_errorname = "SQLITE_BUSY"
    raise OperationalError("the database is locked: secret") from cause


def test_a_database_that_does_not_answer_is_unavailable(ann, caplog):
    with connection.execute_wrapper(broken):
        answer = ann.get("/api/threads")
        health = ann.get("/api/health")
        alive = ann.get("/health")
    assert error(answer) == (503, "unavailable")
    assert answer["Retry-After"] == "1"
    assert "secret" not in answer.content.decode() + caplog.text
    assert "unavailable: OperationalError (SQLITE_BUSY) in broken < " in caplog.text
    assert health.status_code == 503
    assert health.json()["checks"]["database"] == "unhealthy"
    assert alive.status_code == 200


def test_services(client, settings):
    services = client.get("/api/discovery/services").json()["services"]
    assert services["websocket"]["url"] == "ws://testserver/ws"
    assert services["api"]["url"] == "http://testserver/api"
    assert client.get(services["health"]["url"].removesuffix("/api/health") + "/health").status_code == 200
    settings.ALLOWED_ORIGINS = ["https://netra.example", "https://testserver"]
    secure = client.get("/api/discovery/services", secure=True).json()["services"]
    assert secure["websocket"]["url"] == "wss://testserver/ws"


@pytest.mark.parametrize("path", ["/api/discovery/services", "/ws/config", "/api/schema", "/api/asyncapi"])
def test_no_address_is_made_of_the_host_that_was_sent(client, path):
    text = client.get(path, headers={"Host": "testserver:6666", "X-Forwarded-Host": "evil.example"}).content.decode()
    assert "6666" not in text
    assert "evil" not in text
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 403


def test_what_a_client_needs_to_connect(client):
    config = client.get("/ws/config").json()
    assert config["url"] == "ws://testserver/ws"
    assert config["paths"] == {
        "main": "/ws",
        "factory": "/ws/factory",
        "isolated": "/ws/isolated",
        "legacy": "/ws/legacy",
        "ai-sdk": "/ws/ai-sdk",
    }
    assert config["subprotocols"] == ["jwt-auth", "jwt.<token>", "bearer.<token>"]
    assert config["heartbeat_interval"] == protocol.HEARTBEAT_INTERVAL
    assert config["authenticate_timeout"] == 10
    first = protocol.connection_established(
        connection_id="", user_id="", mode="", agents=[], server_time=timezone.now()
    )
    assert config["limits"] == json.loads(first)["data"]["limits"]


@pytest.mark.parametrize("path", protocol.MODES)
@pytest.mark.parametrize("method", METHODS)
def test_a_sockets_path_wants_a_socket(path, method):
    answer = Client(enforce_csrf_checks=True).generic(method, path)
    assert answer.status_code == 426
    assert answer["Upgrade"] == "websocket"
    assert answer.json() == protocol.UPGRADE_REQUIRED


def test_the_schema_is_whole(client):
    GENERATOR_STATS.reset()
    answer = client.get("/api/schema")
    assert answer["Content-Type"].startswith("application/json")
    schema = answer.json()
    validate_schema(schema)
    assert not GENERATOR_STATS
    assert {path.format(id=0) for _, path in ROUTES if "{" not in path} <= set(schema["paths"])
    sent = schema["paths"]["/api/messages"]["post"]["requestBody"]["content"]
    assert list(sent) == ["application/json"]
    assert schema["paths"]["/api/threads"]["get"]["security"] == [{"bearer": []}]
    assert schema["paths"]["/auth/login"]["post"]["security"] == [{}]


def test_the_page_of_the_schema_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs").content.decode()
    assert "swagger-ui" in page
    assert "//" not in page
    assert "/api/schema" in client.get("/api/docs?script=").content.decode()


# ---- Errors that come from nowhere in particular -------------------------------------------------------------


UNKNOWN = ["/nowhere", "/api", "/api/", "/api/threads/", "/auth/login/", "/ws/", "/ws/other", "/health/", "/.env"]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("debug", [True, False])
def test_an_unknown_path_is_json(path, debug, settings):
    browser = Client(enforce_csrf_checks=True)
    browser.get("/health")  # the middleware is made before DEBUG changes
    settings.DEBUG = debug
    for method in METHODS:
        assert error(browser.generic(method, path)) == (404, "not_found")


def test_a_foreign_host_is_json(client):
    for path in ("/health", "/ws/config", "/api/threads"):
        assert error(client.get(path, headers={"Host": "evil.example"})) == (403, "forbidden")


def test_a_missing_csrf_token_is_json(db):
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x", "password": "y"})
    assert error(answer) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/", f"/c/{SOMEBODY}", "/login", "/signup"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_a_page_can_only_be_read(path, method):
    answer = Client(enforce_csrf_checks=True).generic(method, path)
    assert error(answer) == (405, "method_not_allowed")
    assert answer["Allow"] == "GET, HEAD"


def test_a_bug_is_json_and_tells_nothing(ann, caplog):
    def bug(*args):
        raise RuntimeError("a secret detail")

    ann.client.raise_request_exception = False
    with connection.execute_wrapper(bug), caplog.at_level(logging.ERROR):
        answer = ann.get("/api/threads")
    assert error(answer) == (500, "internal_error")
    assert "secret" not in answer.content.decode()
    assert "a secret detail" in caplog.text


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "nonsense"])
def test_the_answer_is_json_whatever_is_accepted(ann, accept):
    for path in ("/api/threads", "/api/threads?format=html", "/api/schema"):
        answer = ann.get(path, Accept=accept)
        assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (200, "application/json")


def test_answers_are_not_kept_by_caches(ann):
    for path in ("/api/threads", "/auth/me", f"/api/runs/{SOMEBODY}"):
        assert ann.get(path)["Cache-Control"] == "no-store"


def test_an_inactive_user_gets_nothing(ann):
    User.objects.filter(pk=ann.user.pk).update(is_active=False)
    assert error(ann.get("/api/threads")) == (401, "unauthorized")
