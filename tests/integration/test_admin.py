"""The admin: reads threads, runs and events, for staff only."""

import io
import json
import re
import threading
import uuid
import zipfile
from urllib.parse import urlencode

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chat import runs
from chat.admin import filters, records
from chat.limits.connections import open_sockets
from chat.models import AuditRecord, Event, InputRequest, Message, Run, Session, User
from chat.runs import retention
from tests.factories import ask, claim_one, completed, frames, message, types

LISTS = [
    "user",
    "thread",
    "message",
    "run",
    "event",
    "session",
    "worker",
    "auditrecord",
    "attachment",
    "inputrequest",
    "apikey",
    "feedback",
    "share",
]


@pytest.fixture
def admin(db):
    return User.objects.create_superuser("admin@example.com", "correct horse battery")


@pytest.fixture
def desk(client, admin):
    client.force_login(admin)
    return client


@pytest.fixture
def answered(alice):
    accepted = runs.start(alice.id, message("What do I <b>pay</b>?"))
    runs.record([completed(claim_one(), "Too much.")])
    return accepted


@pytest.mark.parametrize("name", LISTS)
def test_every_list_opens_with_constant_queries(desk, answered, alice, name, django_assert_max_num_queries):
    for number in range(10):
        runs.start(alice.id, message(str(number)))
    with django_assert_max_num_queries(10):
        page = desk.get(f"/admin/chat/{name}/")
    assert page.status_code == 200
    assert "<b>pay" not in page.content.decode()


@pytest.mark.parametrize("name", LISTS[1:])
def test_admin_shows_threads_runs_and_events_read_only(desk, name, answered):
    assert desk.get(f"/admin/chat/{name}/add/").status_code == 403


def test_a_search_finds_by_id_title_and_user(desk, answered, alice):
    for query in (str(answered.thread_id), "pay", alice.email):
        assert "pay" in desk.get("/admin/chat/thread/", {"q": query}).content.decode()
    assert str(answered.run_id) not in desk.get("/admin/chat/run/", {"q": "bob@example.com"}).content.decode()


def test_search_of_every_list_folds_the_case_of_every_script(desk, alice):
    alice.name = "Łukasz Straße"
    alice.save()
    runs.start(alice.id, message("Die ÜBERSICHT"))
    for name, query in (("message", "übersicht"), ("thread", "übersicht"), ("user", "łukasz STRASSE")):
        assert "1 result" in desk.get(f"/admin/chat/{name}/", {"q": query}).content.decode()
        assert "0 results" in desk.get(f"/admin/chat/{name}/", {"q": f"{query}%"}).content.decode()


def test_runs_can_be_cancelled(desk, alice):
    accepted = runs.start(alice.id, message())
    desk.post("/admin/chat/run/", {"action": "cancel", "_selected_action": [str(accepted.run_id)]})
    assert Run.objects.get().status == Run.CANCELLED
    assert json.loads(Event.objects.latest("seq").frame)["stopped_by"] == "administrator"


def test_a_user_can_be_signed_out_everywhere(desk, alice, bob):
    for user in (alice, alice, bob):
        Session.objects.create(user=user)
    desk.post("/admin/chat/user/", {"action": "sign_out", "_selected_action": [str(alice.id)]})
    assert set(Session.objects.filter(ended_at=None).values_list("user__email", flat=True)) == {bob.email}


def test_a_user_can_be_added(desk):
    password = "a long enough passphrase"
    form = {"email": "Carol@Example.com", "name": "", "password1": password, "password2": password}
    assert desk.post("/admin/chat/user/add/", form).status_code == 302
    assert User.objects.get(email__iexact="carol@example.com").check_password(password)


def test_admin_refuses_users_who_are_no_staff(client, alice, answered):
    client.force_login(alice)
    for name in LISTS:
        page = client.get(f"/admin/chat/{name}/")
        assert page.status_code == 302
        assert "/admin/login/" in page["Location"]


def test_a_user_goes_with_all_that_is_theirs(desk, answered, alice, bob):
    Session.objects.create(user=alice)
    runs.start(bob.id, message("mine"))
    asked = desk.get(f"/admin/chat/user/{alice.id}/delete/").content.decode()
    assert alice.email in asked
    assert "pay" not in asked, "what they said is nobody's to read here"
    assert desk.post(f"/admin/chat/user/{alice.id}/delete/", {"post": "yes"}).status_code == 302
    assert set(Run.objects.values_list("user__email", flat=True)) == {bob.email}
    assert not User.objects.filter(pk=alice.id).exists()


