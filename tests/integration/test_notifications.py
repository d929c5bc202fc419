"""Mail about requests. The mails go to Django's own outbox for tests; all else is real."""

import threading
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from chat import runs
from chat.accounts import notifications
from chat.accounts.notifications import send_due
from chat.models import InputRequest, User
from tests import factories
from tests.factories import accept, ask, claim_one, message, waiting


@pytest.fixture(autouse=True)
def set_up(settings):
    settings.NETRA_EMAIL_URL = "smtp://mail.example"
    settings.ALLOWED_ORIGINS = ["https://netra.example"]


@pytest.fixture
def run(alice):
    runs.start(alice.id, message())
    return claim_one()


@pytest.fixture
def finance(bob):
    group = Group.objects.create(name="finance")
    group.user_set.add(bob)
    return group


def wants(user, mails):
    User.objects.filter(pk=user.pk).update(input_mail=mails)


def passes(**span):
    """Let time pass: all that was asked and mailed was so much earlier."""
    for rows in InputRequest.objects.filter(status="open"):
        moved = {"created_at": F("created_at") - timedelta(**span), "expires_at": F("expires_at") - timedelta(**span)}
        InputRequest.objects.filter(pk=rows.pk).update(**moved)
    User.objects.exclude(input_mail_at=None).update(input_mail_at=F("input_mail_at") - timedelta(**span))


def sent():
    """Send what is due: (address, subject) of each mail."""
    mail.outbox.clear()
    assert send_due() == len(mail.outbox)
    return sorted((one.to[0], one.subject) for one in mail.outbox)


ONE = "A request waits for you in Netra"


def test_group_approvers_get_a_mail_after_ten_minutes_and_owners_on_demand(alice, bob, finance, run):
    ask(run, seconds=86_400)
    ask(run, "approval", decided_by="group:finance", seconds=86_400)
    assert sent() == []
    passes(minutes=9)
    assert sent() == []
    passes(minutes=1)
    assert sent() == [(bob.email, ONE)]
    wants(alice, "all")
    assert sent() == [(alice.email, ONE)]
    assert sent() == []
    passes(hours=1)
    assert sent() == [], "once for each request"


def test_the_mail_links_to_the_card_and_has_no_values(alice, bob, finance, run):
    wants(alice, "all")
    secret = {"amount": 5, "note": "hunter2"}
    mine = ask(run, schema={"type": "object", "properties": {"pin": {"type": "string", "default": "4711"}}})
    other = ask(run, "approval", decided_by="group:finance", parameters=secret)
    InputRequest.objects.filter(pk=mine).update(message="Which\r\nBcc: eve@example.com\u202e ?\x07" + "x" * 400)
    passes(minutes=10)
    sent()
    texts = {one.to[0]: one.body for one in mail.outbox}
    assert f"https://netra.example/c/{run.thread_id}\n" in texts[alice.email]
    assert "“Which Bcc: eve@example.com ?xxx" in texts[alice.email]
    assert "x" * 301 not in texts[alice.email]
    assert "https://netra.example/inputs\n" in texts[bob.email]
    assert f"Asked by the agent {run.agent} for Alice. Open until 20" in texts[bob.email]
    for text in texts.values():
        for hidden in ("hunter2", "4711", "amount", str(mine), str(other), "/answer"):
            assert hidden not in text
    assert {one.extra_headers["Auto-Submitted"] for one in mail.outbox} == {"auto-generated"}


def test_a_base_path_is_in_the_link(alice, run, settings):
    settings.NETRA_BASE_PATH = "/netra"
    wants(alice, "all")
    ask(run)
    passes(minutes=10)
    sent()
    assert f"https://netra.example/netra/c/{run.thread_id}\n" in mail.outbox[0].body


@pytest.mark.parametrize("how", ["answered", "expired", "deleted", "left", "inactive", "none", "four eyes"])
def test_who_cannot_decide_gets_no_mail(alice, bob, finance, run, how):
    finance.user_set.add(alice)
    wants(alice, "none")
    request_id = waiting(run, "approval", decided_by="group:finance", four_eyes=how == "four eyes")
    passes(minutes=10)
    match how:
        case "answered":
            accept(bob, request_id)
        case "expired":
            InputRequest.objects.update(expires_at=Now() - timedelta(seconds=1))
        case "deleted":
            runs.delete(alice.id, InputRequest.objects.get().thread_id)
        case "left":
            bob.groups.clear()
        case "inactive":
            User.objects.filter(pk=bob.pk).update(is_active=False)
        case "none":
            wants(bob, "none")
        case "four eyes":
            wants(alice, "all")
    assert sent() == ([(bob.email, ONE)] if how == "four eyes" else [])


