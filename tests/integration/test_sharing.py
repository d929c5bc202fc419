"""Shared conversations: links, who reads them, what is on the page and what never is."""

import json
import logging
import re
import uuid
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.utils import timezone

from chat import runs
from chat.accounts import sessions
from chat.models import AuditRecord, Message, Share, User
from chat.runs import retention
from netra.logging import formatter
from tests.factories import claim_one, completed, message, new_worker

NOWHERE = uuid.UUID("00000000-0000-4000-8000-000000000000")


@pytest.fixture
def member(bob):
    return viewing(bob)


def viewing(user):
    """A browser that is signed in."""
    browser = Client()
    token = sessions.sign_in(user, "").access
    done = browser.post("/auth/view", headers={"Authorization": f"Bearer {token}"})
    assert (done.status_code, done.content) == (204, b"")
    return browser


def answered(user, content="What do I pay?", answer="**Too much.**", **fields):
    """Have a question answered; the answer."""
    accepted = runs.start(user.id, message(content, **fields))
    runs.record([completed(claim_one(new_worker()), answer)])
    return Message.objects.get(run=accepted.run_id)


def share(caller, thread_id, **body):
    done = caller.post(f"/api/threads/{thread_id}/share", body, format="json")
    assert done.status_code == 201, done.content
    return done.json()


def path_of(shared):
    return re.sub(r"^https?://[^/]+", "", shared["url"])


def text_of(page):
    return page.content.decode()


# ---- Making, listing, revoking -----------------------------------------------------------------------------


def test_link_shows_the_branch_to_its_message_and_nothing_later(ann, alice, member):
    first = answered(alice, "Question <one>", "Answer one")
    thread_id = first.thread_id
    edited = answered(alice, "Question two", "Answer two", thread_id=thread_id, parent_id=first.id)
    answered(alice, "Question three", "Answer three", thread_id=thread_id, parent_id=first.id)
    whole, part = share(ann, thread_id, message_id=str(edited.id)), share(ann, thread_id, message_id=str(first.id))
    answered(alice, "Question later", "Answer later", thread_id=thread_id, parent_id=edited.id)
    newest = share(ann, thread_id)
    for shared, has, lacks in (
        (whole, ["Question &lt;one&gt;", "Answer one", "Question two", "Answer two"], ["three", "later"]),
        (part, ["Question &lt;one&gt;", "Answer one"], ["two", "three", "later"]),
        (newest, ["Answer one", "Answer two", "Answer later"], ["three"]),
    ):
        page = member.get(path_of(shared))
        assert page.status_code == 200
        assert not [words for words in has if words not in text_of(page)]
        body = text_of(page).partition("<main>")[2]
        assert not [words for words in lacks if words in body.replace("What was said later is not in it.", "")]
    listed = ann.get("/api/shares").json()
    assert [one["id"] for one in listed["shares"]] == [newest["id"], part["id"], whole["id"]]
    assert listed["shares"][2] == whole and listed["total_count"] == 3
    assert set(whole) == {"id", "url", "title", "thread_id", "created_at", "expires_at"}
    assert re.fullmatch(r"https?://[^/]+/s/[\w-]{27}", whole["url"])


def test_page_has_no_id_name_address_thought_tool_or_file(ann, alice, member):
    runs.start(alice.id, message("Ask", client_msg_id="client-id-1"))
    run = claim_one()
    events = [
        {"type": "agent_thinking", "agent_name": run.agent, "text": "secret-thought"},
        {"type": "tool_executing", "agent_name": run.agent, "tool_call_id": "call-9", "tool_name": "secret_tool",
         "parameters": {"a": "secret-parameter"}},
    ]  # fmt: skip
    batch = completed(run, "Said", result={"figure": "secret-result"})
    bodies = [runs.event_log.encode_event(run.thread_id, run.run_id, run.attempt, event) for event in events]
    runs.record([runs.RunBatch(run, [*bodies, *batch.events], batch.end)])
    shared = share(ann, run.thread_id)
    page = member.get(path_of(shared))
    ids = [str(row) for row in Message.objects.values_list("id", flat=True)] + [run.run_id, run.thread_id, shared["id"]]
    for hidden in ["secret", alice.name, alice.email, run.agent, "client-id", *ids]:
        assert str(hidden) not in text_of(page), hidden
    assert Share.objects.get().snapshot == [
        {"role": "user", "content": "Ask"},
        {"role": "assistant", "content": "Said"},
    ]


