"""Documents, keys and tokens as real providers make them, through the provider on loopback.

The fields and their oddities are those of the providers' documentation and of reports about them; issuers, ids and
people are this test's.
"""

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import Group
from django.test import Client

from chat.accounts import sessions
from chat.models import GroupPolicy, Session, User
from chat.oidc import discovery
from chat.oidc.provider import api_of
from tests.openid_provider import CLIENT, EC, ED, LOGOUT_EVENT, OTHER, RSA, public
from tests.sign_ins import Browser, error_of, everything, succeeded

TENANT, CONSUMERS = "72f988bf-86f1-41af-91ab-2d7cd011db47", "9188040d-6c67-4c5b-b112-36a304b66dad"
CERTIFICATE = {"x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg", "x5c": ["MIIC..."]}


@pytest.fixture
def staff(db):
    """A group that each of these values of a claim gives."""
    group = Group.objects.create(name="staff")
    GroupPolicy.objects.create(group=group, claims=["netra-staff"])
    return group


# Of each: settings, path of the issuer, what the provider publishes, keys, id_token, userinfo. None takes a claim away.
PROVIDERS = {
    # Keycloak 26: roles in an object, an audience more, its session in the callback, a key for encryption beside.
    "keycloak": {
        "settings": {"groups": "realm_access.roles"},
        "issuer": "/realms/staff",
        "discovery": {
            "mtls_endpoint_aliases": {"token_endpoint": "https://id.example/t"},
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_session_supported": True,
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        },
        "keys": [public(OTHER, "enc", use="enc", alg="RSA-OAEP"), public(RSA, "one", alg="RS256", **CERTIFICATE)],
        "claims": {
            "typ": "ID",
            "aud": [CLIENT, "account"],
            "azp": CLIENT,
            "sid": "09dbeeaa-228f-408b-a27c-afecae0235c4",
            "session_state": "09dbeeaa-228f-408b-a27c-afecae0235c4",
            "acr": "1",
            "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
            "preferred_username": "carol",
            "realm_access": {"roles": ["default-roles-staff", "netra-staff", "uma_authorization"]},
        },
        "granted": {"not-before-policy": 0, "session_state": "09dbeeaa", "refresh_expires_in": 1800},
        "returned": {"session_state": "09dbeeaa-228f-408b-a27c-afecae0235c4", "iss": "http://127.0.0.1/realms/staff"},
    },
    "keycloak, roles of the client": {
        "settings": {"groups": f"resource_access.{CLIENT}.roles"},
        "issuer": "/auth/realms/staff",
        "claims": {"resource_access": {CLIENT: {"roles": ["netra-staff"]}, "account": {"roles": ["view-profile"]}}},
    },
    # Authentik signs with a curve if its key is one, and its issuer ends in a slash.
    "authentik": {
        "settings": {"groups": "groups", "trust": "always"},
        "issuer": "/application/o/netra/",
        "signed": (EC, "ES256", "two"),
        "keys": [public(EC, "two", alg="ES256", **CERTIFICATE)],
        "person": {"sub": "8e0e7ed8c4c7", "email_verified": False, "groups": ["netra-staff", "authentik Admins"]},
        "claims": {"amr": ["pwd", "mfa"], "sid": "5f70bf18a086007016e948b04aed3b82", "acr": "goauthentik.io/default"},
    },
    # Auth0's issuer is the root with a slash, and a claim of one's own has the name of a URL.
    "auth0": {
        "settings": {"groups": "https://netra.example/groups"},
        "issuer": "/",
        "person": {"sub": "auth0|64b5a2c1e2f3a4b5c6d7e8f9", "https://netra.example/groups": ["netra-staff"]},
        "claims": {"updated_at": "2026-10-06T10:50:59.014Z", "sid": "PkFsH"},
    },
    # Okta names both ways of the secret, and takes the one of the registration: the header.
    "okta": {
        "settings": {"groups": "groups"},
        "issuer": "/oauth2/default",
        "secret_in": "header",
        "discovery": {"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"]},
        "claims": {"ver": 1, "amr": ["pwd"], "idp": "00o1gc2s", "groups": ["Everyone", "netra-staff"], "auth_time": 1},
    },
    # OpenID Connect's default is the header, where the document does not say.
    "no word on the secret": {"secret_in": "header"},
    "header only": {
        "secret_in": "header",
        "discovery": {"token_endpoint_auth_methods_supported": ["client_secret_basic"]},
    },
    # Google's id_token may name its issuer without https, and a boolean as a text.
    "google": {
        "settings": {"kind": "google", "domains": ["corp.example"]},
        "person": {"sub": "10769150350006150715113082367", "email_verified": "true"},
        "claims": {"iss": "accounts.google.com", "azp": CLIENT, "hd": "corp.example", "at_hash": "HK6E_P6Dh8Y93mRN"},
        "userinfo": {"email_verified": True, "picture": "https://lh3.example/a", "hd": "corp.example"},
    },
    # Entra for any tenant: the issuer has a place for the tenant, and says otherwise who verified the address.
    "entra, any tenant": {
        "settings": {"kind": "microsoft", "path": "/common/v2.0"},
        "issuer": "/{tenantid}/v2.0",
        "keys": [public(RSA, "one", issuer="{url}/{tenantid}/v2.0", **CERTIFICATE)],
        "person": {"sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "email_verified": None},
        "claims": {
            "iss": "{url}/" + TENANT + "/v2.0",
            "tid": TENANT,
            "oid": "00000000-0000-0000-66f3-3332eca7ea81",
            "ver": "2.0",
            "xms_edov": "1",
            "preferred_username": "carol@corp.example",
            "rh": "0.AVoAv4j5cvGGr0G",
            "uti": "ExQyEKfU",
        },
        "userinfo": {"email_verified": None, "picture": "https://graph.microsoft.com/v1.0/me/photo/$value"},
        "granted": {"ext_expires_in": 3599, "expires_in": "3599"},
    },
    # A tenant that is named by its domain is in the issuer by its id.
    "entra, one tenant by its domain": {
        "settings": {"kind": "microsoft", "path": "/corp.example/v2.0", "groups": "roles"},
        "issuer": f"/{TENANT}/v2.0",
        "person": {"email_verified": None},
        "claims": {"tid": TENANT, "xms_edov": True, "roles": ["netra-staff"], "hasgroups": True},
        "userinfo": {"email_verified": None},
    },
    # JumpCloud, Centrify: a list of one audience, and a boolean as a text.
    "jumpcloud": {
        "settings": {"groups": "member_of"},
        "issuer": "/",
        "person": {"sub": "615c83ca0d032224b3a87754", "email_verified": "true"},
        "claims": {"aud": [CLIENT], "member_of": ["netra-staff"], "middle_name": "", "picture": "none", "rat": 1},
    },
    # Cognito says the address in userinfo with a text for the boolean.
    "cognito": {
        "settings": {"groups": "cognito:groups"},
        "issuer": "/eu-central-1_example",
        "claims": {"email": None, "email_verified": None, "cognito:groups": ["netra-staff"], "token_use": "id"},
        "userinfo": {"email_verified": "true", "username": "carol"},
    },
    # Zitadel: the audience has every client of the project, roles are an object, and what is not known is null.
    "zitadel": {
        "settings": {"groups": "urn:zitadel:iam:org:project:roles"},
        "claims": {
            "aud": ["257714027772314751@platform", CLIENT, "257713952794870157"],
            "azp": CLIENT,
            "client_id": CLIENT,
            "amr": ["mfa", "user"],
            "urn:zitadel:iam:org:project:roles": {"netra-staff": {"2577139527": "corp.id.example"}},
        },
        "userinfo": {"locale": None},
    },
    # GitLab: the groups in userinfo alone.
    "gitlab": {
        "settings": {"groups": "groups"},
        "claims": {"sub_legacy": "c1a6f0", "groups_direct": ["netra-staff/sub"], "auth_time": 1},
        "userinfo": {"groups": ["netra-staff", "netra-staff/sub"], "nickname": "carol"},
    },
    # Servers on PHP's lcobucci/jwt write fractions of seconds.
    "fractions of seconds": {"fraction": True},
    # Slack's userinfo has more than claims.
    "slack": {"userinfo": {"ok": True, "https://slack.com/user_id": "U0R7JM"}},
    "ed25519": {"signed": (ED, "EdDSA", "ed"), "keys": [public(RSA, "one"), public(ED, "ed", alg="EdDSA")]},
    "pss": {"signed": (RSA, "PS256", "ps"), "keys": [public(RSA, "ps", alg="PS256")]},
    # A provider may name its keys by nothing while its tokens name one, or the other way round.
    "keys without an id": {"keys": [public(OTHER, None), public(RSA, None)]},
    "token without an id": {
        "signed": (EC, "ES256", None),
        "keys": [public(ec.generate_private_key(ec.SECP384R1()), "a"), public(RSA, "b"), public(EC, "c")],
    },
    "two keys of one id": {"keys": [public(OTHER, "one"), public(RSA, "one")]},
    "one audience, twice": {"claims": {"aud": [CLIENT, CLIENT]}},
    # Keycloak, Curity and others sign userinfo where the client is registered for that.
    "signed userinfo": {
        "settings": {"groups": "groups"},
        "signs_userinfo": {"aud": [CLIENT], "groups": ["netra-staff"]},
        "claims": {"email": None, "email_verified": None},
    },
}


