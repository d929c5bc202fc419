"""Files of deploy/, with a real nginx if the machine has one."""

import asyncio
import copy
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.conf import settings
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from chat.api.uploads import MAX_SIZE
from chat.migrations._concurrently import AddIndex, RemoveIndex
from tests import site as sites
from tests.site import NATIVE_MODES, ROOT, WAIT_TIMEOUT, Site, free_port, wait_until
from tools import chaos

DEPLOY = ROOT / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None and not os.environ.get("CI"), reason="there is no nginx")


def configured(folder: Path, web: list[int], files: Path) -> int:
    """Write deploy/nginx.conf for an nginx of the test's own, in front of these ports; the port that it listens on."""
    port, text = free_port(), (DEPLOY / "nginx.conf").read_text()
    servers = "".join(f"server 127.0.0.1:{number} max_fails=0;\n" for number in web)
    text = re.sub(r"(    server 127\.0\.0\.1:.*\n)+", servers, text)
    text = re.sub(r"listen \[::\].*", "", text)
    text = text.replace("listen 443 ssl http2", f"listen 127.0.0.1:{port}")  # clients of tests have no certificates
    text = re.sub(r"listen (443 ssl|80) default", lambda old: f"listen 127.0.0.1:{free_port()} default", text)
    text = text.replace("ssl_reject_handshake on;", "return 444;")
    text = re.sub(r"ssl_certificate.*", "", text)
    text = text.replace("/var/log/nginx", str(folder)).replace("/var/lib/netra", str(files))
    (folder / "netra.conf").write_text(text.replace("include mime.types", "include /etc/nginx/mime.types"))
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\ndaemon off;\nerror_log {folder}/error.log info;\n"
        f"pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}include {folder}/netra.conf;\n}}\n"
    )
    return port


@contextmanager
def behind_nginx(site: Site, web: list[int], folder: Path) -> Iterator[Site]:
    """The site as its users reach it."""
    front = copy.copy(site)
    front.port = configured(folder, web, site.folder)
    front.url = f"http://127.0.0.1:{front.port}"
    assert NGINX is not None, "there is no nginx"
    with subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf")], cwd=folder) as process:
        try:
            wait_until((folder / "nginx.pid").exists, "nginx")
            yield front
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def front(site: Site, tmp_path: Path) -> Iterator[Site]:
    with behind_nginx(site, [site.port], tmp_path) as found:
        yield found


@needs_nginx
def test_a_message_goes_through_nginx_and_its_token_is_not_logged(front: Site, tmp_path: Path) -> None:
    user = front.register()
    for path in NATIVE_MODES:
        socket = user.connect(path)
        assert socket.raw.subprotocol == "jwt-auth"
        assert socket.answer(socket.ask("one two")["run_id"])["final_response"] == "one two "
    assert user.http("GET", "/api/threads?q=secret-words").status_code == 200
    assert httpx.get(f"{front.url}/reset/MQ/secret-token", timeout=WAIT_TIMEOUT).status_code < 500
    assert httpx.get(f"{front.url}/ws", timeout=WAIT_TIMEOUT).status_code == 426
    front.close_sockets()
    wait_until(lambda: "GET /ws 101" in (tmp_path / "netra.log").read_text(), "the socket's line")
    for log in ("netra.log", "error.log"):
        text = (tmp_path / log).read_text()
        assert user.access not in text
        assert "jwt." not in text
    assert "/reset/- " in (tmp_path / "netra.log").read_text()
    assert "secret" not in (tmp_path / "netra.log").read_text()


@needs_nginx
def test_nginx_logs_no_secret_of_a_path_or_query_while_netra_is_away(site: Site, tmp_path: Path) -> None:
    paths = ("/reset/MQ/secret", "/s/secret", "/login?next=%2Fs%2Fsecret", "/auth/sso/corp/callback?code=secret")
    with behind_nginx(site, [free_port()], tmp_path) as front:
        for path in (*paths, "/login/done?next=%2Fs%2Fsecret", "/health"):
            assert httpx.get(front.url + path, timeout=WAIT_TIMEOUT).status_code == 503
        wait_until(lambda: "/health" in (tmp_path / "netra.log").read_text(), "the last line")
    assert "/health" in (tmp_path / "error.log").read_text()
    for log in ("netra.log", "error.log"):
        assert "secret" not in (tmp_path / log).read_text()