def test_preview_shows_what_a_link_would_and_makes_none(ann, ben, alice):
    answer = answered(alice)
    path = f"/api/threads/{answer.thread_id}/share"
    preview = ann.get(path).json()
    said = [{"role": "user", "content": "What do I pay?"}, {"role": "assistant", "content": "**Too much.**"}]
    assert (preview["messages"], preview["readers"]) == (said, "members")
    assert ann.get(path, {"message_id": str(answer.run.message_id)}).json()["messages"] == said[:1]
    assert not Share.objects.exists()
    assert ben.get(path).status_code == 404
    assert ann.get(path, {"message_id": "x"}).json()["field"] == "message_id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message_id": "x"}, "message_id"),
        ({"message_id": 5}, "message_id"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": "60"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 1.5}, "expires_in"),
        ({"expires_in": 10**12}, "expires_in"),
    ],
)
def test_bad_request_for_a_link_names_its_field(ann, alice, body, field):
    refused = ann.post(f"/api/threads/{answered(alice).thread_id}/share", body, format="json")
    assert (refused.status_code, refused.json()["error"], refused.json()["field"]) == (422, "invalid_message", field)
    assert not Share.objects.exists()


def test_what_cannot_be_shared_is_refused_with_the_reason(ann, alice, bob, monkeypatch):
    answer, other = answered(alice), answered(alice)
    empty = runs.create_thread(alice.id, None, "", None)
    for thread_id, body, code in (
        (answer.thread_id, {"message_id": str(NOWHERE)}, "not_found"),
        (answer.thread_id, {"message_id": str(other.id)}, "not_found"),
        (answer.thread_id, {"message_id": str(answered(bob).id)}, "not_found"),
        (NOWHERE, {}, "not_found"),
        (empty.id, {}, "conflict"),
    ):
        refused = ann.post(f"/api/threads/{thread_id}/share", body, format="json")
        assert refused.json()["error"] == code
    monkeypatch.setattr("chat.sharing.MAX_SNAPSHOT", 10)
    refused = ann.post(f"/api/threads/{answer.thread_id}/share", {}, format="json")
    assert (refused.status_code, refused.json()["error"]) == (413, "too_large")
    assert not Share.objects.exists()


def test_thread_has_at_most_twenty_live_links(ann, alice):
    thread_id = answered(alice).thread_id
    made = [share(ann, thread_id) for _ in range(20)]
    refused = ann.post(f"/api/threads/{thread_id}/share", {}, format="json")
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    assert share(ann, answered(alice).thread_id)
    assert ann.delete(f"/api/shares/{made[0]['id']}").status_code == 204
    assert share(ann, thread_id)


def test_revoked_link_is_gone_at_once_with_what_it_showed(ann, ben, alice, member):
    shared = share(ann, answered(alice).thread_id)
    path = f"/api/shares/{shared['id']}"
    assert ben.delete(path).status_code == 404
    assert member.get(path_of(shared)).status_code == 200
    assert ann.delete(path).status_code == 204
    assert member.get(path_of(shared)).status_code == 404
    assert ann.delete(path).status_code == 404
    assert ann.get("/api/shares").json()["shares"] == []
    row = Share.objects.get()
    assert (row.title, row.snapshot) == ("", [])
    records = AuditRecord.objects.filter(kind__startswith="share_").order_by("pk")
    assert [(one.kind, one.user_id) for one in records] == [("share_made", alice.id), ("share_revoked", alice.id)]
    assert not [one for one in records if shared["url"].rpartition("/")[2] in one.detail]


def test_links_of_another_user_are_not_listed(ann, ben, alice):
    share(ann, answered(alice).thread_id)
    assert ben.get("/api/shares").json()["shares"] == []


# ---- Who reads ---------------------------------------------------------------------------------------------


def ended(shared, how, ann, alice):
    row = Share.objects.get(pk=shared["id"])
    match how:
        case "revoked":
            ann.delete(f"/api/shares/{row.pk}")
        case "expired":
            Share.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "deleted":
            ann.delete(f"/api/threads/{row.thread_id}")
        case "inactive":
            alice.is_active = False
            alice.save()
        case "erased":
            retention.erase(User.objects.get(pk=alice.pk))
    return path_of(shared)


@pytest.mark.parametrize("how", ["revoked", "expired", "deleted", "inactive", "erased", "wrong", "odd"])
@pytest.mark.parametrize("readers", ["members", "anyone"])
def test_link_that_leads_nowhere_answers_like_any_other(ann, alice, member, settings, how, readers):
    settings.NETRA_SHARE_LINKS = readers
    path = ended(share(ann, answered(alice).thread_id), how, ann, alice)
    path = {"wrong": "/s/" + "A" * 27, "odd": "/s/%00%22%3Cscript%3E"}.get(how, path)
    gone, never = member.get(path), member.get("/s/" + "B" * 27)
    assert gone.status_code == never.status_code == 404
    assert gone.content == never.content
    assert dict(gone.headers) == dict(never.headers)
    assert b"Too much" not in gone.content