def done(desk, model, action, *objects):
    """Return the admin's answer to an action, with the page that follows."""
    chosen = [str(one.pk) for one in objects]
    return desk.post(f"/admin/chat/{model}/", {"action": action, "_selected_action": chosen}, follow=True)


def test_a_run_that_has_ended_can_be_run_again(desk, answered, alice):
    first = Run.objects.get()
    page = done(desk, "run", "again", first)
    second = Run.objects.exclude(pk=first.pk).get()
    assert str(second.pk) in page.content.decode()
    assert (second.status, second.message_id, second.agent) == (Run.QUEUED, first.message_id, first.agent)
    assert "has not ended" in done(desk, "run", "again", second).content.decode()
    runs.record([completed(claim_one(), "Too much, still.")])
    answers = Message.objects.filter(parent=first.message_id).values_list("content", flat=True)
    assert set(answers) == {"Too much.", "Too much, still."}
    runs.delete(alice.id, answered.thread_id)
    assert "There is no such thread" in done(desk, "run", "again", second).content.decode()
    assert Run.objects.count() == 2


def test_a_user_can_be_deactivated(desk, alice, bob):
    Session.objects.create(user=alice)
    done(desk, "user", "deactivate", alice)
    assert set(User.objects.filter(is_active=False)) == {alice}
    assert not Session.objects.filter(ended_at=None).exists()


def test_a_user_s_data_can_be_taken_along(desk, answered, alice, bob):
    answer = done(desk, "user", "export", alice)
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as found:
        assert any(b"Too much." in found.read(name) for name in found.namelist())
    assert AuditRecord.objects.filter(user=alice.id, detail="export").count() == 1
    assert "Choose one user" in done(desk, "user", "export", alice, bob).content.decode()


@pytest.mark.parametrize("action", ["sign_out", "deactivate", "export"])
def test_admin_view_permission_offers_no_action_on_users(client, alice, bob, action):
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client.force_login(bob)
    Session.objects.create(user=alice)
    page = done(client, "user", action, alice)
    assert not page.streaming
    assert Session.objects.filter(ended_at=None).exists()
    assert User.objects.get(pk=alice.pk).is_active


# ---- Many rows -------------------------------------------------------------------------------------------------


QUERIES = {"user": 4, "thread": 6, "message": 6, "run": 7, "event": 6, "session": 6, "worker": 5, "auditrecord": 5}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("q", ["", "pay", "no such word", "11111111-1111-4111-8111-111111111111"])
def test_a_list_or_a_search_asks_few_times_and_only_once_for_what_matches(desk, answered, alice, name, q):
    """The staff's session and self, a savepoint, an audit record, what matches, and the rows of one page of it."""
    for number in range(10):
        runs.start(alice.id, message(f"pay {number}"))
    with CaptureQueriesContext(connection) as queries:
        assert desk.get(f"/admin/chat/{name}/", {"q": q} if q else {}).status_code == 200
    asked = [query["sql"] for query in queries]
    assert len(asked) <= QUERIES.get(name, 6), asked
    for query in asked:
        assert "COUNT(" not in query and "DISTINCT" not in query, query


@pytest.mark.parametrize("name", ["message", "run", "event"])
def test_a_large_list_is_read_in_the_order_of_an_index(desk, answered, name):
    """Sorting takes longer with every row that there is."""
    with CaptureQueriesContext(connection) as queries:
        desk.get(f"/admin/chat/{name}/")
    finds = [query["sql"] for query in queries if f'FROM "chat_{name}"' in query["sql"] and "LIMIT" in query["sql"]]
    assert finds
    for find in finds if connection.vendor == "sqlite" else ():
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {find}")
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
    assert "?o=" not in desk.get(f"/admin/chat/{name}/").content.decode()


@pytest.mark.parametrize(
    ("site_of", "model"), [(records.EventAdmin, Event), (records.MessageAdmin, Message), (records.RunAdmin, Run)]
)
def test_a_search_for_an_id_reads_no_other_rows(rf, admin, site_of, model):
    request = rf.get("/")
    desk = site_of(model, django_admin.site)
    found, _ = desk.get_search_results(request, desk.get_queryset(request).order_by(), str(uuid.uuid4()))
    plan = found.explain()
    if connection.vendor == "sqlite":
        assert "SEARCH" in plan and "SCAN" not in plan, plan