@needs_nginx
def test_nginx_lets_the_largest_file_through_and_refuses_in_the_words_of_the_wire(front: Site) -> None:
    user = front.register()

    def upload(size: int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {user.access}"}
        files = {"file": ("usage.txt", b"x" * size)}
        return httpx.post(f"{front.url}/api/attachments", headers=headers, files=files, timeout=WAIT_TIMEOUT)

    assert upload(MAX_SIZE).json()["size"] == MAX_SIZE
    refused = upload(MAX_SIZE + 2 * 1024 * 1024)
    assert (refused.status_code, refused.json()["error"]) == (413, "too_large")


NAMED = "HTTP/1.1\r\nHost: netra.example.com\r\nConnection: close\r\n"


@needs_nginx
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (f"GET / {NAMED}X-Long: {'x' * 70_000}", 400, "invalid_message"),
        (f"GET /{'x' * 70_000}", 414, "invalid_message"),
        (f"GET /%zz {NAMED}\r\n", 400, "invalid_message"),
        (f"POST / {NAMED}Content-Length: {64 * 1024 + 1}\r\n\r\n", 413, "too_large"),
    ],
    ids=["header", "address", "escape", "body"],
)
def test_nginx_refuses_what_is_malformed_in_json(front: Site, sent: str, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", front.port), WAIT_TIMEOUT) as connection:
        connection.sendall(sent.encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert (int(head.split()[1]), json.loads(body)["error"]) == (status, code)


@needs_nginx
def test_nginx_without_netra_behind_it_says_unavailable(site: Site, tmp_path: Path) -> None:
    with behind_nginx(site, [free_port()], tmp_path) as front:
        answer = httpx.get(f"{front.url}/api/threads", timeout=WAIT_TIMEOUT)
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"


@needs_nginx
def test_nginx_serves_modules_with_their_type_and_leaves_the_rest_to_netra(front: Site, tmp_path: Path) -> None:
    files = front.folder / "static" / "vendor"
    files.mkdir(parents=True)
    (files / "collected.mjs").write_text("export {};\n" * 100)
    try:
        collected = httpx.get(f"{front.url}/static/vendor/collected.mjs", timeout=WAIT_TIMEOUT)
    finally:
        shutil.rmtree(front.folder / "static")
    assert collected.headers["content-type"] == "text/javascript"
    assert collected.headers["x-content-type-options"] == "nosniff"
    rest = httpx.get(f"{front.url}/static/chat/state/reducer.js", timeout=WAIT_TIMEOUT)
    assert rest.status_code == 200
    assert [answer.headers["content-encoding"] for answer in (collected, rest)] == ["gzip", "gzip"]
    page = httpx.get(f"{front.url}/login", timeout=WAIT_TIMEOUT)
    assert "content-encoding" not in page.headers, "its length would tell of secrets in it"


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return parser


def test_whoever_stops_a_worker_waits_until_it_has_drained() -> None:
    least = settings.NETRA_SHUTDOWN_SECONDS + 10
    assert unit("netra-worker@.service").getfloat("Service", "TimeoutStopSec") > least
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert float(compose["services"]["worker"]["stop_grace_period"].removesuffix("s")) > least


def test_units_and_image_start_what_the_readme_names() -> None:
    web, worker = (unit(f"netra-{kind}@.service")["Service"]["ExecStart"] for kind in ("web", "worker"))
    assert web.endswith("-m daphne -v 0 -e tcp:%i:interface=127.0.0.1:backlog=1024 netra.asgi:application")
    assert worker.endswith("manage.py runagents")
    image = (DEPLOY / "Dockerfile").read_text()
    command = json.loads(image.rpartition("CMD ")[2])
    assert (
        " ".join(command) == "python -m daphne -v 0 -e tcp:8000:interface=0.0.0.0:backlog=1024 netra.asgi:application"
    )
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", image, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())


# Reviewed exceptions: they remove what the release before no longer uses, change no column (choices of a field), or
# fill a new one in short transactions.
REVIEWED = {"0003_waiting_rules", "0005_providers", "0010_mcp_connections", "0015_seen_so_far"}


def breaks_old_processes(migration: type[migrations.Migration]) -> list[str]:
    """Return the reasons why processes of the release before cannot run beside this migration."""
    reasons = []
    for operation in migration.operations:
        match operation:
            case migrations.CreateModel():
                pass
            case migrations.AddIndex() | migrations.RemoveIndex():
                if migration.atomic:
                    reasons.append("writers wait for it: chat/migrations/_concurrently.py")
                if len(migration.operations) > 1:
                    reasons.append("one that was interrupted could not be run again")
            case migrations.AddField(field=field):
                if not (field.many_to_many or field.null or field.has_db_default()):
                    reasons.append(f"{operation.name}: the old code does not fill it; null=True or db_default")
            case _:
                reasons.append(f"{operation.describe()}: in the release after the one that no longer uses it")
    return reasons


@pytest.mark.parametrize("path", sorted((ROOT / "chat/migrations").glob("0*.py")), ids=lambda path: path.stem)
def test_migration_after_the_first_only_expands_the_schema(path: Path) -> None:
    migration = import_module(f"chat.migrations.{path.stem}").Migration
    if not migration.initial and path.stem not in REVIEWED:
        assert breaks_old_processes(migration) == []


INDEX = models.Index(fields=["agent"], name="run_agent")


@pytest.mark.parametrize(
    ("operations", "atomic", "expands"),
    [
        ([migrations.AddField("run", "note", models.TextField(null=True))], True, True),
        ([migrations.AddField("run", "note", models.TextField(db_default=""))], True, True),
        ([migrations.AddField("run", "note", models.TextField(default=""))], True, False),
        ([migrations.RemoveField("run", "agent")], True, False),
        ([migrations.RenameField("run", "agent", "name")], True, False),
        ([AddIndex("run", INDEX)], False, True),
        ([migrations.AddIndex("run", INDEX)], True, False),
        ([AddIndex("run", INDEX), RemoveIndex("run", "run_created")], False, False),
    ],
)
def test_migration_that_old_processes_cannot_bear_is_found(
    operations: list[Operation], atomic: bool, expands: bool
) -> None:
    migration = type("Migration", (migrations.Migration,), {"operations": operations, "atomic": atomic})
    assert (breaks_old_processes(migration) == []) is expands


@pytest.mark.django_db(transaction=True)
def test_index_operations_outside_a_transaction_add_and_remove_the_index() -> None:
    """Run the operations on a real table; on PostgreSQL a build that was interrupted is run again."""

    def indexes() -> set[str]:
        with connection.cursor() as cursor:
            return set(connection.introspection.get_constraints(cursor, "chat_run"))

    before = MigrationLoader(connection).project_state()
    add = AddIndex("run", INDEX)
    after = before.clone()
    add.state_forwards("chat", after)
    remove = RemoveIndex("run", INDEX.name)
    try:
        with connection.schema_editor(atomic=False) as editor:
            add.database_forwards("chat", editor, before, after)
        assert INDEX.name in indexes()
        if connection.vendor == "postgresql":
            with connection.schema_editor(atomic=False) as editor:
                add.database_forwards("chat", editor, before, after)
    finally:
        with connection.schema_editor(atomic=False) as editor:
            remove.database_forwards("chat", editor, after, before)
    assert INDEX.name not in indexes()


@pytest.mark.alone
@needs_nginx
def test_nothing_is_lost_when_every_process_is_restarted_under_load(tmp_path: Path) -> None:
    times = {"NETRA_SHUTDOWN_SECONDS": "1", "NETRA_ACCESS_TOKEN_SECONDS": "86400", "NETRA_TRUSTED_PROXIES": "1"}
    with sites.empty(tmp_path, **times) as site:
        victim = chaos.Victim(site, random.Random(7))
        victim.begin()
        (tmp_path / "nginx").mkdir()
        with behind_nginx(site, victim.ports, tmp_path / "nginx") as front:
            report = asyncio.run(rolled(victim, front))
    assert report.good, f"{report} {report.wrong[:10]}"


async def rolled(victim: chaos.Victim, front: Site) -> chaos.Report:
    """Restart one process after the other while fifty runs stream."""
    users = [front.register(f"user{number}") for number in range(4)]
    senders, watchers = ([chaos.Client(user, [front.port], victim.rng) for user in users] for _ in range(2))
    clients = [asyncio.create_task(client.run()) for client in (*senders, *watchers)]
    texts: dict[str, str] = {}
    over = asyncio.Event()

    async def keep_asking(client: chaos.Client) -> None:
        while not over.is_set():
            key = str(uuid.uuid4())
            texts[key] = f"{len(texts)} {victim.rng.randint(40, 120)}"
            frame: dict[str, Any] = {"type": "user_message", "content": texts[key], "agent": "chaotic"}
            await client.send({**frame, "client_msg_id": key, "thread_id": str(uuid.uuid4())})
            await chaos.until(lambda: client.waiting < 13)

    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(keep_asking(sender))
        await chaos.until(lambda: sum(sender.waiting for sender in senders) >= 50)
        for number in range(len(victim.workers)):
            await asyncio.to_thread(chaos.end, victim.workers[number], signal.SIGTERM)
            victim.start_worker()
            await asyncio.to_thread(victim.wait_up)
        for port in victim.ports:
            await asyncio.to_thread(chaos.end, victim.webs[port], signal.SIGTERM)
            victim.start_web(port)
            await asyncio.to_thread(victim.wait_up)
        over.set()
    await chaos.until(lambda: not any(sender.waiting for sender in senders), WAIT_TIMEOUT)
    await chaos.until(lambda: all(a.shown == b.shown for a, b in zip(senders, watchers, strict=True)), WAIT_TIMEOUT)
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)  # or their sockets stay open
    report = chaos.Report("behind nginx", 7, runs=len(texts))
    for sender, watcher in zip(senders, watchers, strict=True):
        chaos.check(sender, watcher, texts, report)
    return report