def test_link_expires_when_it_was_said_to(ann, alice):
    thread_id = answered(alice).thread_id
    assert share(ann, thread_id)["expires_at"] is None
    shared = share(ann, thread_id, expires_in=3600)
    row = Share.objects.get(pk=shared["id"])
    assert timedelta(minutes=59) < row.expires_at - row.created_at < timedelta(minutes=61)


def test_members_need_a_live_session_and_others_are_sent_to_sign_in(ann, alice, bob, member):
    shared, never = share(ann, answered(alice).thread_id), "/s/" + "A" * 27
    forged = Client()
    forged.cookies["netra_view"] = f"{uuid.uuid4().hex}:abc"
    for browser in (Client(), forged):
        for path in (path_of(shared), never):
            sent = browser.get(path)
            assert (sent.status_code, sent["Location"]) == (302, f"/login?next=%2Fs%2F{path.rpartition('/')[2]}")
            assert sent["Cache-Control"] == "no-store" and not sent.cookies
    assert member.get(path_of(shared)).status_code == 200
    sessions.end_sessions(bob)
    assert member.get(path_of(shared)).status_code == 302
    again = viewing(bob)
    bob.is_active = False
    bob.save()
    assert again.get(path_of(shared)).status_code == 302


def test_anyone_reads_only_where_that_is_set_and_nobody_where_it_is_off(ann, alice, member, settings):
    shared = share(ann, answered(alice).thread_id)
    settings.NETRA_SHARE_LINKS = "anyone"
    assert Client().get(path_of(shared)).status_code == 200
    settings.NETRA_SHARE_LINKS = "off"
    for browser in (Client(), member):
        assert browser.get(path_of(shared)).status_code == 404
    refused = ann.post(f"/api/threads/{shared['thread_id']}/share", {}, format="json")
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert ann.get(f"/api/threads/{shared['thread_id']}/share").status_code == 403
    assert ann.delete(f"/api/shares/{shared['id']}").status_code == 204


