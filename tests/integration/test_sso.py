"""Sign-in by a provider: the flow, its attacks, and who enters which account."""

import json
import logging
import re
import time
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from asgiref.sync import async_to_sync
from django.conf import settings as configured
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session as DjangoSession
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.request import Request

from chat.accounts import authentication, sessions, stream_cookies
from chat.models import ApiKey, AuditRecord, GroupPolicy, Session, Thread, User
from chat.oidc import discovery
from tests.openid_provider import CLIENT, EC, OTHER, SECRET
from tests.sign_ins import SQUATTED, Browser, error_of, everything, left_of_squatter, squat, succeeded

PASSWORD = "correct horse battery"


def kinds():
    return list(AuditRecord.objects.order_by("pk").values_list("kind", flat=True))


def with_key(user):
    row = ApiKey(user=user, name="k", prefix="netra_" + str(user.pk).rjust(8, "0"), digest="x", scopes=["read"])
    row.save()
    return row


# ---- The flow ----------------------------------------------------------------------------------------------


def test_sign_in_makes_a_user_a_session_and_the_cookie_of_the_page(browser, provider):
    provider.claims["sid"] = "the-providers-session"
    answer = browser.sign_in()
    assert succeeded(answer)
    user = User.objects.get()
    assert (user.email, user.name, user.has_usable_password()) == ("carol@corp.example", "Carol", False)
    assert (user.is_staff, user.is_superuser) == (False, False)
    session = Session.objects.get()
    assert (session.provider, session.provider_sub, session.provider_sid) == ("corp", "u-1", "the-providers-session")
    account = SocialAccount.objects.get()
    assert (account.provider, account.uid, account.user) == ("corp", "u-1", user)
    assert account.extra_data == {"iss": provider.url, "email": "carol@corp.example"}
    cookie = answer.cookies["netra_refresh"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/auth")
    tokens = browser.refresh()
    assert tokens["user"]["email"] == "carol@corp.example"
    assert authentication.identify(tokens["access_token"]).session_id == session.pk
    assert kinds() == ["provider_connected", "signed_in"]
    assert not SocialToken.objects.exists(), "a token of the provider is kept"


def test_second_visit_enters_the_same_account(browser, provider):
    browser.sign_in()
    answer = Browser().sign_in()
    assert succeeded(answer)
    assert (User.objects.count(), SocialAccount.objects.count(), Session.objects.count()) == (1, 1, 2)


def test_authorization_request_has_pkce_a_nonce_and_nothing_of_the_query(browser, provider):
    query = "?auth_params=redirect_uri%3Dhttps://evil.example/&scope=admin&process=connect&action=x&next=//evil.example"
    answer = browser.begin(query=query)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()}
    assert asked["redirect_uri"] == "http://testserver/auth/sso/corp/callback"
    assert set(asked["scope"].split()) == {"openid", "profile", "email"}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len(asked["code_challenge"]) == 43
    assert len(asked["nonce"]) == 64
    assert asked["state"]
    assert set(asked) == {
        "client_id", "redirect_uri", "scope", "response_type", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert browser.begin()["Location"] != answer["Location"]


def test_redirect_uri_is_of_an_allowed_origin_whatever_host_was_sent(browser):
    browser.client.get("/login")
    form = {"csrfmiddlewaretoken": browser.client.cookies["csrftoken"].value}
    answer = browser.client.post("/auth/sso/corp/login", form, headers={"Host": "127.0.0.1:1"})
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A8000%2F" in answer["Location"]


def test_provider_that_names_its_key_by_nothing_or_signs_with_a_curve_signs_in(browser, provider):
    provider.kid = None
    assert succeeded(browser.sign_in())
    provider.key, provider.algorithm, provider.kid = EC, "ES256", "two"
    assert succeeded(Browser().sign_in())


def test_key_that_the_provider_has_changed_is_read_again(browser, provider, monkeypatch):
    assert succeeded(browser.sign_in())
    provider.keys[0]["kid"] = provider.kid = "new"
    assert error_of(Browser().sign_in()) == "sso_failed"
    monkeypatch.setattr(discovery, "RENEW_SECONDS", 0)
    assert succeeded(Browser().sign_in())


def test_discovery_and_keys_are_read_once(browser, provider):
    for _ in range(2):
        assert succeeded(Browser().sign_in())
    assert provider.requests.count("/.well-known/openid-configuration") == 1
    assert provider.requests.count("/keys") == 1


def test_provider_out_of_order_is_refused_and_the_page_is_shown(browser, provider):
    provider.broken = True
    before = everything()
    assert error_of(browser.begin()) == "sso_failed"
    assert browser.client.get("/login").status_code == 200
    assert everything() == before
    assert provider.requests.count("/.well-known/openid-configuration") == 1, "every visitor waits for it"


@pytest.mark.parametrize("returned", [{}, {"state": None}], ids=["with its state", "without a state, as Authlib"])
def test_cancelled_sign_in_is_told_from_a_failed_one(browser, provider, returned, caplog):
    provider.error, provider.returned = "access_denied", returned
    before = everything()
    assert error_of(browser.sign_in()) == "sso_denied"
    provider.error = "invalid_scope"
    assert error_of(browser.sign_in()) == "sso_failed"
    assert "the provider says invalid_scope" in caplog.text
    provider.error = "carol@corp.example"
    assert error_of(browser.sign_in()) == "sso_failed"
    assert "carol" not in caplog.text
    assert everything() == before


def test_provider_may_be_called_like_the_path_of_the_connections(sso, provider):
    sso("accounts")
    assert succeeded(Browser().sign_in("accounts"))


def test_unknown_provider_is_not_found(browser):
    for path in ("login", "callback", "logout"):
        assert browser.client.get(f"/auth/sso/other/{path}").status_code == 404


# ---- Rules 1 to 7: attacks on the flow ---------------------------------------------------------------------


def test_state_of_another_browser_is_refused(browser):
    callback = browser.at_provider(browser.begin())
    before = everything()
    assert error_of(Client().get(callback)) == "sso_failed"
    assert everything() == before


def test_state_counts_once(browser):
    callback = browser.at_provider(browser.begin())
    assert succeeded(browser.client.get(callback))
    before = everything()
    assert error_of(browser.client.get(callback)) == "sso_failed"
    assert everything() == before


def test_state_of_ten_minutes_ago_is_refused(browser, monkeypatch):
    callback = browser.at_provider(browser.begin())
    before, later = everything(), time.time() + 601
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: later)
        assert error_of(browser.client.get(callback)) == "sso_failed"
    assert everything() == before