def filled(value, url):
    """Return the value with the provider's address in its texts."""
    if isinstance(value, str):
        return value.replace("{url}", url)
    if isinstance(value, dict):
        return {name: filled(one, url) for name, one in value.items()}
    return [filled(one, url) for one in value] if isinstance(value, list) else value


def configure(provider, sso, case):
    """Let the provider say what this case has."""
    settings = dict(case.get("settings", {}))
    issuer = provider.url + case.get("issuer", "")
    path = settings.pop("path", case.get("issuer", ""))
    sso(**{"url": provider.url + path.rstrip("/"), **settings})
    provider.discovery = {"issuer": issuer, **case.get("discovery", {})}
    provider.keys = filled(case.get("keys", provider.keys), provider.url)
    provider.key, provider.algorithm, provider.kid = case.get("signed", (RSA, "RS256", "one"))
    provider.person |= case.get("person", {})
    provider.person = {name: value for name, value in provider.person.items() if value is not None}
    provider.claims = {"iss": issuer, **filled(case.get("claims", {}), provider.url)}
    provider.userinfo = case.get("userinfo", {})
    provider.granted, provider.returned = case.get("granted", {}), case.get("returned", {})
    provider.secret_in = case.get("secret_in", "form")
    provider.signs_userinfo = case.get("signs_userinfo")
    if provider.signs_userinfo is not None:
        provider.signs_userinfo = {"iss": issuer, **filled(provider.signs_userinfo, provider.url)}
    if case.get("fraction"):
        provider.sign = lambda claims, sign=provider.sign, **header: sign(
            {name: value + 0.889183 if name in ("iat", "exp") else value for name, value in claims.items()}, **header
        )


