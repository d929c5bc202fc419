"""The settings of providers: what is wrong is named, and no secret is shown."""

import os
import runpy
from traceback import format_exception

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.commands import GOOD, ROOT

BASE = {
    "NETRA_SSO": "corp=oidc",
    "NETRA_SSO_CORP_URL": "https://id.example.com/realms/staff",
    "NETRA_SSO_CORP_CLIENT": "netra",
    "NETRA_SSO_CORP_SECRET": "hunter2",
}


@pytest.fixture
def read(monkeypatch):
    def read(**environment):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {**GOOD, **BASE, **environment}.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "netra" / "settings.py"))["NETRA_SSO"]

    return read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NETRA_SSO", "corp=oidc,corp=github"),
        *((f"NETRA_SSO_CORP_{name}", None) for name in ("URL", "CLIENT", "SECRET")),
        ("NETRA_SSO_CORP_URL", "http://id.example.com"),
        ("NETRA_SSO_CORP_URL", "id.example.com"),
        ("NETRA_SSO_CORP_URL", "https://u:hunter2@id.example.com"),
        ("NETRA_SSO_CORP_URL", "https://id.example.com?x=hunter2"),
        ("NETRA_SSO_CORP_URL", "https://id.example.com:port"),
        ("NETRA_SSO_CORP_URL", "https://"),
        ("NETRA_SSO_CORP_URL", "https://id.example.com/realms/staff/.well-known/openid-configuration"),
        ("NETRA_SSO_CORP_TRUST_EMAIL", "on"),
        ("NETRA_SSO_CORP_DOMAINS", "@example.com"),
        ("NETRA_SSO_CORP_DOMAINS", "example.com,*.example.org"),
    ],
)
def test_a_wrong_setting_of_a_provider_is_named(read, name, value):
    with pytest.raises(ImproperlyConfigured, match=name) as error:
        read(**{name: value})
    assert "hunter2" not in "".join(format_exception(error.value))


@pytest.mark.parametrize("tenant", ["common", "organizations", "consumers"])
def test_any_tenant_of_microsoft_is_not_trusted_with_addresses(read, tenant):
    given = {"NETRA_SSO": "corp=microsoft", "NETRA_SSO_CORP_TENANT": tenant}
    assert read(**given)["corp"]["url"] == f"https://login.microsoftonline.com/{tenant}/v2.0"
    for trust in ("verified", "always"):
        with pytest.raises(ImproperlyConfigured, match="NETRA_SSO_CORP_TRUST_EMAIL"):
            read(**given, NETRA_SSO_CORP_TRUST_EMAIL=trust)


def test_presets_know_their_address_and_name(read):
    more = {f"NETRA_SSO_{id}_{name}": "x" for id in ("G", "H", "M") for name in ("CLIENT", "SECRET")}
    found = read(NETRA_SSO="g=google,corp=oidc,h=github,m=microsoft", NETRA_SSO_M_TENANT="contoso.com", **more)
    assert [(id, one["url"], one["name"]) for id, one in found.items()] == [
        ("g", "https://accounts.google.com", "Google"),
        ("corp", "https://id.example.com/realms/staff", "Corp"),
        ("h", "https://github.com", "GitHub"),
        ("m", "https://login.microsoftonline.com/contoso.com/v2.0", "Microsoft"),
    ]


def test_tenant_of_microsoft_must_be_given(read):
    with pytest.raises(ImproperlyConfigured, match="NETRA_SSO_CORP_TENANT"):
        read(NETRA_SSO="corp=microsoft")


def test_loopback_may_be_plain(read):
    assert read(NETRA_SSO_CORP_URL="http://127.0.0.1:8080/realms/x", NETRA_SSO_CORP_DOMAINS="Example.com")["corp"] == {
        "kind": "oidc",
        "url": "http://127.0.0.1:8080/realms/x",
        "client": "netra",
        "secret": "hunter2",
        "name": "Corp",
        "trust": "off",
        "domains": ["example.com"],
        "groups": "",
    }


def test_without_the_setting_there_is_no_provider(read):
    assert read(NETRA_SSO=None) == {}
