"""Staff and providers: connections and rules of groups in the admin, the command of groups, resets, figures."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from prometheus_client import REGISTRY

from chat.accounts import sessions
from chat.models import AuditRecord, GroupPolicy, Session, Thread, User
from tests.sign_ins import SQUATTED, left_of_squatter, squat
from tests.site import wait_until

PASSWORD = "correct horse battery"


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss@example.com", PASSWORD)


@pytest.fixture
def desk(boss):
    client = Client()
    client.force_login(boss, "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def connection(alice):
    sessions.sign_in(alice, "", sessions.Provided("corp", "u-1", ""))
    return SocialAccount.objects.create(user=alice, provider="corp", uid="u-1", extra_data={"iss": "x"})


def act(client, account):
    form = {"action": "disconnect", "_selected_action": [account.pk]}
    return client.post("/admin/socialaccount/socialaccount/", form, follow=True)


def test_admin_shows_connections_and_disconnects_them(desk, boss, connection, alice):
    sessions.sign_in(alice, "")
    assert b"u-1" in desk.get("/admin/socialaccount/socialaccount/").content
    page = desk.get(f"/admin/chat/user/{alice.pk}/change/").content.decode()
    assert re.search(r"password, corp \(last \d\d/\d\d/\d{4}\)", page)
    act(desk, connection)
    assert not SocialAccount.objects.exists()
    assert Session.objects.filter(ended_at=None).get().provider == "", "the session of the password goes on"
    record = AuditRecord.objects.get(kind="provider_disconnected")
    assert (record.user, record.by, record.detail) == (alice, boss, "corp")


def test_admin_lets_a_superuser_alone_disconnect_a_superuser(boss):
    staff = User.objects.create_user("staff@example.com", PASSWORD, is_staff=True)
    names = ("view_socialaccount", "delete_socialaccount", "change_grouppolicy", "view_grouppolicy")
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(staff, "django.contrib.auth.backends.ModelBackend")
    account = SocialAccount.objects.create(user=boss, provider="corp", uid="boss", extra_data={})
    assert "Only a superuser can do this" in act(client, account).content.decode()
    assert SocialAccount.objects.exists()
    assert client.get("/admin/chat/grouppolicy/").status_code == 403


def test_admin_has_no_applications_tokens_or_addresses():
    assert not any(admin.site.is_registered(model) for model in (SocialApp, SocialToken, EmailAddress))


@pytest.mark.parametrize(("claims", "good"), [('["/eng"]', True), ('{"a": 1}', False), ("[5]", False), ('[""]', False)])
def test_admin_takes_a_list_of_texts_for_claims(desk, claims, good):
    group = Group.objects.create(name="engineers")
    desk.post("/admin/chat/grouppolicy/add/", {"group": group.pk, "claims": claims})
    assert GroupPolicy.objects.exists() == good
    assert AuditRecord.objects.filter(kind="admin_added").exists() == good


def test_set_group_makes_a_group_with_members_and_claims(alice, bob):
    call_command("set_group", "engineers", "--add", "Alice@example.com", "--add", bob.email, "--claim", "/eng")
    group = Group.objects.get()
    assert set(group.user_set.all()) == {alice, bob}
    assert group.policy.claims == ["/eng"]
    call_command("set_group", "engineers", "--remove", bob.email)
    assert set(group.user_set.all()) == {alice}
    assert GroupPolicy.objects.get().claims == ["/eng"]
    call_command("set_group", "engineers", "--claim", "")
    assert GroupPolicy.objects.get().claims == []
    assert AuditRecord.objects.filter(kind="group_changed").count() == 3


def test_set_group_with_an_unknown_address_changes_nothing(alice):
    with pytest.raises(CommandError, match="nobody@example"):
        call_command("set_group", "engineers", "--add", alice.email, "--add", "nobody@example.com")
    assert not Group.objects.exists()


def test_reset_verifies_the_address_and_ends_what_a_squatter_left(alice, bob, settings):
    settings.NETRA_EMAIL_URL = "smtp://mail.example"
    for user in (alice, bob):
        squat(user)

    def reset():
        mail.outbox.clear()
        client = Client()
        client.post("/reset", {"email": alice.email})
        wait_until(lambda: mail.outbox, "the mail")
        link = re.search(r"http://testserver(/reset/\S+)", str(mail.outbox[0].body))[1]
        path = client.get(link, follow=True).redirect_chain[0][0]
        assert left_of_squatter(alice) == SQUATTED, "asking for the mail ends nothing"
        new = {"new_password1": "staple battery horse", "new_password2": "staple battery horse"}
        assert client.post(path, new).status_code == 302

    reset()
    assert left_of_squatter(alice) == set()
    assert left_of_squatter(bob) == SQUATTED
    assert EmailAddress.objects.get(verified=True).user == alice
    assert Thread.objects.for_user(alice).count() == 2
    squat(alice)
    reset()
    # A verified address is nobody else's; a new password revokes keys all the same.
    assert left_of_squatter(alice) == SQUATTED - {"keys"}


def test_sign_ins_are_counted_by_the_password_and_by_the_provider(alice):
    def counted():
        return REGISTRY.get_sample_value("netra_sign_ins_total", {"by": "password"}) or 0

    before = counted()
    body = {"email": alice.email, "password": PASSWORD}
    Client().post("/auth/login", body, content_type="application/json")
    assert counted() == before + 1