def test_state_of_another_provider_is_refused_before_the_code_is_sent(browser, sso, provider):
    sso("other")
    callback = browser.at_provider(browser.begin("other"))
    before = everything()
    assert error_of(browser.client.get(callback.replace("/other/", "/corp/"))) == "sso_failed"
    assert everything() == before
    assert "/token" not in provider.requests


@pytest.mark.parametrize("state", ["", "x", "x:y:z", "a" * 5000])
def test_state_that_is_none_is_refused(browser, state):
    assert error_of(browser.client.get("/auth/sso/corp/callback", {"code": "c", "state": state})) == "sso_failed"


def test_refusals_that_anybody_can_ask_for_do_not_fill_the_audit_record(browser, limited_by):
    limited_by("redis://127.0.0.1:1/0")
    for _ in range(110):
        assert error_of(browser.client.get("/auth/sso/corp/callback")) == "sso_failed"
    assert 100 <= AuditRecord.objects.count() < 105


def test_code_of_another_sign_in_is_refused_by_pkce(browser, provider):
    stolen = parse_qs(urlsplit(Browser().at_provider(Browser().begin())).query)["code"][0]
    mine = browser.at_provider(browser.begin())
    code = parse_qs(urlsplit(mine).query)["code"][0]
    before = everything()
    assert error_of(browser.client.get(mine.replace(code, stolen))) == "sso_failed"
    assert everything() == before


def _none(provider):
    provider.sign = lambda claims, **header: jwt.encode(claims, None, "none", headers={"kid": "one"})


def _symmetric(provider):
    provider.sign = lambda claims, **header: jwt.encode(claims, "s" * 40, "HS256", headers={"kid": "one"})


def _with_the_secret(provider):
    provider.keys.append({"kty": "oct", "kid": "secret", "k": jwt.utils.base64url_encode(SECRET.encode()).decode()})
    provider.sign = lambda claims, **header: jwt.encode(claims, SECRET * 2, "HS256", headers={"kid": "secret"})


def _claims(**claims):
    return lambda provider: provider.claims.update(claims)


SPOILT = {
    "signed by another key": lambda provider: setattr(provider, "key", OTHER),
    "a key that is not there": lambda provider: setattr(provider, "kid", "gone"),
    "unsigned": _none,
    "signed by a shared secret": _symmetric,
    "signed by the client's secret": _with_the_secret,
    "another algorithm than the key's": lambda provider: setattr(provider, "algorithm", "RS512"),
    "no token": lambda provider: setattr(provider, "without_id_token", True),
    "no JWT": lambda provider: setattr(provider, "sign", lambda claims, **header: "no.jwt"),
    "another issuer": _claims(iss="https://evil.example"),
    "no issuer": _claims(iss=None),
    "another audience": _claims(aud="another-client"),
    "two audiences without a party": _claims(aud=[CLIENT, "another-client"]),
    "another party": _claims(azp="another-client"),
    "expired": _claims(exp=int(time.time()) - 3600),
    "never expires": _claims(exp=None),
    "issued tomorrow": _claims(iat=int(time.time()) + 86_400),
    "not valid yet": _claims(nbf=int(time.time()) + 3600),
    "another nonce": _claims(nonce="0" * 64),
    "no nonce": _claims(nonce=None),
    "a nonce that is no text": _claims(nonce=["x"]),
    "no subject": _claims(sub=None),
    "an empty subject": _claims(sub=""),
    "a subject that is too long": _claims(sub="s" * 192),
    "a subject that is no text": _claims(sub="a\0b"),
    "userinfo of another user": lambda provider: provider.userinfo.update(sub="u-2"),
    "userinfo of nobody": lambda provider: provider.userinfo.update(sub=None),
}


@pytest.mark.parametrize("name", SPOILT)
def test_id_token_that_is_wrong_is_refused(browser, provider, name):
    SPOILT[name](provider)
    before = everything()
    assert error_of(browser.sign_in()) == "sso_failed"
    assert everything() == before
    assert "netra_refresh" not in browser.client.cookies


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"jwks_uri": 5},
    ],
)
def test_discovery_document_that_is_wrong_is_refused(browser, provider, changed):
    provider.discovery = changed
    assert error_of(browser.begin()) == "sso_failed"


def test_get_begins_no_sign_in(browser):
    answer = browser.client.get("/auth/sso/corp/login")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert not DjangoSession.objects.exists()


def test_post_without_its_csrf_token_begins_no_sign_in(browser):
    browser.client.get("/login")
    for form in ({}, {"csrfmiddlewaretoken": "x" * 64}):
        assert browser.client.post("/auth/sso/corp/login", form).status_code == 403
    assert not DjangoSession.objects.exists()


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/settings", "/settings"),
        ("/c/00000000-0000-4000-8000-000000000000", "/c/00000000-0000-4000-8000-000000000000"),
        ("/inputs?a=b", "/inputs%3Fa%3Db"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("///evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("http:///evil.example", "/"),
        (" /settings", "/"),
        ("testserver/", "/"),
        ("http://testserver/settings", "/"),
        ("/login?error=x", "/"),
        ("/auth/logout", "/"),
        ("/" + "a" * 3000, "/"),
    ],
)
def test_next_stays_on_this_site(browser, asked, path):
    assert succeeded(browser.sign_in(next=asked), path)
    page = browser.client.get("/login/done", {"next": asked})
    shown = path.replace("%3F", "?").replace("%3D", "=")
    assert f'data-next="{shown}"'.encode() in page.content


def test_session_cookie_that_was_set_before_is_not_signed_in_after(browser, sso):
    before = browser.begin()
    planted = browser.client.cookies["sessionid"].value
    assert succeeded(browser.client.get(browser.at_provider(before)))
    other = Client()
    other.cookies["sessionid"] = planted
    assert not DjangoSession.objects.filter(session_key=planted).exists()
    assert not other.session.items()
    assert not browser.client.cookies["sessionid"].value