@pytest.mark.parametrize("name", PROVIDERS)
def test_person_of_a_real_provider_signs_in_twice(provider, sso, staff, name):
    case = PROVIDERS[name]
    configure(provider, sso, case)
    assert succeeded(Browser().sign_in())
    assert succeeded(Browser().sign_in())
    (user,) = User.objects.all()
    assert (user.email, user.name) == ("carol@corp.example", "Carol")
    account = SocialAccount.objects.get()
    assert (account.uid, account.extra_data["iss"]) == (provider.person["sub"], provider.claims["iss"])
    assert list(user.groups.all()) == ([staff] if case.get("settings", {}).get("groups") else [])
    assert set(Session.objects.values_list("provider_sid", flat=True)) == {provider.claims.get("sid", "")}


def test_issuer_may_be_given_with_or_without_its_slash(provider, sso):
    case = PROVIDERS["authentik"]
    for path in (case["issuer"], case["issuer"].rstrip("/")):
        configure(provider, sso, {**case, "settings": {"trust": "always", "path": path}})
        discovery.forget()
        assert succeeded(Browser().sign_in())
    assert SocialAccount.objects.get().extra_data["iss"] == provider.url + case["issuer"]


# What a real provider sends that is not enough.
REFUSED = {
    # AD FS says no address unless a rule gives it, only a name that looks like one.
    "ad fs": (
        {
            "person": {"email": None, "email_verified": None, "name": None},
            "claims": {"upn": "carol@corp.example", "unique_name": "CORP\\carol", "apptype": "Confidential"},
        },
        "email_unverified",
    ),
    # Entra without its optional claim says an address that its administrators wrote, and not who verified it.
    "entra without xms_edov": (
        {
            "settings": {"kind": "microsoft", "path": f"/{TENANT}/v2.0"},
            "issuer": f"/{TENANT}/v2.0",
            "person": {"email_verified": None},
            "claims": {"tid": TENANT, "preferred_username": "carol@corp.example"},
        },
        "email_unverified",
    ),
    # LinkedIn leaves the nonce out.
    "linkedin": ({"issuer": "/oauth", "claims": {"nonce": None, "locale": {"country": "US"}}}, "sso_failed"),
    # Keycloak with an algorithm of a shared secret, whose key is not published.
    "keycloak with HS256": ({"issuer": "/realms/staff", "signed": ("s" * 40, "HS256", "x")}, "sso_failed"),
    # A key that Microsoft publishes for its consumers, under a token that says another tenant.
    "entra, a key of consumers": (
        {
            **PROVIDERS["entra, any tenant"],
            "keys": [public(RSA, "one", issuer="{url}/" + CONSUMERS + "/v2.0", **CERTIFICATE)],
        },
        "sso_failed",
    ),
    "userinfo that is signed for another client": ({"signs_userinfo": {"aud": "another"}}, "sso_failed"),
    "userinfo that is signed by another issuer": (
        {"signs_userinfo": {"aud": CLIENT, "iss": "https://evil.example"}},
        "sso_failed",
    ),
    "userinfo that is signed and of another user": ({"signs_userinfo": {"aud": CLIENT, "sub": "u-2"}}, "sso_failed"),
    # Zitadel without the party: every application of the project is in the audience.
    "zitadel without a party": (
        {"claims": {"aud": ["257714027772314751@platform", CLIENT], "client_id": "257714027772314751@platform"}},
        "sso_failed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_person_of_a_real_provider_is_refused(provider, sso, name):
    case, error = REFUSED[name]
    configure(provider, sso, case)
    before = everything()
    assert error_of(Browser().sign_in()) == error
    assert everything() == before


def test_userinfo_that_is_signed_with_no_key_of_the_provider_is_refused(provider, sso):
    configure(provider, sso, {"signs_userinfo": {"aud": CLIENT}})
    sign = provider.sign
    provider.sign = lambda claims: sign(claims) if "nonce" in claims else jwt.encode(claims, OTHER, "RS256")
    before = everything()
    assert error_of(Browser().sign_in()) == "sso_failed"
    assert everything() == before


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"name": None, "given_name": "Carol", "family_name": "Doe"}, "Carol Doe"),
        ({"name": "", "given_name": "Carol"}, "Carol"),
        ({"name": ["Carol"], "family_name": None, "preferred_username": "cdoe", "nickname": "caro"}, "cdoe"),
        ({"name": None, "nickname": "caro"}, "caro"),
        ({"name": None}, ""),
    ],
)
@pytest.mark.parametrize("source", ["claims", "userinfo"])
def test_name_is_made_of_what_the_provider_has(provider, sso, said, name, source):
    del provider.person["name"]
    getattr(provider, source).update(said)
    assert succeeded(Browser().sign_in())
    assert User.objects.get().name == name