def test_many_requests_are_one_mail_at_most_in_ten_minutes(alice, bob, finance, run):
    for _ in range(12):
        ask(run, "approval", decided_by="group:finance", seconds=86_400)
    passes(minutes=10)
    assert sent() == [(bob.email, "12 requests wait for you in Netra")]
    assert "2 more wait: https://netra.example/inputs" in mail.outbox[0].body
    ask(run, "approval", decided_by="group:finance", seconds=86_400)
    passes(minutes=9)
    ask(run, "approval", decided_by="group:finance", seconds=86_400)
    passes(minutes=1)
    assert sent() == [(bob.email, ONE)]
    passes(minutes=9)
    assert sent() == []
    passes(minutes=1)
    assert sent() == [(bob.email, ONE)]


def test_the_expiry_is_announced_an_hour_before(alice, bob, finance, run):
    ask(run, "approval", decided_by="group:finance", seconds=3 * 3600)
    passes(minutes=10)
    assert sent() == [(bob.email, ONE)]
    passes(minutes=109)
    assert sent() == []
    passes(minutes=2)
    assert sent() == [(bob.email, ONE)]
    passes(minutes=30)
    assert sent() == []


def test_a_request_of_an_hour_is_mailed_once(alice, bob, finance, run):
    ask(run, "approval", decided_by="group:finance", seconds=3600)
    passes(minutes=10)
    assert sent() == [(bob.email, ONE)]
    passes(minutes=20)
    assert sent() == []


def test_a_mail_that_could_not_be_sent_is_sent_later(bob, finance, run, monkeypatch, caplog):
    ask(run, "approval", decided_by="group:finance")
    passes(minutes=10)

    def fails(self):
        raise SMTPServerDisconnected(bob.email)

    with monkeypatch.context() as patch:
        patch.setattr(mail.EmailMessage, "send", fails)
        assert sent() == []
    assert bob.email not in caplog.text
    assert sent() == [(bob.email, ONE)]


@pytest.mark.parametrize("error", [SMTPRecipientsRefused({}), SMTPDataError(554, b"no"), UnicodeError("address")])
def test_a_mail_that_is_refused_keeps_no_other_from_being_sent(alice, bob, finance, run, monkeypatch, error):
    finance.user_set.add(alice)
    ask(run, "approval", decided_by="group:finance")
    passes(minutes=10)
    send = mail.EmailMessage.send

    def refuses(self):
        if self.to == [alice.email]:
            raise error
        return send(self)

    monkeypatch.setattr(mail.EmailMessage, "send", refuses)
    assert sent() == [(bob.email, ONE)]
    assert sent() == []


def test_a_user_who_is_erased_while_mail_is_sent_keeps_no_other_from_getting_theirs(
    alice, bob, finance, run, monkeypatch
):
    carol, dave = (User.objects.create_user(email=f"{name}@example.com") for name in ("carol", "dave"))
    finance.user_set.add(carol, dave)
    ask(run, "approval", decided_by="group:finance")
    passes(minutes=10)
    send = mail.EmailMessage.send

    def erases(self):
        User.objects.filter(pk=carol.pk).delete()
        return send(self)

    monkeypatch.setattr(mail.EmailMessage, "send", erases)
    assert sent() == [(bob.email, ONE), (dave.email, ONE)]


@pytest.mark.django_db(transaction=True)
def test_several_workers_send_one_mail(bob, finance, run):
    ask(run, "approval", decided_by="group:finance")
    passes(minutes=10)
    mail.outbox.clear()
    together = threading.Barrier(4)

    def look():
        together.wait()
        send_due()
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.to for one in mail.outbox] == [[bob.email]]


def test_without_a_mail_server_nothing_is_looked_for(settings):
    settings.NETRA_EMAIL_URL = ""
    notifications.run(threading.Event())  # returns


def test_users_choose_their_mail(alice, bob):
    path = "/auth/notifications"
    assert factories.client(alice).get(path).json() == {"input_mail": "others"}
    assert factories.client(alice).patch(path, {"input_mail": "all"}, format="json").json() == {"input_mail": "all"}
    for body in ({"input_mail": True}, {"input_mail": "some"}, {}):
        answer = factories.client(alice).patch(path, body, format="json")
        assert (answer.status_code, answer.json()["field"]) == (422, "input_mail")
    assert factories.client(alice).get(path).json() == {"input_mail": "all"}
    assert factories.client(bob).get(path).json() == {"input_mail": "others"}


def test_the_settings_offer_mail_where_the_site_sends_any(client, settings):
    assert 'id="mail"' in client.get("/settings").content.decode()
    settings.NETRA_EMAIL_URL = ""
    assert 'id="mail"' not in client.get("/settings").content.decode()