def test_session_of_a_refused_sign_in_ends_and_that_of_the_admin_does_not(browser, provider, sso):
    provider.error = "access_denied"
    assert error_of(browser.sign_in()) == "sso_denied"
    provider.error, provider.claims["nonce"] = None, "wrong"
    assert error_of(browser.sign_in()) == "sso_failed"
    del provider.claims["nonce"]
    provider.person["email_verified"] = False
    assert error_of(browser.sign_in()) == "email_unverified"
    assert not DjangoSession.objects.exists()
    User.objects.create_superuser("boss@corp.example", PASSWORD)
    staff = Browser()
    staff.client.login(request=RequestFactory().get("/"), username="boss@corp.example", password=PASSWORD)
    assert error_of(staff.sign_in()) == "email_unverified"
    assert error_of(staff.client.get("/auth/sso/corp/callback?state=forged&code=c")) == "sso_failed"
    assert staff.client.get("/admin/").status_code == 200


def test_addresses_and_log_have_no_token_code_or_address(browser, provider, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [browser.begin()]
    callback = browser.at_provider(answers[0])
    answers.append(browser.client.get(callback))
    provider.claims["nonce"] = "wrong"
    answers.append(browser.client.get(browser.at_provider(browser.begin())))
    code = parse_qs(urlsplit(callback).query)["code"][0]
    tokens = [*provider.access_tokens, SECRET, code, browser.client.cookies["netra_refresh"].value]
    ours = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    )
    for secret in [*tokens, "carol@corp.example"]:
        assert secret not in ours
        assert all(secret not in answer["Location"] for answer in answers[1:])


# ---- Rules 8 to 10: who enters which account ---------------------------------------------------------------


@pytest.mark.parametrize("trust", ["off", "verified"])
@pytest.mark.parametrize("word", [False, None, "false", "no", 0, 1, "1", []])
def test_unverified_address_enters_and_makes_nothing(browser, provider, sso, trust, word):
    sso(trust=trust)
    provider.person["email_verified"] = word
    before = everything()
    assert error_of(browser.sign_in()) == "email_unverified"
    User.objects.create_user("carol@corp.example", PASSWORD)
    before = everything()
    assert error_of(browser.sign_in()) == "email_unverified"
    assert everything() == before


@pytest.mark.parametrize(
    "email",
    [
        None,
        "",
        "no address",
        "carol@corp.example\n",
        "CAROL\u212a@corp.example",
        "carol@\u0441orp.example",
        "a@b@corp.example",
        "x" * 300 + "@corp.example",
        ["carol@corp.example"],
        "carol\0@corp.example",
    ],
)
def test_address_that_is_none_makes_nothing(browser, provider, sso, email):
    sso(trust="always")
    provider.person["email"] = email
    before = everything()
    assert error_of(browser.sign_in()) == "email_unverified"
    assert everything() == before


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, True),
        ({"email_verified": None, "xms_edov": True}, True),
        ({"email_verified": None, "xms_edov": "1"}, True),
        ({"email_verified": None, "xms_edov": 1}, True),
        ({"email_verified": None, "xms_edov": False}, False),
        ({"email_verified": None, "xms_edov": "0"}, False),
        ({"email_verified": False, "xms_edov": True}, False),
    ],
)
def test_provider_says_who_verified_an_address(browser, provider, claims, good):
    provider.person.update(claims)
    answer = browser.sign_in()
    assert succeeded(answer) if good else error_of(answer) == "email_unverified"


def test_userinfo_does_not_verify_another_address_of_the_id_token(browser, provider):
    provider.claims.update(email="victim@corp.example", email_verified=None)
    provider.userinfo.update(email="carol@corp.example", email_verified=True)
    before = everything()
    assert error_of(browser.sign_in()) == "email_unverified"
    assert everything() == before


def test_xms_edov_does_not_count_against_what_userinfo_says_of_the_same_address(browser, provider):
    provider.claims.update(email="carol@corp.example", email_verified=None, xms_edov=True)
    provider.userinfo.update(email="carol@corp.example", email_verified=False)
    before = everything()
    assert error_of(browser.sign_in()) == "email_unverified"
    assert everything() == before


def test_provider_that_is_always_trusted_verifies_every_address(browser, provider, sso):
    sso(trust="always")
    provider.person["email_verified"] = False
    assert succeeded(browser.sign_in())


def test_verified_address_of_an_account_does_not_enter_it_without_trust(browser, alice, provider):
    provider.person["email"] = alice.email
    before = everything()
    assert error_of(browser.sign_in()) == "account_exists"
    assert everything() == before


def test_verified_address_enters_the_account_that_has_it_with_trust(browser, alice, bob, provider, sso):
    sso(trust="verified")
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    hers, his = sessions.sign_in(alice, ""), sessions.sign_in(bob, "")
    provider.person["email"] = "ALICE@example.com"
    assert succeeded(browser.sign_in())
    alice.refresh_from_db()
    assert SocialAccount.objects.get().user == alice
    assert alice.check_password(PASSWORD), "Netra had verified the address: nothing ends"
    assert authentication.identify(hers.access)
    assert authentication.identify(his.access)


def test_account_that_is_taken_back_has_nothing_of_the_squatters(browser, alice, bob, provider, sso):
    # Somebody registered with an address that is not theirs, and its owner comes by a trusted provider.
    sso(trust="verified")
    squatted = sessions.sign_in(alice, "the squatter")
    for user in (alice, bob):
        squat(user)
    group = Group.objects.create(name="staff gave it")
    group.user_set.add(alice)
    assert left_of_squatter(alice) == left_of_squatter(bob) == SQUATTED
    provider.person["email"] = alice.email
    assert succeeded(browser.sign_in())
    assert left_of_squatter(alice) == set()
    assert left_of_squatter(bob) == SQUATTED
    assert (alice.name, alice.has_usable_password()) == ("Carol", False)
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(squatted.access)
    assert [account.provider for account in SocialAccount.objects.filter(user=alice)] == ["corp"]
    assert browser.refresh()["user"]["email"] == alice.email
    assert EmailAddress.objects.get(user=alice).verified
    assert {"key_revoked", "share_revoked", "grant_removed", "provider_disconnected"} <= set(kinds())
    # What does nothing by itself stays: it may be the owner's own.
    assert (Thread.objects.for_user(alice).count(), list(alice.groups.all())) == (2, [group])
    # The second sign-in takes nothing back: the owner's own password and keys would end.
    again = with_key(User.objects.create_user("c@example.com"))
    ApiKey.objects.filter(pk=again.pk).update(user=alice)
    User.objects.filter(pk=alice.pk).update(instructions="her own")
    assert succeeded(Browser().sign_in())
    again.refresh_from_db()
    alice.refresh_from_db()
    assert (again.revoked_at, alice.instructions) == (None, "her own")