def test_events_of_a_type_are_looked_for_among_the_last_or_in_what_is_searched_for(desk, answered, alice, monkeypatch):
    monkeypatch.setattr(filters, "MAX_SEARCHED_EVENTS", 3)
    for number in range(3):
        runs.start(alice.id, message(str(number)))
    thread = str(answered.thread_id)
    assert thread not in desk.get("/admin/chat/event/", {"type": "agent_completed"}).content.decode()
    assert "3 events" in desk.get("/admin/chat/event/", {"type": "message_created"}).content.decode()
    found = desk.get("/admin/chat/event/", {"type": "agent_completed", "q": thread}).content.decode()
    assert "1 event" in found and str(answered.run_id) in found


def test_a_list_shows_no_more_than_it_counts(desk, alice, monkeypatch):
    monkeypatch.setattr(filters, "MAX_COUNTED_ROWS", 3)
    for number in range(5):
        runs.start(alice.id, message(str(number)))
    assert "3 messages" in desk.get("/admin/chat/message/").content.decode()


# ---- Live runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def live(desk):
    return lambda: desk.get("/admin/chat/run/live/").content.decode()


def test_the_live_page_shows_runs_workers_and_what_waits(live, alice, django_assert_max_num_queries):
    assert "No active runs" in live() and "No worker is running" in live()
    thread = runs.start(alice.id, message("not for the page")).thread_id
    run = claim_one()
    runs.start(alice.id, message("this neither", thread_id=thread))
    with django_assert_max_num_queries(12):
        page = live()
    assert "1 running, 1 queued" in page
    for shown in ("begins", alice.email, str(run.run_id), "host:1"):
        assert shown in page
    assert "not for the page" not in page
    for number in range(10):
        runs.start(alice.id, message(str(number)))
    with django_assert_max_num_queries(12):
        live()


def test_the_live_page_refreshes_itself_without_a_script(live):
    page = live()
    assert '<meta http-equiv="refresh"' in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style| style=| on\w+=", page)


def test_a_run_is_stopped_from_the_live_page(desk, live, alice):
    accepted = runs.start(alice.id, message())
    assert str(accepted.run_id) in live()
    desk.post("/admin/chat/run/live/", {"run": str(accepted.run_id)})
    assert Run.objects.get().status == Run.CANCELLED
    assert AuditRecord.objects.filter(user=alice.id, detail=f"cancel run {accepted.run_id}").count() == 1
    assert desk.post("/admin/chat/run/live/", {"run": "x"}).status_code == 403


def test_the_live_page_is_for_staff_who_may_see_runs_and_stopping_for_who_may_change_them(client, alice, bob):
    accepted = runs.start(alice.id, message())
    bob.is_staff = True
    bob.save()
    client.force_login(alice)
    assert client.get("/admin/chat/run/live/").status_code == 302
    client.force_login(bob)
    assert client.get("/admin/chat/run/live/").status_code == 403
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    page = client.get("/admin/chat/run/live/").content.decode()
    assert str(accepted.run_id) in page and "Stop" not in page
    client.post("/admin/chat/run/live/", {"run": str(accepted.run_id)})
    assert Run.objects.get().status == Run.QUEUED


def test_without_redis_the_live_page_shows_no_sockets(live, settings):
    settings.NETRA_RATE_LIMITS = True
    assert open_sockets() == {}
    assert "None, or unknown" in live()


# ---- The last administrator ----------------------------------------------------------------------------------

LAST = "the last active superuser"
LEAVING = [{"is_active": False}, {"is_superuser": False}, {"is_staff": False}]


def saved(desk, user, **changes):
    """Return the change form's answer, with the page that follows."""
    fields = {
        name: getattr(user, name) for name in ("email", "name", "input_mail", "is_active", "is_staff", "is_superuser")
    }
    form = {name: value for name, value in (fields | changes).items() if value is not False}
    return desk.post(f"/admin/chat/user/{user.pk}/change/", form, follow=True).content.decode()


def rights(user):
    return User.objects.values_list("is_active", "is_staff", "is_superuser").get(pk=user.pk)


