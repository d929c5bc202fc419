"""The admin shows the record, and nobody but staff."""

import io
import re
import uuid
import zipfile

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import admin as desks
from chat import limits, runs
from chat.models import AuditRecord, Event, Message, Run, Session, User
from tests.site import wait_until
from tests.test_runs import claim_one, completed, message

LISTS = ["user", "thread", "message", "run", "event", "session", "worker", "auditrecord", "attachment"]


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
def test_the_record_is_only_read(desk, name, answered):
    assert desk.get(f"/admin/chat/{name}/add/").status_code == 403


def test_a_search_finds_by_id_title_and_user(desk, answered, alice):
    for query in (str(answered.thread_id), "pay", alice.email):
        assert "pay" in desk.get("/admin/chat/thread/", {"q": query}).content.decode()
    assert str(answered.run_id) not in desk.get("/admin/chat/run/", {"q": "bob@example.com"}).content.decode()


def test_runs_can_be_cancelled(desk, alice):
    accepted = runs.start(alice.id, message())
    desk.post("/admin/chat/run/", {"action": "cancel", "_selected_action": [str(accepted.run_id)]})
    assert Run.objects.get().status == Run.CANCELLED


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


def test_it_is_for_staff(client, alice, answered):
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
    """What the admin answers to an action, with the page that follows."""
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
def test_who_may_only_look_does_nothing_to_users(client, alice, bob, action):
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


QUERIES = {"user": 4, "thread": 6, "message": 6, "run": 6, "event": 6, "session": 6, "worker": 5, "auditrecord": 5}


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
    (find,) = [query["sql"] for query in queries if f'FROM "chat_{name}"' in query["sql"] and "LIMIT" in query["sql"]]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {find}")
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
    assert "?o=" not in desk.get(f"/admin/chat/{name}/").content.decode()


@pytest.mark.parametrize(
    ("site_of", "model"), [(desks.EventAdmin, Event), (desks.MessageAdmin, Message), (desks.RunAdmin, Run)]
)
def test_a_search_for_an_id_reads_no_other_rows(rf, admin, site_of, model):
    request = rf.get("/")
    desk = site_of(model, desks.admin.site)
    found, _ = desk.get_search_results(request, desk.get_queryset(request).order_by(), str(uuid.uuid4()))
    plan = found.explain()
    if connection.vendor == "sqlite":
        assert "SEARCH" in plan and "SCAN" not in plan, plan


def test_events_of_a_type_are_looked_for_among_the_last_or_in_what_is_searched_for(desk, answered, alice, monkeypatch):
    monkeypatch.setattr(desks, "RECENT", 3)
    for number in range(3):
        runs.start(alice.id, message(str(number)))
    thread = str(answered.thread_id)
    assert thread not in desk.get("/admin/chat/event/", {"type": "agent_completed"}).content.decode()
    assert "3 events" in desk.get("/admin/chat/event/", {"type": "message_created"}).content.decode()
    found = desk.get("/admin/chat/event/", {"type": "agent_completed", "q": thread}).content.decode()
    assert "1 event" in found and str(answered.run_id) in found


def test_a_list_shows_no_more_than_it_counts(desk, alice, monkeypatch):
    monkeypatch.setattr(desks, "COUNTED", 3)
    for number in range(5):
        runs.start(alice.id, message(str(number)))
    assert "3 messages" in desk.get("/admin/chat/message/").content.decode()


# ---- What runs now ---------------------------------------------------------------------------------------------


@pytest.fixture
def live(desk):
    return lambda: desk.get("/admin/chat/run/live/").content.decode()


def test_the_live_page_shows_runs_workers_and_what_waits(live, alice, django_assert_max_num_queries):
    assert "Nothing runs or waits" in live() and "No worker is running" in live()
    thread = runs.start(alice.id, message("not for the page")).thread_id
    run = claim_one()
    runs.start(alice.id, message("this neither", thread_id=thread))
    with django_assert_max_num_queries(12):
        page = live()
    assert "1 running, 1 waiting" in page
    for shown in ("agent_started", alice.email, str(run.run_id), "host:1"):
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


def test_sockets_are_shown_by_user(watched, settings):
    settings.NETRA_LIMITS, settings.REDIS_URL = True, f"unix://{watched.redis_socket}"
    alice = watched.register("alice")
    sockets = [alice.connect() for _ in range(3)]
    assert limits.sockets_of_users()[int(alice.id)] == 3
    for socket in sockets[1:]:
        socket.close()
    wait_until(lambda: limits.sockets_of_users()[int(alice.id)] == 1, "the others to be told of")


def test_without_redis_the_live_page_shows_no_sockets(live, settings):
    settings.NETRA_LIMITS = True
    assert limits.sockets_of_users() == {}
    assert "None, or not known" in live()