def test_account_of_the_last_administrator_is_not_taken_back(browser, provider, sso):
    sso(trust="verified")
    boss = User.objects.create_superuser("boss@corp.example", PASSWORD)
    provider.person["email"] = boss.email
    before = everything()
    assert error_of(browser.sign_in()) == "account_exists"
    assert everything() == before


def test_untrusted_provider_does_not_make_an_address_verified(browser, provider, sso, settings):
    """Else a squatter would keep the account from its owner, who comes by a trusted provider later."""
    assert succeeded(browser.sign_in())
    assert not EmailAddress.objects.filter(verified=True).exists()
    sso("trusted", trust="verified")
    provider.person["sub"] = "the-owner"
    assert succeeded(Browser().sign_in("trusted"))
    assert [account.provider for account in SocialAccount.objects.all()] == ["trusted"]
    assert browser.refresh() is None


def test_known_subject_of_another_issuer_is_refused(browser, provider):
    assert succeeded(browser.sign_in())
    SocialAccount.objects.update(extra_data={"iss": "https://before.example", "email": "carol@corp.example"})
    before = everything()
    assert error_of(Browser().sign_in()) == "sso_failed"
    assert everything() == before


def test_same_subject_of_another_provider_is_another_user(browser, provider, sso):
    sso("other")
    assert succeeded(browser.sign_in())
    before = everything()
    assert error_of(Browser().sign_in("other")) == "account_exists"
    assert everything() == before


def test_address_that_the_provider_gives_to_somebody_else_enters_nothing(browser, provider):
    assert succeeded(browser.sign_in())
    provider.person["sub"] = "a-successor"
    before = everything()
    assert error_of(Browser().sign_in()) == "account_exists"
    assert everything() == before


def test_new_address_of_a_known_subject_is_taken_over(browser, provider):
    browser.sign_in()
    provider.person["email"] = "carol.new@corp.example"
    assert succeeded(Browser().sign_in())
    assert User.objects.get().email == "carol.new@corp.example"
    assert "address_changed" in kinds()


def test_new_address_that_another_account_has_is_not_taken_over(browser, provider, alice):
    browser.sign_in()
    provider.person["email"] = alice.email
    assert succeeded(Browser().sign_in())
    assert User.objects.filter(email="carol@corp.example").exists()
    assert User.objects.get(email=alice.email) == alice
    assert kinds().count("address_changed") == 1


def test_new_address_at_the_provider_leaves_an_account_with_an_address_of_its_own(browser, provider, alice):
    SocialAccount.objects.create(
        user=alice, provider="corp", uid="u-1", extra_data={"iss": provider.url, "email": "carol@corp.example"}
    )
    provider.person["email"] = "carol.new@corp.example"
    assert succeeded(browser.sign_in())
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert "address_changed" not in kinds()


def test_new_unverified_address_is_not_taken_over_and_enters_still(browser, provider):
    browser.sign_in()
    provider.person.update(email="victim@corp.example", email_verified=False)
    assert succeeded(Browser().sign_in())
    assert User.objects.get().email == "carol@corp.example"


def test_closed_registration_makes_no_account(browser, provider, settings):
    settings.NETRA_OPEN_REGISTRATION = False
    before = everything()
    assert error_of(browser.sign_in()) == "closed"
    assert everything() == before
    settings.NETRA_SSO_ONLY = True
    assert succeeded(browser.sign_in())


@pytest.mark.parametrize(
    "email", ["carol@elsewhere.example", "carol@sub.corp.example", "carol@corp.example.evil.example"]
)
def test_address_of_another_domain_is_refused(browser, provider, sso, email):
    sso(domains=["corp.example"])
    assert succeeded(browser.sign_in())
    provider.person.update(email=email)
    before = everything()
    assert error_of(Browser().sign_in()) == "domain", "a known subject whose address has left the domain"
    provider.person.update(sub="u-9")
    assert error_of(Browser().sign_in()) == "domain"
    provider.person.update(email="carol@corp.example", email_verified=False)
    assert error_of(Browser().sign_in()) == "email_unverified"
    assert everything() == before


# ---- Rule 11: the end --------------------------------------------------------------------------------------


def test_deactivated_user_does_not_sign_in(browser, provider, sso):
    browser.sign_in()
    User.objects.get().delete()
    browser.sign_in()
    user = User.objects.get()
    user.is_active = False
    user.save()
    before = everything()
    assert error_of(Browser().sign_in()) == "inactive"
    assert browser.refresh() is None
    assert everything() == before
    SocialAccount.objects.all().delete()
    sso(trust="always")
    before = everything()
    assert error_of(Browser().sign_in()) == "inactive"
    assert everything() == before


def test_session_of_a_provider_ends_however_often_it_is_refreshed(browser, settings):
    settings.NETRA_SSO_SESSION_SECONDS = 600
    browser.sign_in()
    session = Session.objects.get()
    assert 590 < (session.expires_at - timezone.now()).total_seconds() <= 600
    tokens = browser.refresh()
    assert 500 < tokens["expires_in"] <= 600
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims["exp"] == int(session.expires_at.timestamp())
    refresh = jwt.decode(browser.client.cookies["netra_refresh"].value, options={"verify_signature": False})
    assert refresh["exp"] == claims["exp"]
    Session.objects.update(expires_at=timezone.now() - timezone.timedelta(seconds=1))
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(tokens["access_token"])
    with pytest.raises(authentication.Unauthorized):
        authentication.admit(authentication.read_claims(tokens["access_token"]))
    assert sessions.alive([session.pk]) == set()
    assert browser.refresh() is None


def test_stream_of_a_session_of_a_provider_ends_with_it(browser):
    browser.sign_in()
    session, response = Session.objects.get(), HttpResponse()
    stream_cookies.give(response, session.pk)
    request = RequestFactory().get("/api/threads", headers={"Accept": "text/event-stream"})
    request.COOKIES[stream_cookies.COOKIE] = response.cookies[stream_cookies.COOKIE].value
    user, identity = stream_cookies.CookieAuthentication().authenticate(Request(request))
    assert (user, identity.expires_at) == (session.user, int(session.expires_at.timestamp()))
    assert sessions.is_viewer(sessions.viewer(session.pk))
    Session.objects.update(expires_at=timezone.now() - timezone.timedelta(seconds=1))
    assert not sessions.is_viewer(sessions.viewer(session.pk)), "it opens what is shared with members"
    with pytest.raises(authentication.Unauthorized):
        stream_cookies.CookieAuthentication().authenticate(Request(request))


