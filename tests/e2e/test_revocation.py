"""Ends of sessions: each closes the sockets of its session, and no others."""

import httpx
import pytest

from tests import site as sites
from tests.site import WAIT_TIMEOUT


@pytest.fixture(scope="module")
def bob(_site):
    return _site.register("bob")


def again(user):
    """The access token of one more session of the user's."""
    login = {"email": user.email, "password": user.password}
    return httpx.post(user.site.url + "/auth/login", json=login, timeout=WAIT_TIMEOUT).json()["access_token"]


def closed(socket):
    return (socket.closed(), socket.got[-1]) == (4401, {"type": "session_revoked"})


def test_a_new_password_closes_the_sockets_of_the_other_sessions(site, bob):
    user = site.register("changing")
    here, elsewhere, other = user.connect(), user.connect("/ws/legacy", token=again(user)), bob.connect()
    answer = user.http("POST", "/auth/password", {"current": user.password, "new": "another horse battery"})
    assert answer.status_code == 200
    assert closed(elsewhere)
    assert here.silent()
    here.send({"type": "authenticate", "token": answer.json()["access_token"]})
    here.receive("authenticated")
    assert other.silent()


def test_a_session_ended_from_the_list_loses_its_sockets(site, bob):
    user = site.register("listing")
    here, elsewhere = user.connect(), user.connect(token=again(user))
    sessions = user.http("GET", "/auth/sessions").json()["sessions"]
    (session,) = [shown["id"] for shown in sessions if not shown["current"]]
    assert bob.http("DELETE", f"/auth/sessions/{session}").status_code == 404
    assert elsewhere.silent()
    assert user.http("DELETE", f"/auth/sessions/{session}").status_code == 204
    assert closed(elsewhere)
    assert here.silent()


# ---- By staff, and from a shell ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _slow_to_heal(tmp_path_factory):
    """A site whose sockets find out nothing by themselves within the test: what closes one was signalled."""
    never = {"NETRA_RECONCILE_SECONDS": "3600", "NETRA_RECONCILE_ACTIVE_SECONDS": "3600"}
    with sites.running(tmp_path_factory.mktemp("revocation"), workers=0, **never) as found:
        found.shell("User.objects.create_superuser('boss@example.com', 'correct horse battery')")
        yield found


@pytest.fixture
def slow_to_heal(_slow_to_heal):
    yield _slow_to_heal
    _slow_to_heal.close_sockets()


@pytest.fixture(scope="module")
def desk(_slow_to_heal):
    """The admin, as staff have it in a browser: post(path, fields)."""
    with httpx.Client(base_url=_slow_to_heal.url, timeout=WAIT_TIMEOUT) as client:

        def post(path, **fields):
            client.get(path)
            token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
            return client.post(path, data=fields | token, headers={"Referer": _slow_to_heal.url})

        login = post("/admin/login/", username="boss@example.com", password="correct horse battery")
        assert login.status_code == 302
        yield post


def by_password_form(desk, user):
    new = "another horse battery"
    return desk(f"/admin/chat/user/{user.id}/password/", password1=new, password2=new, usable_password="true")


def by_deactivation(desk, user):
    return desk(f"/admin/chat/user/{user.id}/change/", email=user.email, name="", input_mail="others")


def by_deletion(desk, user):
    return desk(f"/admin/chat/user/{user.id}/delete/", post="yes")


def by_sign_out(desk, user):
    return desk("/admin/chat/user/", action="sign_out", _selected_action=user.id)


@pytest.mark.parametrize("way", [by_password_form, by_deactivation, by_deletion, by_sign_out])
def test_staff_end_a_users_sockets(slow_to_heal, desk, way):
    user, other = slow_to_heal.register("user"), slow_to_heal.register("other")
    sockets, theirs = [user.connect(), user.connect("/ws/isolated", token=again(user))], other.connect()
    assert way(desk, user).status_code == 302
    assert all(map(closed, sockets))
    assert theirs.silent()
    assert user.http("GET", "/auth/me").status_code == 401


def test_a_password_changed_from_a_shell_ends_the_sockets(slow_to_heal):
    user, other = slow_to_heal.register("user"), slow_to_heal.register("other")
    socket, theirs = user.connect(), other.connect()
    code = (
        "import getpass; from django.core.management import call_command; "
        "getpass.getpass = lambda prompt: 'another horse battery'; "
        f"call_command('changepassword', '{user.email}')"
    )
    assert slow_to_heal.start("manage.py", "shell", "-v", "0", "-c", code, log="shell").wait() == 0
    assert closed(socket)
    assert theirs.silent()


def test_session_of_a_provider_closes_its_sockets_at_its_end(brisk):
    user, other = brisk.register("user"), brisk.register("other")
    before, theirs = user.connect(), other.connect()
    brisk.shell(
        "from datetime import timedelta; from django.utils import timezone; from chat.models import Session; "
        "given = {'provider': 'corp', 'provider_sub': 'u-1', 'expires_at': timezone.now() + timedelta(seconds=5)}; "
        f"Session.objects.filter(user={user.id}).update(**given)"
    )
    # A token from then on ends with the session, which the socket knows; one of before is found by looking.
    spend = {"refresh_token": user.refresh}
    fresh = httpx.post(f"{brisk.url}/auth/refresh", json=spend, timeout=WAIT_TIMEOUT).json()
    assert fresh["expires_in"] <= 5
    after = user.connect(token=fresh["access_token"])
    assert (before.closed(), after.closed()) == (4401, 4401)
    assert theirs.silent()
    spend = {"refresh_token": fresh["refresh_token"]}
    assert httpx.post(f"{brisk.url}/auth/refresh", json=spend, timeout=WAIT_TIMEOUT).status_code == 401
    assert user.http("GET", "/auth/me").status_code == 401