def test_keys_of_consumers_sign_for_consumers(provider, sso):
    case = PROVIDERS["entra, any tenant"]
    key = public(RSA, "one", issuer="{url}/" + CONSUMERS + "/v2.0")
    claims = {**case["claims"], "tid": CONSUMERS, "iss": "{url}/" + CONSUMERS + "/v2.0"}
    configure(provider, sso, {**case, "keys": [key], "claims": claims})
    assert succeeded(Browser().sign_in())


@pytest.mark.parametrize("kid", ["one", None])
def test_key_that_is_changed_under_its_id_is_read_again(provider, sso, monkeypatch, kid):
    provider.kid, provider.keys = kid, [public(RSA, kid)]
    assert succeeded(Browser().sign_in())
    provider.key, provider.keys = OTHER, [public(OTHER, kid)]
    before = everything()
    assert error_of(Browser().sign_in()) == "sso_failed", "within RENEW_SECONDS: the provider is not flooded"
    assert everything() == before
    monkeypatch.setattr(discovery, "RENEW_SECONDS", 0)
    assert succeeded(Browser().sign_in())
    # And a token with the old key is not good any more.
    provider.key = RSA
    assert error_of(Browser().sign_in()) == "sso_failed"


def test_wrong_secret_is_tried_both_ways_and_refused(provider, sso):
    sso(secret="another")
    before = everything()
    assert error_of(Browser().sign_in()) == "sso_failed"
    assert everything() == before
    assert provider.requests.count("/token") == 2
    sso()
    callback = (browser := Browser()).at_provider(browser.begin())
    provider.codes.clear()  # a code that was spent elsewhere
    assert error_of(browser.client.get(callback)) == "sso_failed"
    assert provider.requests.count("/token") == 3, "a refused code is not tried again"


# ---- Groups ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "kept"),
    [
        # More than 200 groups: Entra's token names a source instead, or says that there are some.
        ({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}}, True),
        ({"hasgroups": True}, True),
        ({"hasgroups": "true"}, True),
        ({"groups": []}, False),
        ({"groups": None}, False),
        ({"_claim_names": {"department": "src1"}}, False),
    ],
)
def test_groups_of_entra_stay_where_it_has_too_many_to_say(provider, sso, staff, claims, kept):
    sso(groups="groups")
    provider.claims = {"groups": ["netra-staff"]}
    assert succeeded(Browser().sign_in())
    provider.claims = claims
    assert succeeded(Browser().sign_in())
    assert list(User.objects.get().groups.all()) == ([staff] if kept else [])