def test_session_of_a_password_has_no_end_of_its_own(alice):
    tokens = sessions.sign_in(alice, "")
    assert Session.objects.get().expires_at is None
    assert tokens.expires_in == configured.NETRA_ACCESS_TOKEN_SECONDS


# ---- GitHub, Microsoft -------------------------------------------------------------------------------------


def test_github_signs_in_by_its_primary_address(browser, provider, sso):
    sso("github", kind="github")
    assert succeeded(browser.sign_in("github"))
    assert User.objects.get().email == "carol@corp.example"
    account = SocialAccount.objects.get()
    assert (account.provider, account.uid, account.extra_data["iss"]) == ("github", "4711", provider.url)
    assert provider.authorizations[-1]["code_challenge_method"] == "S256"
    assert set(provider.authorizations[-1]["scope"].split()) == {"read:user", "user:email"}


@pytest.mark.parametrize(
    "emails",
    [
        [],
        [{"email": "carol@corp.example", "primary": True, "verified": False}],
        [{"email": "carol@corp.example", "primary": False, "verified": True}],
        [{"email": "a@corp.example", "primary": True, "verified": "yes"}],
        ["carol@corp.example"],
    ],
)
def test_github_address_that_is_not_primary_and_verified_makes_nothing(browser, provider, sso, emails):
    sso("github", kind="github")
    provider.emails = emails
    before = everything()
    assert error_of(browser.sign_in("github")) == "email_unverified"
    assert everything() == before


TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"  # of Microsoft's own documentation


@pytest.mark.parametrize(
    ("tid", "issuer_tenant", "good"),
    [(TENANT, TENANT, True), (TENANT, "9188040d-6c67-4c5b-b112-36a304b66dad", False), ("evil/x", "evil/x", False)],
)
def test_microsoft_of_any_tenant_has_the_issuer_of_its_tenant(browser, provider, sso, tid, issuer_tenant, good):
    sso("entra", kind="microsoft", url=f"{provider.url}/common/v2.0")
    provider.discovery = {"issuer": provider.url + "/{tenantid}/v2.0"}
    provider.claims = {"tid": tid, "iss": f"{provider.url}/{issuer_tenant}/v2.0"}
    answer = browser.sign_in("entra")
    assert succeeded(answer) if good else error_of(answer) == "sso_failed"


# ---- Groups ------------------------------------------------------------------------------------------------


@pytest.fixture
def policies(db):
    named, other, free = (Group.objects.create(name=name) for name in ("engineers", "sales", "by hand"))
    GroupPolicy.objects.create(group=named, claims=["/eng", "eng"])
    GroupPolicy.objects.create(group=other, claims=["sales"])
    return named, other, free


def groups_now():
    return set(User.objects.get().groups.values_list("name", flat=True))


def test_groups_follow_the_claim_and_others_are_left_alone(browser, provider, sso, policies):
    sso(groups="groups")
    provider.person["groups"] = ["/eng", "netra-admins", 5]
    browser.sign_in()
    assert groups_now() == {"engineers"}
    User.objects.get().groups.add(policies[2], policies[1])
    assert succeeded(Browser().sign_in())
    assert groups_now() == {"engineers", "by hand"}
    provider.person["groups"] = "sales"
    assert succeeded(Browser().sign_in())
    assert groups_now() == {"sales", "by hand"}
    del provider.person["groups"]
    assert succeeded(Browser().sign_in())
    assert groups_now() == {"by hand"}
    user = User.objects.get()
    assert (user.is_staff, user.is_superuser, Group.objects.count()) == (False, False, 3)
    assert kinds().count("group_changed") == 5


