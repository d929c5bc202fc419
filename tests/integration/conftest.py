import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from chat import runs
from chat.models import User
from chat.oidc import discovery
from tests import turns
from tests.factories import client, message
from tests.openid_provider import CLIENT, SECRET, OpenIdProvider, openid_provider
from tests.redis_layers import Server
from tests.sign_ins import Browser


@pytest.fixture
def ann(alice: User) -> APIClient:
    """Return Alice's client of the REST API."""
    return client(alice)


@pytest.fixture
def ben(bob: User) -> APIClient:
    """Return Bob's client of the REST API."""
    return client(bob)


@pytest.fixture
def thread(alice: User) -> uuid.UUID:
    """Return the thread of Alice's only run, which is queued for `tests.turns.execute`."""
    turns.DONE.clear()
    return runs.start(alice.id, message("begin")).thread_id


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks: Any) -> Any:
    """Return the context that holds what a test's transaction does on commit, and with `execute=True` does it."""
    return django_capture_on_commit_callbacks


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """Start a Redis of the test's own."""
    server = Server(tmp_path)
    yield server
    server.site.stop()


@pytest.fixture
def provider(db: None) -> Iterator[OpenIdProvider]:
    discovery.forget()
    with openid_provider() as found:
        yield found


@pytest.fixture
def sso(settings: Any, provider: OpenIdProvider) -> Any:
    """Configure the provider as `corp`. Return the function that configures it again, with changes or as another."""

    def sso(id: str = "corp", **fields: Any) -> None:
        entry = {"kind": "oidc", "url": provider.url, "client": CLIENT, "secret": SECRET, "name": "Corp"}
        entry |= {"trust": "off", "domains": [], "groups": ""}
        settings.NETRA_SSO = {**settings.NETRA_SSO, id: {**entry, **fields}}

    settings.NETRA_SSO = {}
    sso()
    return sso


@pytest.fixture
def browser(sso: Any) -> Browser:
    return Browser()
