from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection, connections

from chat import database
from chat.models import User
from tests import site as sites

PASSWORD = "correct horse battery"
METRICS_TOKEN = "opens-the-figures-of-a-site"
BRISK = {
    "NETRA_LEASE_SECONDS": "2",
    "NETRA_MAX_ATTEMPTS": "2",
    "NETRA_DRAIN_SECONDS": "0.2",
    "NETRA_HEAL_SECONDS": "0.5",
    "NETRA_HEAL_ACTIVE_SECONDS": "0.2",
    "NETRA_AUTHENTICATE_SECONDS": "0.5",
}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite's tests use a file: Django's default, a shared cache in memory, locks as no database of ours does."""
    if "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """What a test began in the threads of chat.database has a connection that stays open; PostgreSQL drops no database
    that somebody is connected to."""
    yield
    for call in (database.from_database, database.in_database):
        async_to_sync(call)(connections.close_all)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """A good hash takes half a second, and is Django's to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def quick_clients(settings: Any) -> None:
    """Each client of Django's makes all middleware anew, and this one then reads every static file there is: running
    sites serve them, and their tests ask for them."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "servestatic" not in name]


@pytest.fixture
def alice(db: Any) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, name="Alice")


@pytest.fixture
def bob(db: Any) -> User:
    return User.objects.create_user("bob@example.com", PASSWORD, name="Bob")


@pytest.fixture(scope="session")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sites.Site]:
    """One running Netra for all tests that leave it as it was."""
    with sites.running(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def site(_site: sites.Site) -> Iterator[sites.Site]:
    yield _site
    _site.close_sockets()


@pytest.fixture(scope="session")
def _brisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sites.Site]:
    with sites.running(tmp_path_factory.mktemp("brisk"), **BRISK) as found:
        yield found


@pytest.fixture
def brisk(_brisk: sites.Site) -> Iterator[sites.Site]:
    """One running Netra with short times; what a test has killed or stopped of it is started again."""
    _brisk.repair()
    yield _brisk
    _brisk.close_sockets()


@pytest.fixture(scope="session")
def _watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sites.Site]:
    folder, port = tmp_path_factory.mktemp("watched"), sites.free_port()
    with sites.running(folder, workers=0, NETRA_METRICS_TOKEN=METRICS_TOKEN, **BRISK) as found:
        found.worker("--metrics-port", str(port))
        found.worker_figures = f"http://127.0.0.1:{port}/metrics"
        yield found


@pytest.fixture
def watched(_watched: sites.Site) -> Iterator[sites.Site]:
    """One running Netra that shows its figures: of its web process, and of its only worker at `worker_figures`."""
    yield _watched
    _watched.close_sockets()


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Any]:
    """Starts a Netra for a test that breaks it: own_site(workers=1, NETRA_LEASE_SECONDS="1")."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(sites.running(tmp_path, **options))