@pytest.mark.parametrize("overage", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
def test_groups_that_are_too_many_to_say_change_nothing(browser, provider, sso, policies, overage, caplog):
    sso(groups="groups")
    provider.person["groups"] = ["eng"]
    browser.sign_in()
    del provider.person["groups"]
    provider.claims = overage
    assert succeeded(Browser().sign_in())
    assert groups_now() == {"engineers"}
    assert "too many" in caplog.text


def test_groups_without_a_claim_in_the_settings_change_nothing(browser, provider, policies):
    provider.person["groups"] = ["eng"]
    browser.sign_in()
    assert groups_now() == set()


@pytest.mark.parametrize("claim", ["is_staff", "is_superuser", "roles", "groups"])
def test_claims_give_no_staff(browser, provider, sso, claim):
    sso(groups=claim)
    provider.person[claim] = ["admin", "staff", "superuser", "is_superuser"]
    browser.sign_in()
    user = User.objects.get()
    assert (user.is_staff, user.is_superuser, list(user.groups.all())) == (False, False, [])


# ---- Only providers, and the admin -------------------------------------------------------------------------


def post(client, path, body):
    return client.post(path, json.dumps(body), content_type="application/json")


def test_only_providers_sign_in_where_the_settings_say_so(browser, alice, settings):
    settings.NETRA_SSO_ONLY = True
    access = sessions.sign_in(alice, "").access
    credentials = {"email": alice.email, "password": PASSWORD}
    for path in ("/auth/login", "/auth/register"):
        answer = post(Client(), path, credentials)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    body = json.dumps({"current": PASSWORD, "new": "another good password"})
    headers = {"Authorization": f"Bearer {access}"}
    assert Client().post("/auth/password", body, content_type="application/json", headers=headers).status_code == 403
    # An address that a provider says of somebody else would keep that person out.
    taken = json.dumps({"email": "boss@corp.example", "current": PASSWORD})
    assert Client().post("/auth/email", taken, content_type="application/json", headers=headers).status_code == 403
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    settings.NETRA_EMAIL_URL = "smtp://localhost"
    assert Client().get("/reset").status_code == 404
    answer = Client().get("/auth/providers").json()
    assert answer == {"providers": [{"id": "corp", "name": "Corp"}], "password": False, "signup": False}


def admin_log_in(user):
    client = Client()
    client.post("/admin/login/", {"username": user.email, "password": PASSWORD})
    return client.get("/admin/").status_code == 200


def test_superuser_gets_into_the_admin_by_the_password_all_the_same(sso, settings):
    boss = User.objects.create_superuser("boss@corp.example", PASSWORD)
    staff = User.objects.create_user("staff@corp.example", PASSWORD, is_staff=True)
    assert admin_log_in(boss)
    assert admin_log_in(staff)
    settings.NETRA_SSO_ONLY = True
    assert admin_log_in(boss)
    assert not admin_log_in(staff)


def test_admin_is_entered_by_a_provider_and_left_with_the_session(browser, provider):
    browser.sign_in()
    User.objects.update(is_staff=True)
    assert succeeded(browser.sign_in(next="/admin/"), "/admin/")
    assert browser.client.get("/admin/").status_code == 200
    sessions.end_session(Session.objects.order_by("created_at").last())
    assert browser.client.get("/admin/").status_code == 302
    assert succeeded(browser.sign_in(next="/admin/"), "/admin/")
    assert browser.client.get("/admin/").status_code == 200
    Session.objects.update(expires_at=timezone.now() - timezone.timedelta(seconds=1))
    assert browser.client.get("/admin/").status_code == 302


def test_admin_shows_the_way_to_the_providers_where_there_are_some(sso, settings):
    page = Client().get("/admin/login/?next=/admin/chat/user/").content.decode()
    assert 'href="/login?next=/admin/chat/user/"' in page
    settings.NETRA_SSO = {}
    assert "company" not in Client().get("/admin/login/").content.decode()


def test_admin_is_not_entered_by_who_is_no_staff(browser):
    assert succeeded(browser.sign_in(next="/admin/"), "/admin/")
    assert browser.client.get("/admin/").status_code == 302


# ---- Without a provider ------------------------------------------------------------------------------------


def test_without_a_provider_there_is_none(alice, django_assert_num_queries, settings):
    assert settings.NETRA_SSO == {}
    assert Client().get("/auth/providers").json() == {"providers": [], "password": True, "signup": True}
    for path in ("login", "callback", "logout", "connect"):
        assert Client().get(f"/auth/sso/corp/{path}").status_code in (401, 404)
    page = Client().get("/login")
    assert "csrftoken" not in page.cookies
    assert "form-action 'self'" in page["Content-Security-Policy"]
    access = sessions.sign_in(alice, "").access
    with django_assert_num_queries(1):
        authentication.identify(access)
    with django_assert_num_queries(1):
        authentication.admit(authentication.read_claims(access))
    with django_assert_num_queries(0):
        Client().get("/login")


@pytest.fixture
def chains(settings):
    """The middleware of now, and that without the two functions of sign-in by a provider."""
    assert settings.NETRA_SSO == {}
    mine = {"chat.oidc.views.bound_sessions", "allauth.account.middleware.AccountMiddleware"}
    before = [one for one in settings.MIDDLEWARE if one not in mine]
    assert len(settings.MIDDLEWARE) == len(before) + 2
    return {"now": settings.MIDDLEWARE, "before": before}


def test_without_a_provider_a_request_asks_the_database_no_more(alice, settings, chains):
    access, body = sessions.sign_in(alice, "").access, json.dumps({"email": alice.email, "password": PASSWORD})
    asked = {}
    for name in [*chains, *chains]:  # the second time nothing is done for the first time
        settings.MIDDLEWARE = chains[name]
        client = Client(headers={"Authorization": f"Bearer {access}"})
        with CaptureQueriesContext(connection) as queries:
            for path in ("/", "/login", "/settings", "/api/threads", "/api/agents", "/nowhere", "/admin/"):
                client.get(path)
            assert client.post("/auth/login", body, content_type="application/json").status_code == 200
        asked[name] = len(queries)
    assert asked["now"] == asked["before"]


def test_without_a_provider_a_request_costs_no_millisecond_more(settings, chains):
    """Measure the middleware as a server runs it, in this process's own time."""
    spent = {name: [] for name in chains}
    for name in [*chains] * 4:
        settings.MIDDLEWARE = chains[name]

        async def ask():
            client = AsyncClient()
            assert (await client.get("/robots.txt")).status_code == 200  # it loads the middleware
            begun = time.process_time()
            for _ in range(20):
                await client.get("/robots.txt")
            return (time.process_time() - begun) / 20

        spent[name].append(async_to_sync(ask)())
    assert min(spent["now"]) < min(spent["before"]) + 0.001, spent


def test_allauth_pages_are_not_mounted():
    for path in ("/accounts/login/", "/accounts/signup/", "/login/", "/_allauth/browser/v1/config", "/social/signup/"):
        assert Client().get(path).status_code in (302, 404)
        assert Client().post(path, {"login": "a@b.example", "password": "x"}).status_code in (403, 404, 405)


# ---- Connecting --------------------------------------------------------------------------------------------


def as_user(browser, user, **provided):
    """Sign in this browser's script by a new session; return what it sends."""
    given = sessions.Provided(**provided) if provided else None
    access = sessions.sign_in(user, "", given).access
    return {"headers": {"Authorization": f"Bearer {access}"}, "content_type": "application/json"}


def connect(browser, script, id="corp", **body):
    return browser.client.post(f"/auth/sso/{id}/connect", json.dumps(body), **script)


def at_settings(answer):
    parts = urlsplit(answer["Location"])
    assert (answer.status_code, parts.path) == (302, "/settings")
    return {name: values[0] for name, values in parse_qs(parts.query).items()}


def test_connect_by_the_password_makes_the_provider_a_way_in(browser, alice, bob, provider):
    script = as_user(browser, alice)
    answer = connect(browser, script, current=PASSWORD)
    assert answer.status_code == 200
    callback = (
        requests.get(answer.json()["url"], allow_redirects=False).headers["Location"].removeprefix("http://testserver")
    )
    assert at_settings(browser.client.get(callback)) == {"connected": "corp"}
    assert "netra_refresh" not in browser.client.cookies, "connecting is no sign-in"
    listed = browser.client.get("/auth/sso/accounts", **script).json()
    assert listed["password"] is True
    (account,) = listed["accounts"]
    assert (account["provider"], account["name"], account["email"]) == ("corp", "Corp", "carol@corp.example")
    assert browser.client.get("/auth/sso/accounts", **as_user(browser, bob)).json()["accounts"] == []
    assert succeeded(Browser().sign_in())
    alice.refresh_from_db()
    assert (alice.email, alice.check_password(PASSWORD)) == ("alice@example.com", True)
    assert kinds().count("provider_connected") == 1


@pytest.mark.parametrize("body", [{}, {"current": "wrong"}, {"current": ""}, {"current": 5}])
def test_connect_without_the_password_is_refused(browser, alice, body):
    answer = connect(browser, as_user(browser, alice), **body)
    assert (answer.status_code, answer.json()["field"]) == (422, "current")
    assert not DjangoSession.objects.exists()


def test_connect_wrong_password_is_counted_as_a_failed_sign_in(browser, alice, limited_by, settings):
    connect(browser, as_user(browser, alice), current="wrong")
    assert "sign_in_failed" in kinds()


def test_connect_needs_a_token(browser):
    assert browser.client.post("/auth/sso/corp/connect").status_code == 401
    assert browser.client.get("/auth/sso/accounts").status_code == 401
    assert browser.client.delete("/auth/sso/accounts/1").status_code == 401


def test_connect_to_an_unknown_provider_is_not_found(browser, alice):
    assert connect(browser, as_user(browser, alice), "other", current=PASSWORD).status_code == 404


def test_connect_of_a_person_that_another_account_has_is_refused(browser, alice, provider):
    assert succeeded(Browser().sign_in())
    url = connect(browser, as_user(browser, alice), current=PASSWORD).json()["url"]
    callback = requests.get(url, allow_redirects=False).headers["Location"].removeprefix("http://testserver")
    before = everything()
    assert at_settings(browser.client.get(callback)) == {"error": "account_exists"}
    assert everything() == before


def test_connect_whose_session_has_ended_is_refused(browser, alice):
    url = connect(browser, as_user(browser, alice), current=PASSWORD).json()["url"]
    callback = requests.get(url, allow_redirects=False).headers["Location"].removeprefix("http://testserver")
    sessions.end_sessions(alice)
    before = everything()
    assert at_settings(browser.client.get(callback)) == {"error": "inactive"}
    assert everything() == before


def test_connect_that_another_browser_began_is_refused(browser, alice, bob):
    """Else one could have another's browser connect one's own account elsewhere to the other's here."""
    url = connect(browser, as_user(browser, alice), current=PASSWORD).json()["url"]
    callback = requests.get(url, allow_redirects=False).headers["Location"].removeprefix("http://testserver")
    other = Browser()
    as_user(other, bob)
    before = everything()
    assert error_of(other.client.get(callback)) == "sso_failed"
    assert everything() == before


def disconnect(browser, script, account, **body):
    return browser.client.delete(f"/auth/sso/accounts/{account.pk}", json.dumps(body), **script)


def test_disconnect_ends_the_sessions_that_the_provider_began(browser, alice, provider):
    account = SocialAccount.objects.create(user=alice, provider="corp", uid="u-1", extra_data={"iss": provider.url})
    browser.sign_in()
    script = as_user(browser, alice)
    assert disconnect(browser, script, account, current="wrong").status_code == 422
    assert disconnect(browser, script, account, current=PASSWORD).status_code == 204
    assert browser.refresh() is None
    assert browser.client.get("/auth/sso/accounts", **script).json()["accounts"] == []
    assert kinds().count("provider_disconnected") == 1


def test_disconnect_the_only_way_in_is_a_conflict(browser, provider, sso, settings, alice):
    browser.sign_in()
    user = User.objects.get(email="carol@corp.example")
    script = as_user(browser, user, provider="corp", subject="u-1", sid="")
    account = SocialAccount.objects.get()
    assert disconnect(browser, script, account).status_code == 409
    sso("other")
    SocialAccount.objects.create(user=user, provider="gone", uid="x", extra_data={})
    assert disconnect(browser, script, account).status_code == 409, "a provider that is not configured is no way in"
    SocialAccount.objects.create(user=user, provider="other", uid="x", extra_data={})
    assert disconnect(browser, script, account).status_code == 204
    settings.NETRA_SSO_ONLY = True
    hers = SocialAccount.objects.create(user=alice, provider="corp", uid="alice", extra_data={})
    assert disconnect(browser, as_user(browser, alice), hers, current=PASSWORD).status_code == 409


def test_disconnect_of_another_user_is_not_found(browser, alice, bob):
    account = SocialAccount.objects.create(user=alice, provider="corp", uid="u-1", extra_data={})
    script = as_user(browser, bob)
    assert disconnect(browser, script, account, current=PASSWORD).status_code == 404
    for id in (account.pk + 1, 2**63, 10**30):
        assert browser.client.delete(f"/auth/sso/accounts/{id}", "{}", **script).status_code == 404
    assert SocialAccount.objects.exists()


def test_proof_of_who_has_no_password_is_a_fresh_sign_in_by_a_provider(browser, sso):
    sso("other")
    browser.sign_in()
    user = User.objects.get()
    script = as_user(browser, user, provider="corp", subject="u-1", sid="")
    assert connect(browser, script, "other").status_code == 200
    Session.objects.update(created_at=timezone.now() - timezone.timedelta(minutes=11))
    answer = connect(browser, script, "other")
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert connect(browser, as_user(browser, user), "other").status_code == 403, "a session that no provider began"


# ---- Back-channel logout -----------------------------------------------------------------------------------


def log_out(provider, id="corp", **claims):
    return Client().post(f"/auth/sso/{id}/logout", {"logout_token": provider.logout_token(**claims)})


def live():
    return set(Session.objects.filter(ended_at=None).values_list("provider_sid", flat=True))


@pytest.fixture
def three(sso, provider, alice):
    """Three sessions that the provider began for one user, one of another's, one by a password."""
    carol = User.objects.create_user("carol@corp.example")
    SocialAccount.objects.create(user=carol, provider="corp", uid="u-1", extra_data={"iss": provider.url})
    for sid in ("a", "b", "c"):
        sessions.sign_in(carol, "", sessions.Provided("corp", "u-1", sid))
    sessions.sign_in(alice, "", sessions.Provided("corp", "u-alice", "hers"))
    sessions.sign_in(alice, "", sessions.Provided("other", "u-1", "a"))
    sessions.sign_in(carol, "")


def test_logout_token_with_a_sid_ends_that_session_once(three, provider):
    token = provider.logout_token(sid="a")
    answers = [Client().post("/auth/sso/corp/logout", {"logout_token": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert all(answer["Cache-Control"] == "no-store" for answer in answers)
    assert Session.objects.filter(ended_at=None).count() == 5
    assert not Session.objects.filter(ended_at=None, provider="corp", provider_sid="a").exists()
    assert kinds().count("signed_out_by_provider") == 1


def test_logout_token_with_a_sub_ends_all_that_the_provider_began(three, provider):
    assert log_out(provider, sub="u-1").status_code == 200
    assert live() == {"hers", "a", ""}
    assert Session.objects.get(provider_sid="a", ended_at=None).provider == "other"


def test_logout_token_with_both_ends_that_session_of_that_user(three, provider):
    assert log_out(provider, sub="u-2", sid="a").status_code == 200
    assert Session.objects.filter(ended_at=None).count() == 6
    assert log_out(provider, sub="u-1", sid="a").status_code == 200
    assert Session.objects.filter(ended_at=None).count() == 5


def test_logout_token_without_an_expiry_is_good_as_keycloak_23_sends_it(three, provider):
    assert log_out(provider, sub="u-1", exp=None).status_code == 200
    assert live() == {"hers", "a", ""}


NOW = int(time.time())
NO_LOGOUT = {
    "another issuer": {"iss": "https://evil.example"},
    "another client": {"aud": "another"},
    "no client": {"aud": None},
    "six minutes old": {"iat": NOW - 360, "exp": NOW + 600},
    "of tomorrow": {"iat": NOW + 86_400},
    "no time": {"iat": None},
    "expired": {"exp": NOW - 60},
    "no id": {"jti": None},
    "an empty id": {"jti": ""},
    "an id that is no text": {"jti": 5},
    "a nonce": {"nonce": "n"},
    "a nonce that is empty": {"nonce": ""},
    "no events": {"events": None},
    "event of WSO2 5.10": {"events": None, "event": {}},
    "other events": {"events": {"http://schemas.openid.net/event/other": {}}},
    "events as a list": {"events": ["http://schemas.openid.net/event/backchannel-logout"]},
    "an event that is null": {"events": {"http://schemas.openid.net/event/backchannel-logout": None}},
    "an event that is a list": {"events": {"http://schemas.openid.net/event/backchannel-logout": []}},
    "neither sub nor sid": {"sub": None},
    "a sub that is no text": {"sub": 5},
    "an empty sid": {"sid": ""},
}


@pytest.mark.parametrize("name", NO_LOGOUT)
def test_logout_token_that_is_none_changes_nothing(three, provider, name):
    before = everything()
    answer = log_out(provider, **{"sub": "u-1", **NO_LOGOUT[name]})
    assert (answer.status_code, answer["Cache-Control"]) == (400, "no-store")
    assert everything() == before


@pytest.mark.parametrize("spoil", [_none, _symmetric, _with_the_secret, SPOILT["signed by another key"]])
def test_logout_token_that_is_not_the_providers_changes_nothing(three, provider, spoil):
    spoil(provider)
    before = everything()
    assert log_out(provider, sub="u-1").status_code == 400
    assert everything() == before


def test_id_token_is_no_logout_token(three, provider):
    before = everything()
    token = provider.id_token({"nonce": "n"})
    assert Client().post("/auth/sso/corp/logout", {"logout_token": token}).status_code == 400
    for body in ({}, {"logout_token": ""}, {"logout_token": "x.y.z"}, {"logout_token": "é"}):
        assert Client().post("/auth/sso/corp/logout", body).status_code == 400
    assert Client().get("/auth/sso/corp/logout").status_code == 405
    assert everything() == before


# ---- The pages ---------------------------------------------------------------------------------------------


def form_action(path):
    policy = Client().get(path)["Content-Security-Policy"]
    return next(part.split()[1:] for part in policy.split("; ") if part.startswith("form-action"))


def test_pages_with_buttons_alone_name_the_providers_in_their_policy(sso, provider):
    origin = provider.url
    provider.discovery = {"authorization_endpoint": "https://login.corp.example/a/authorize?p=b2c_1"}
    assert form_action("/login") == form_action("/settings") == ["'self'", "https://login.corp.example"]
    assert form_action("/") == form_action("/signup") == ["'self'"]
    discovery.forget()
    provider.broken = True
    assert form_action("/login") == ["'self'", origin]


@pytest.mark.parametrize("path", ["/login", "/login/done"])
def test_pages_with_an_address_in_the_query_do_not_tell_it_as_the_referrer(sso, path):
    assert Client().get(path, {"next": "/s/" + "t" * 27})["Referrer-Policy"] == "strict-origin"


def test_authorization_endpoint_with_a_query_keeps_it(browser, provider):
    provider.discovery = {"authorization_endpoint": f"{provider.url}/authorize?p=b2c_1"}
    asked = parse_qs(urlsplit(browser.begin()["Location"]).query)
    assert (asked["p"], asked["client_id"]) == (["b2c_1"], [CLIENT])


@pytest.mark.parametrize(
    "error", ["sso_failed", "sso_denied", "email_unverified", "account_exists", "domain", "closed", "inactive"]
)
def test_login_says_each_error_in_a_sentence(sso, error):
    page = Client().get("/login", {"error": error}).content.decode()
    assert 'role="alert"' in page.split("<form")[0]
    assert error not in page
    assert 'class="refused"' not in Client().get("/login", {"error": "<script>"}).content.decode()


def test_login_has_a_button_for_each_provider_and_keeps_next(sso):
    sso("other", name="<Other>")
    page = Client().get("/login", {"next": "/settings"})
    text = page.content.decode()
    assert "Continue with Corp" in text
    assert "Continue with &lt;Other&gt;" in text
    assert text.count('name="next" value="/settings"') == 2
    assert 'value="//' not in Client().get("/login", {"next": "//evil.example"}).content.decode()
    assert "no-store" in page["Cache-Control"]


def test_settings_demand_no_password_for_what_an_account_without_one_may_do(sso):
    page = Client().get("/settings").content.decode()
    for id in ("address-current", "delete-current", "proof-password"):
        field = re.search(rf'<input id="{id}"[^>]*>', page)[0]
        assert " required" not in field
        assert re.search(rf'class="proof"[^>]*>\s*<label for="{id}"', page), "the script hides it"


def test_pages_have_no_password_where_only_providers_sign_in(sso, settings):
    settings.NETRA_SSO_ONLY, settings.NETRA_EMAIL_URL = True, "smtp://mail.example"
    for path in ("/login", "/settings"):
        page = Client().get(path).content.decode()
        assert 'name="new"' not in page
        assert 'id="address-form"' not in page
        assert "/reset" not in page
        assert "/signup" not in page
    assert 'id="password"' not in Client().get("/login").content.decode()
    assert Client().get("/signup")["Location"] == "/login"
