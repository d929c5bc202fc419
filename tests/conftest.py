import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.db import connection, connections

from agents.assistant import answer
from agents.sdk import RecordingSink, Turn
from agents.toolbox.mcp import Servers
from chat.apps import ChatConfig
from chat.assistants import Definition
from chat.assistants.listing import AssistantList
from chat.db import access
from chat.models import User
from tests import site as sites
from tests.model_provider import KEY, Provider, Reply, provided
from tests.site import WAIT_TIMEOUT

# How many examples a property is tried with, if it says no other number in terms of this one. Those of `ci` are the
# same for the same code, so that a change is judged by what it does; `nightly` looks for new ones.
for name, examples in {"dev": 24, "ci": 100, "nightly": 2000}.items():
    hypothesis.settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=name == "ci",
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

PASSWORD = "correct horse battery"
METRICS_TOKEN = "opens-the-figures-of-a-site"
BRISK = {
    "NETRA_LEASE_SECONDS": "2",
    "NETRA_MAX_ATTEMPTS": "2",
    "NETRA_SHUTDOWN_SECONDS": "0.2",
    "NETRA_RECONCILE_SECONDS": "0.5",
    "NETRA_RECONCILE_ACTIVE_SECONDS": "0.2",
    "NETRA_AUTHENTICATE_SECONDS": "0.5",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the end-to-end tests that `make test` leaves to `make test-e2e`. Tests that run alone are slow ones."""
    for item in items:
        if item.get_closest_marker("alone") is not None:
            item.add_marker("slow")
        if item.path.parent.name == "e2e" and item.get_closest_marker("essential") is None:
            item.add_marker("e2e")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the database's writing thread open a connection of its own for each test with a database.

    A write of a test before may have been refused half way, see below. Django then takes its connection for one without
    autocommit and begins by a savepoint: such a transaction takes no lock then, and fails where it meets another. Or
    it kept its lock, as a write after the answer to an API key does that waited for the transaction of its test.
    """
    if item.get_closest_marker("django_db") is not None or "db" in getattr(item, "fixturenames", ()):
        async_to_sync(access.in_database)(connections.close_all)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let the database's writing thread end its work while the test has its database.

    pytest-django then refuses every access: a transaction that is refused half way keeps its lock.
    """
    marker = item.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        async_to_sync(access.in_database)(bool)


@pytest.fixture(scope="session", autouse=True)
def no_templates_left() -> Iterator[None]:
    yield
    sites.templates.close()


@pytest.fixture(scope="session", autouse=True)
def own_channels(worker_id: str) -> None:
    """Keep the channels of the workers of pytest-xdist apart: the databases of a Redis share them."""
    settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] += worker_id


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Give each worker of pytest-xdist a database.

    SQLite's is a file: Django's default, a shared cache in memory, locks as no database of ours does.
    """
    if "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Close the connections of the threads of chat.db.access: PostgreSQL drops no database with open connections."""
    yield
    for call in (access.from_database, access.in_database):
        async_to_sync(call)(connections.close_all)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Hash passwords fast: a good hash takes half a second, and is Django's to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def quick_clients(settings: Any) -> None:
    """Leave out the middleware that reads every static file for each of Django's test clients.

    Running sites serve these files, and their tests ask for them.
    """
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "static" not in name]


@pytest.fixture
def make_limiters() -> Callable[[str], None]:
    """Return the function that makes limiters which have counted nothing, at the Redis of a URL."""
    return cast("ChatConfig", apps.get_app_config("chat")).make_limiters


@pytest.fixture(autouse=True)
def fresh_limiters(request: pytest.FixtureRequest) -> None:
    """Give each test with a database limiters that have counted nothing. Pure tests use none."""
    if request.path.parent.name not in ("unit", "usage"):
        cast("ChatConfig", apps.get_app_config("chat")).make_limiters(settings.REDIS_URL)


@pytest.fixture(autouse=True)
def fresh_assistants(request: pytest.FixtureRequest) -> None:
    """Let each test with a database read its own assistants."""
    if request.path.parent.name not in ("unit", "usage"):
        cast("ChatConfig", apps.get_app_config("chat")).assistants = AssistantList()


@pytest.fixture
def limited_by(settings: Any, make_limiters: Callable[[str], None]) -> Callable[[str], None]:
    """Switch limits on, with counters at the Redis of the URL that the test gives."""

    def limited_by(redis_url: str) -> None:
        settings.NETRA_RATE_LIMITS, settings.REDIS_URL = True, redis_url
        make_limiters(redis_url)

    return limited_by


@pytest.fixture
def alice(db: Any) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, name="Alice")


@pytest.fixture
def bob(db: Any) -> User:
    return User.objects.create_user("bob@example.com", PASSWORD, name="Bob")


@pytest.fixture(scope="session")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sites.Site]:
    """A running site for all tests that leave it as it was."""
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
    """A running site with short times; processes that a test killed or stopped are started again."""
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
    """A running site with metrics: of its web process, and of its only worker at `worker_figures`."""
    yield _watched
    _watched.close_sockets()


@pytest.fixture(scope="session")
def site_with_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sites.Site, Provider]]:
    """A running site, and the provider of its model."""
    with provided() as (provider, url):
        options = {"NETRA_MODEL": "openai:gpt-4o", "NETRA_MODEL_URL": url, "NETRA_MAX_ATTEMPTS": "2"}
        with sites.running(tmp_path_factory.mktemp("model"), **options) as found:
            yield found, provider


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Any]:
    """Start a Netra for a test that breaks it, as `own_site(workers=1, NETRA_LEASE_SECONDS="1")`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(sites.running(tmp_path, **options))


@pytest.fixture
def media_folder(settings: Any, tmp_path: Path) -> Path:
    """Keep uploaded files in a folder of the test's own."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def model_settings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings of a model whose provider the test gives, with no server of tools and none known from another test."""
    # A port that another test's server had would be taken for that server.
    monkeypatch.setattr(apps.get_app_config("agents"), "mcp_servers", Servers())
    default = {"model": "openai:gpt-4o", "url": "http://127.0.0.1:9/v1", "key": KEY, "options": {}}
    settings.NETRA_MODELS = {"default": default}
    settings.NETRA_MODEL_TIMEOUT = 60.0
    settings.NETRA_MODEL_STEPS = 10
    settings.NETRA_MODEL_TOOL_CALLS = 20
    settings.NETRA_MODEL_TOKENS = 100_000
    settings.NETRA_WEB_FETCH = False
    settings.NETRA_MCP_SERVERS = {}
    settings.NETRA_MCP_CONNECT_SECONDS = WAIT_TIMEOUT  # a server that answers has the time of a busy machine
    return settings


@pytest.fixture
def play(model_settings: Any) -> Callable[..., tuple[Turn, RecordingSink, Provider]]:
    """Let the assistant answer. The provider gives the replies in their order; `beside` is a context held meanwhile.

    `policies`: those of tools by name.
    """

    def play(
        *replies: Reply, text: str = "Hello", beside: Any = None, policies: Any = None, **given: Any
    ) -> tuple[Turn, RecordingSink, Provider]:
        provider, sink = Provider(*replies), RecordingSink()
        turn = Turn(text=text, sink=sink, agent_name="assistant", **given)

        async def scene() -> None:
            async with beside or nullcontext(), provider.running() as url, asyncio.timeout(WAIT_TIMEOUT):
                model_settings.NETRA_MODELS["default"]["url"] = url
                await answer(turn, Definition(policies={} if policies is None else policies))

        play.last = turn, sink, provider  # type: ignore[attr-defined]
        asyncio.run(scene())
        return turn, sink, provider

    return play