@pytest.mark.parametrize("change", LEAVING)
def test_change_form_of_the_last_administrator_is_refused(desk, admin, alice, change):
    page = saved(desk, admin, name="Renamed", **change)
    assert LAST in page
    assert rights(admin) == (True, True, True)
    assert User.objects.get(pk=admin.pk).name == "", "nothing of the form is taken"
    assert LAST not in saved(desk, admin, name="Renamed")
    assert LAST not in saved(desk, alice, is_active=False)
    assert rights(alice) == (False, False, False)
    second = User.objects.create_superuser("second@example.com", "correct horse battery")
    assert LAST not in saved(desk, admin, **change)
    client = type(desk)()
    client.force_login(second)
    assert LAST in saved(client, second, **change), "now it is the last one"


@pytest.mark.parametrize("lacking", [*LEAVING, {"password": "!unusable"}])
def test_change_form_counts_only_those_who_can_sign_in_to_the_admin(desk, admin, lacking):
    other = User.objects.create_superuser("second@example.com", "correct horse battery")
    User.objects.filter(pk=other.pk).update(**lacking)
    assert LAST in saved(desk, admin, is_active=False)
    assert rights(admin) == (True, True, True)


@pytest.mark.parametrize("action", ["deactivate", "delete_selected"])
def test_action_on_all_administrators_is_refused_as_a_whole(desk, admin, alice, action):
    second = User.objects.create_superuser("second@example.com", "correct horse battery")
    everybody = {"action": action, "_selected_action": [str(user.pk) for user in (alice, admin, second)], "post": "yes"}
    page = desk.post("/admin/chat/user/", everybody, follow=True).content.decode()
    assert LAST in page
    assert "eactivated: " not in page
    assert "uccessfully" not in page
    assert User.objects.filter(is_active=True).count() == 3
    assert not AuditRecord.objects.filter(kind__in=("admin_acted", "admin_deleted", "deactivated", "deleted")).exists()
    some = {"action": action, "_selected_action": [str(user.pk) for user in (alice, second)], "post": "yes"}
    assert LAST not in desk.post("/admin/chat/user/", some, follow=True).content.decode()
    assert list(User.objects.filter(is_active=True)) == [admin]


@pytest.mark.parametrize("post", [{}, {"post": "yes"}])
def test_deletion_of_the_last_administrator_is_refused(desk, admin, post):
    path = f"/admin/chat/user/{admin.pk}/delete/"
    page = desk.post(path, post, follow=True) if post else desk.get(path, follow=True)
    assert LAST in page.content.decode()
    assert rights(admin) == (True, True, True)


def test_password_of_the_last_administrator_cannot_be_taken_away(desk, admin, alice):
    form = {"usable_password": "false", "unset-password": "1"}
    page = desk.post(f"/admin/chat/user/{admin.pk}/password/", form, follow=True)
    assert LAST in page.content.decode()
    admin.refresh_from_db()
    assert admin.check_password("correct horse battery")
    desk.post(f"/admin/chat/user/{alice.pk}/password/", form, follow=True)
    alice.refresh_from_db()
    assert not alice.has_usable_password()


def test_last_administrator_is_kept_by_the_model_too(admin, alice, bob):
    second = User.objects.create_superuser("second@example.com", "correct horse battery")
    for going in (User.objects.filter(is_superuser=True), User.objects.all()):
        with pytest.raises(ValidationError, match=LAST), transaction.atomic():
            going.delete()
    assert User.objects.count() == 4
    second.delete()
    admin.is_active = False
    for fields in (None, ["is_active"], ["name", "is_active"]):
        with pytest.raises(ValidationError, match=LAST):
            admin.save(update_fields=fields)
    admin.save(update_fields=["name"])
    with pytest.raises(ValidationError, match=LAST):
        retention.erase(admin)
    with pytest.raises(CommandError, match=LAST):
        call_command("erase_user", admin.email, no_input=True)
    admin.refresh_from_db()
    with pytest.raises(ValidationError, match=LAST):
        admin.delete()
    assert rights(admin) == (True, True, True)
    User.objects.filter(pk__in=(alice.pk, bob.pk)).delete()
    User.objects.filter(pk=admin.pk).update(is_superuser=False)  # SQL by hand is the way out
    admin.delete()
    assert not User.objects.exists()