def test_cookie_opens_shared_pages_and_nothing_else(alice, settings):
    browser = viewing(alice)
    cookie = browser.cookies["netra_view"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/s", True, "Strict")
    for path in ("/api/threads", "/auth/me", "/api/shares"):
        assert Client(headers={"Cookie": f"netra_view={cookie.value}"}).get(path).status_code == 401
    assert Client().post("/auth/view").status_code == 401
    token = sessions.sign_in(alice, "").access
    headers = {"Authorization": f"Bearer {token}"}
    out = browser.post("/auth/logout", "{}", content_type="application/json", headers=headers)
    assert out.cookies["netra_view"]["max-age"] == 0


# ---- The page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [True, False])
def test_page_has_no_script_and_may_not_be_kept_or_indexed(ann, alice, member, found):
    path = path_of(share(ann, answered(alice).thread_id)) if found else "/s/" + "A" * 27
    for page in (member.get(path), member.head(path)):
        policy = {tuple(part.split()) for part in page["Content-Security-Policy"].split("; ")}
        assert policy == {
            ("default-src", "'none'"), ("style-src", "'self'"), ("frame-ancestors", "'none'"), ("base-uri", "'none'"),
            ("form-action", "'none'"),
        }  # fmt: skip
        assert page["X-Robots-Tag"] == "noindex, nofollow, noarchive"
        assert page["Cache-Control"] == "no-store"
        assert page["Referrer-Policy"] == "no-referrer"
        assert page["X-Content-Type-Options"] == "nosniff"
        assert page["Content-Type"] == "text/html; charset=utf-8"
        assert not page.cookies
    shown = text_of(member.get(path))
    assert '<meta name="robots" content="noindex, nofollow, noarchive">' in shown
    assert "<script" not in shown and " on" not in re.sub(r">[^<]*<", "><", shown) and "style=" not in shown
    assert member.post(path).status_code == 405


class Collected(HTMLParser):
    """Every tag and attribute of a document."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


# From the OWASP and markdown-it collections of attacks, and from reports about viewers of shared chats.
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java&#10;script:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:msgbox(1))",
    "[a](file:///etc/passwd)",
    "[a](//evil.example/x)",
    "[a](/admin/logout/)",
    "[a](http:/\\evil.example)",
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    "<javascript:alert(1)>",
    '<https://ok.example/"onmouseover=alert(1)>',
    '[a](https://ok.example "title\\" onmouseover=\\"alert(1)")',
    "[a]: javascript:alert(1)\n\n[a]",
    '```"><script>alert(1)</script>\nx\n```',
    "<details open><summary><img src=x onerror=alert(1)></summary>\n\nx\n</details>",
    "<sub><script>alert(1)</script></sub>",
    "<kbd onclick=alert(1)>x</kbd>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<base href='https://evil.example/'>",
    "<form action='https://evil.example'><input name=p></form>",
    "| a |\n|:-:|\n| <b style='position:fixed'>x</b> |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<script>alert(1)</script>\u202c",
]


def test_hostile_text_of_either_side_stays_text(ann, alice, member):
    whole = "\n\n".join(HOSTILE)
    page = Collected(text_of(member.get(path_of(share(ann, answered(alice, whole, whole).thread_id)))))
    assert not set(page.tags) & {
        "script",
        "img",
        "iframe",
        "style",
        "base",
        "form",
        "input",
        "object",
        "embed",
    }
    for name, value in page.attributes:
        assert not name.startswith("on") and name not in ("style", "srcdoc", "src", "action")
        if name == "href":
            assert re.match(r"https?://\w|/$|/static/chat/css/\w+\.css$", value), value


def test_answer_is_laid_out_and_links_give_nothing_away(ann, alice, member):
    answer = (
        "# Big\n\nA [link](https://ok.example/a?b=1&c=2), ~~old~~, `code`\nnext line.\n\n"
        "| Model | Cost |\n|:--|--:|\n| gpt-4o | $5 |\n\n"
        "<details><summary>How</summary>\n\n- one\n- two\n</details>\n\n"
        "H<sub>2</sub>O\n\n```python\nprint('<x>')\n```\n\n> quote\n"
    )
    shown = text_of(member.get(path_of(share(ann, answered(alice, "Q", answer).thread_id))))
    for html in (
        '<h3 dir="auto">Big</h3>',
        '<a href="https://ok.example/a?b=1&amp;c=2" rel="nofollow noreferrer">link</a>',
        "<s>old</s>",
        "<code>code</code><br>",
        '<td dir="auto" align="right">$5</td>',
        '<div class="table" tabindex="0">',
        "<details>\n<summary>How</summary>",
        "H<sub>2</sub>O",
        '<code class="language-python">print(',
        "<blockquote>",
    ):
        assert html in shown, html


def test_deep_or_long_text_is_served(ann, alice, member):
    for answer in (">" * 3000 + " deep", "- " * 3000 + "deep", "[" * 5000, "*a " * 20_000, "x" * 60_000, "|" * 5000):
        page = member.get(path_of(share(ann, answered(alice, "Q", answer).thread_id)))
        assert page.status_code == 200


def test_log_has_no_link(ann, alice, caplog):
    caplog.set_level(logging.INFO)
    shared = share(ann, answered(alice).thread_id)
    token = shared["url"].rpartition("/")[2]
    viewing(alice).get(f"/s/{token}x")
    Client().get(f"/s/{token}/more")
    lines = [formatter("json").format(record) for record in caplog.records]
    assert any("/s/*" in line for line in lines)
    assert not [line for line in lines if token in line]


# ---- Staff, and the user's own data ------------------------------------------------------------------------


def test_staff_revoke_links_and_see_none(client, ann, alice, member):
    shared = share(ann, answered(alice).thread_id)
    admin = User.objects.create_superuser("admin@example.com", "correct horse battery")
    client.force_login(admin)
    token = shared["url"].rpartition("/")[2]
    for path in ("/admin/chat/share/", f"/admin/chat/share/{shared['id']}/change/"):
        page = client.get(path)
        assert page.status_code == 200 and token not in text_of(page) and "Too much" not in text_of(page)
    client.post("/admin/chat/share/", {"action": "revoke", "_selected_action": [shared["id"]]})
    assert member.get(path_of(shared)).status_code == 404
    assert AuditRecord.objects.get(kind="share_revoked").by_id == admin.pk


def test_ended_links_are_pruned_and_all_go_with_the_thread(ann, alice):
    thread_id = answered(alice).thread_id
    old, kept = share(ann, thread_id), share(ann, thread_id)
    Share.objects.filter(pk=old["id"]).update(revoked_at=timezone.now() - timedelta(days=100))
    list(retention.prune(timedelta(days=90)))
    assert [str(one.pk) for one in Share.objects.all()] == [kept["id"]]
    assert json.loads(ann.get("/api/shares").content)["total_count"] == 1