def test_roles_of_entra_are_taken_though_it_has_too_many_groups_to_say(provider, sso, staff):
    sso(groups="roles")
    provider.claims = {"roles": ["netra-staff"]}
    assert succeeded(Browser().sign_in())
    provider.claims = {"hasgroups": True}
    assert succeeded(Browser().sign_in())
    assert not User.objects.get().groups.exists()


@pytest.mark.parametrize("claims", [{"realm_access": None}, {"realm_access": ["netra-staff"]}, {"realm_access": {}}])
def test_path_of_a_claim_that_leads_nowhere_gives_no_group(provider, sso, staff, claims):
    sso(groups="realm_access.roles")
    provider.claims = claims
    assert succeeded(Browser().sign_in())
    assert not User.objects.get().groups.exists()


# ---- Logout tokens -----------------------------------------------------------------------------------------


@pytest.fixture
def three(sso, provider):
    """Sessions of one user: two whose sid the provider said, and one whose sid it did not say."""
    carol = User.objects.create_user("carol@corp.example")
    for sid in ("a", "b", ""):
        sessions.sign_in(carol, "", sessions.Provided("corp", "u-1", sid))
    sessions.sign_in(carol, "")


LOGOUTS = {
    # Keycloak 18, with "revoke offline sessions": an event more. The header's type is JWT.
    "keycloak 18": (
        {"typ": "Logout", "sub": "u-1", "sid": "a", "exp": None}
        | {"events": {LOGOUT_EVENT: {}, "revoke_offline_access": True}},
        {"b"},
    ),
    "keycloak 26, session not required": ({"typ": "Logout", "sub": "u-1"}, set()),
    # Authentik, Ory Hydra: the session alone, without an end.
    "authentik": ({"sid": "a", "exp": None, "jti": "3f2b1c1e-8a7e-4a57-9d1b-111111111111"}, {"b", ""}),
    "ory hydra": ({"sid": "a", "aud": [CLIENT]}, {"b", ""}),
    "auth0": ({"sub": "u-1", "sid": "b", "trace_id": "5a1f"}, {"a"}),
    "zitadel": ({"sub": "u-1", "sid": "V1_2577", "aud": [CLIENT]}, {"a", "b"}),
    "another user's session": ({"sub": "u-2", "sid": "a"}, {"a", "b", ""}),
}


@pytest.mark.parametrize("name", LOGOUTS)
def test_logout_token_of_a_real_provider_ends_what_it_names(provider, three, name):
    claims, left = LOGOUTS[name]
    token = provider.logout_token(**claims)
    answer = Client().post("/auth/sso/corp/logout", {"logout_token": token})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    live = Session.objects.filter(ended_at=None)
    assert set(live.filter(provider="corp").values_list("provider_sid", flat=True)) == left
    assert live.filter(provider="").count() == 1, "the password began it"


# ---- GitHub ------------------------------------------------------------------------------------------------


def test_github_address_that_its_owner_keeps_private_signs_in(provider, sso):
    sso("github", kind="github")
    provider.emails = [
        {"email": "4711+carol@users.noreply.github.com", "primary": False, "verified": True, "visibility": None},
        {"email": "carol@corp.example", "primary": True, "verified": True, "visibility": "private"},
        {"email": "carol@home.example", "primary": False, "verified": True, "visibility": None},
    ]
    assert succeeded(Browser().sign_in("github"))
    assert User.objects.get().email == "carol@corp.example"


@pytest.mark.parametrize(
    ("site", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://octocorp.ghe.com", "https://api.octocorp.ghe.com"),
        ("https://git.example.com", "https://git.example.com/api/v3"),
        ("https://git.example.com/github", "https://git.example.com/github/api/v3"),
        ("https://ghe.com.example.com", "https://ghe.com.example.com/api/v3"),
    ],
)
def test_github_of_each_kind_has_its_api(site, api):
    assert api_of(site) == api


def test_github_error_in_an_answer_of_200_is_refused(provider, sso, monkeypatch):
    """GitHub answers a bad code with 200 and an error in the body."""
    sso("github", kind="github")
    bad = {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}
    monkeypatch.setattr(provider, "token", lambda form, authorization: (200, {}, bad))
    before = everything()
    assert error_of(Browser().sign_in("github")) == "sso_failed"
    assert everything() == before