@pytest.fixture
def clerk(db, client):
    """Return the client of staff with all permissions on users who are no superuser, and that user."""
    user = User.objects.create_user("clerk@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="chat", content_type__model="user"))
    client.force_login(user)
    return client, user


def test_staff_who_are_no_superusers_give_no_rights(clerk, alice):
    client, user = clerk
    for changed in (user, alice):
        rights_before = rights(changed)
        page = saved(client, changed, is_staff=True, is_superuser=True, user_permissions=["1"], name="Changed")
        assert "was changed successfully" in page
        changed.refresh_from_db()
        assert (rights(changed), changed.name) == (rights_before, "Changed")
    assert alice.user_permissions.count() == 0


@pytest.mark.parametrize("way", ["change", "password", "delete", "deactivate", "delete_selected", "sign_out", "export"])
def test_staff_who_are_no_superusers_do_nothing_to_a_superuser(clerk, admin, alice, way):
    client, _ = clerk
    if way in ("change", "password", "delete"):
        path = f"/admin/chat/user/{admin.pk}/{way}/"
        form = {"post": "yes", "password1": "another battery", "password2": "another battery", "email": admin.email}
        assert client.post(path, form).status_code == 403
    else:
        chosen = [str(admin.pk)] if way == "export" else [str(alice.pk), str(admin.pk)]
        form = {"action": way, "_selected_action": chosen, "post": "yes"}
        page = client.post("/admin/chat/user/", form, follow=True).content.decode()
        assert "Only a superuser can do this to a superuser." in page
    admin.refresh_from_db()
    assert admin.check_password("correct horse battery")
    assert User.objects.filter(is_active=True).count() == 3
    assert not AuditRecord.objects.filter(kind__in=("admin_acted", "admin_deleted", "deactivated")).exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_administrators_who_demote_each_other_at_once_one_stays():
    both = [User.objects.create_superuser(f"{name}@example.com", "correct horse battery") for name in ("one", "two")]
    clients, start, pages = [], threading.Barrier(2), []
    for user in both:
        client = Client()
        client.force_login(user)
        clients.append(client)

    def demote(client, other):
        start.wait()
        try:
            pages.append(saved(client, other, is_superuser=False))
        finally:
            connection.close()

    threads = [threading.Thread(target=demote, args=pair) for pair in zip(clients, reversed(both), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert User.objects.filter(is_superuser=True, is_active=True, is_staff=True).count() == 1
    assert len(pages) == 2


@pytest.fixture
def waiting(alice):
    runs.start(alice.id, message())
    run = claim_one()
    request_id = ask(run, "approval")
    runs.suspend(run, [str(request_id)], {})
    return run, request_id


@pytest.mark.parametrize(("action", "status"), [("decline", "declined"), ("cancel", "cancelled")])
def test_staff_resolve_a_request_with_a_reason(desk, admin, alice, waiting, action, status):
    run, request_id = waiting
    chosen = {"action": action, "_selected_action": [str(request_id)]}
    desk.post("/admin/chat/inputrequest/", chosen)
    assert InputRequest.objects.get().status == "open"
    page = desk.post("/admin/chat/inputrequest/", {**chosen, "reason": "too late"}, follow=True)
    assert "Resolved: 1." in page.content.decode()
    row = InputRequest.objects.get()
    assert (row.status, row.via, row.comment, row.resolved_by) == (status, "admin", "too late", admin)
    assert Run.objects.get().status == Run.QUEUED
    assert types(run.thread_id)[-1] == "input_resolved"
    record = AuditRecord.objects.get(kind="input_resolved")
    assert (record.user_id, record.by_id) == (alice.id, admin.id)


def test_staff_without_the_permission_resolve_nothing(client, waiting):
    staff = User.objects.create_user("staff@example.com", "correct horse battery", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_inputrequest"))
    client.force_login(staff)
    chosen = {"action": "decline", "_selected_action": [str(waiting[1])], "reason": "x"}
    page = client.post("/admin/chat/inputrequest/", chosen, follow=True)
    assert "You may not answer requests." in page.content.decode()
    assert InputRequest.objects.get().status == "open"


def accept_page(desk, request_id, **form):
    path = f"/admin/chat/inputrequest/{request_id}/accept/"
    return desk.post(path, form, follow=True) if form else desk.get(path)


def test_staff_accept_in_place_of_the_user_and_are_named(desk, admin, alice, waiting):
    run, request_id = waiting
    assert f"{request_id}/accept/" in desk.get(f"/admin/chat/inputrequest/{request_id}/change/").content.decode()
    page = accept_page(desk, request_id).content.decode()
    assert f"You answer for {alice.email}, as staff." in page
    assert "&quot;amount&quot;: 5" in page
    read = AuditRecord.objects.filter(kind="admin_read", user_id=alice.id, detail=f"input request {request_id}")
    assert read.count() == 2
    for wrong in ({"values": '{"amount": 4}'}, {"values": "{", "reason": "x"}, {"values": "[1]", "reason": "x"}):
        assert "errorlist" in accept_page(desk, request_id, **wrong).content.decode()
    assert InputRequest.objects.get().status == "open"
    assert "Accepted." in accept_page(desk, request_id, values='{"amount": 4}', reason="agreed").content.decode()
    row = InputRequest.objects.get()
    assert (row.status, row.via, row.comment, row.resolved_by) == ("accepted", "admin", "agreed", admin)
    assert row.edited_parameters == {"amount": 4}
    assert frames(run.thread_id)[-1]["resolved_by"]["user_id"] == str(admin.id)
    assert "already" in accept_page(desk, request_id, values="{}", reason="again").content.decode()
    assert AuditRecord.objects.get(kind="input_resolved").by_id == admin.id


def test_staff_accept_parameters_that_are_too_large_to_be_sent_back(desk, alice):
    """A form is sent URL-encoded, and a body above 64 KiB is refused."""
    runs.start(alice.id, message())
    request_id = ask(claim_one(), "approval", parameters={"text": "ü" * 20_000})
    page = accept_page(desk, request_id)
    field = page.context["form"]["values"]
    body = urlencode({"values": field.value(), "reason": "agreed"})
    path = f"/admin/chat/inputrequest/{request_id}/accept/"
    answer = desk.post(path, body, content_type="application/x-www-form-urlencoded", follow=True)
    assert "Accepted." in answer.content.decode()
    row = InputRequest.objects.get()
    assert (row.status, row.edited_parameters) == ("accepted", None)
    assert "Empty: the parameters as proposed." in page.content.decode()


def test_staff_fill_in_a_form_by_its_rules(desk, alice):
    runs.start(alice.id, message())
    request_id = ask(claim_one())
    page = accept_page(desk, request_id, values='{"value": 5}', reason="x").content.decode()
    assert "content.value must be a text" in page
    accept_page(desk, request_id, values='{"value": "words"}', reason="x")
    assert InputRequest.objects.get().content == {"value": "words"}


def test_four_eyes_hold_for_staff_too(desk, admin):
    Group.objects.create(name="finance").user_set.add(User.objects.create_user("carol@example.com"))
    runs.start(admin.id, message())
    request_id = ask(claim_one(), "approval", decided_by="group:finance", four_eyes=True)
    page = accept_page(desk, request_id, values='{"amount": 5}', reason="mine").content.decode()
    assert "Somebody else must decide this." in page
    assert InputRequest.objects.get().status == "open"


def test_accepting_needs_the_permission(client, waiting):
    staff = User.objects.create_user("staff@example.com", "correct horse battery", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_inputrequest"))
    client.force_login(staff)
    change = client.get(f"/admin/chat/inputrequest/{waiting[1]}/change/").content.decode()
    assert "/accept/" not in change
    assert accept_page(client, waiting[1]).status_code == 403
    assert accept_page(client, waiting[1], values="{}", reason="x").status_code == 403
    assert InputRequest.objects.get().status == "open"


def test_requests_are_filtered_by_tool_and_user(desk, alice, bob, waiting):
    runs.start(bob.id, message())
    ask(claim_one(), "approval", tool_name="wipe")
    for query, shown, hidden in (
        ("tool=refund", alice, bob),
        ("tool=wipe", bob, alice),
        (f"user={alice.email}", alice, bob),
    ):
        page = desk.get(f"/admin/chat/inputrequest/?{query}").content.decode()
        rows = page.partition('id="result_list"')[2].partition("</table>")[0]
        assert shown.email in rows and hidden.email not in rows


def test_the_live_page_lists_waiting_runs_apart(live, alice, waiting):
    page = live()
    assert "0 running, 0 queued; 1 waiting for a person" in page
    rows = page[page.index("Runs that wait for a person") : page.index("<h2>Workers")]
    assert alice.email in rows and str(waiting[0].run_id) in rows
    assert "No active runs." in page
