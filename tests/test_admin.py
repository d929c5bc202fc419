"""The admin shows the record, and nobody but staff."""

import pytest

from chat import runs
from chat.models import Run, Session, User
from tests.test_runs import claim_one, completed, message

LISTS = ["user", "thread", "message", "run", "event", "session", "worker"]


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
