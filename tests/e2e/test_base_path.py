"""Netra under a path of its host: NETRA_BASE_PATH, with what proxies and servers make of it."""

import copy
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.urls import get_resolver
from playwright.sync_api import expect, sync_playwright
from websockets.exceptions import InvalidStatus

from chat.protocol import MODES
from netra.base_path import mounted
from netra.settings import OWN_SEGMENTS
from tests import site as sites
from tests.site import NATIVE_MODES, ROOT, WAIT_TIMEOUT, Site, free_port, wait_until

BASE = "/tools/netra"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_nginx = pytest.mark.skipif(NGINX is None and not os.environ.get("CI"), reason="there is no nginx")
needs_chromium = pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="there is no Chromium")
SERVERS = {
    "daphne": ["-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p"],
    "daphne --root-path": ["-m", "daphne", "-v", "0", "--root-path", BASE, "-b", "127.0.0.1", "-p"],
    "uvicorn": ["-m", "uvicorn", "--log-level", "warning", "--port"],
    "uvicorn --root-path": ["-m", "uvicorn", "--log-level", "warning", "--root-path", BASE, "--port"],
}
KINDS = ("keeps", "removes")  # what the two locations of docs/deploy.md do with the base path


@pytest.mark.parametrize(
    ("base", "path", "meant"),
    [
        ("", "/ws", "/ws"),
        ("", "/netra/ws", "/netra/ws"),
        ("", "//ws", "//ws"),
        ("", ".evil.example/ws", "/.evil.example/ws"),
        ("", "*", "/*"),
        ("/netra", "@evil.example", "/netra/@evil.example"),
        ("/netra", "/netra/ws", "/netra/ws"),
        ("/netra", "/ws", "/netra/ws"),
        ("/netra", "/netra/netra/ws", "/netra/ws"),
        ("/netra", "/netra", "/netra"),
        ("/netra", "/netra/", "/netra/"),
        ("/netra", "/", "/netra/"),
        ("/netra", "/netraws", "/netra/netraws"),
        ("/netra", "//netra/ws", "/netra//netra/ws"),
        ("/a/b", "/a/b/c/x", "/a/b/c/x"),
        ("/a/b", "/a/ws", "/a/b/a/ws"),
    ],
)
def test_mounted_path_of_any_proxy_gets_the_base_once(base: str, path: str, meant: str) -> None:
    for root_path in ("", base, "/elsewhere"):
        scope = mounted({"type": "http", "path": path, "root_path": root_path}, base)
        assert (scope["path"], scope["root_path"]) == (meant, base)


def test_base_path_cannot_begin_like_a_path_of_netra() -> None:
    patterns = (re.split(r"[/<$]", str(route.pattern).lstrip("^"))[0] for route in all_routes())
    assert {segment for segment in patterns if segment} | {"static", "mcp"} == OWN_SEGMENTS


def test_page_scripts_name_no_path_without_the_base() -> None:
    path = re.compile(rf"[\"'`]/(?:{'|'.join(OWN_SEGMENTS)})(?:[/\"'`?$])")
    for script in (ROOT / "chat/pages/static/chat").rglob("*.js"):
        code = re.sub(r"(?m)^\s*(?:/?\*|//).*$", "", script.read_text())
        code = re.sub(r"session\.read\(`/", "(", code)  # it puts the base in front
        if script.parent.name == "net":  # so do its `call`, `all`, `read` and `sendAtOnce`
            code = re.sub(r"(?:(?:call|all)\([^/]*|sendAtOnce\([^/]*|enter\(|read\(|startsWith\()[\"`]/", "(", code)
        assert not path.findall(code), f"{script.name}: put BASE in front of {path.search(code)}"


def all_routes() -> Iterator[Any]:
    for entry in get_resolver().url_patterns:
        yield from (entry.url_patterns if str(entry.pattern) == "" and hasattr(entry, "url_patterns") else [entry])


class Mail(socketserver.StreamRequestHandler):
    """Run the part of a mail server that Django needs; received mails are in `server.letters`."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.append(letter.decode())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 ok\r\n")


@pytest.fixture(scope="module")
def mails() -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.letters = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory, mails: Any) -> Iterator[dict[tuple[str, str], Site]]:
    """A site under BASE, under each kind of server and behind each kind of proxy."""
    folder = tmp_path_factory.mktemp("mounted")
    ports = {(server, kind): free_port() for server in SERVERS for kind in KINDS}
    options = {
        "NETRA_BASE_PATH": BASE,
        "ALLOWED_ORIGINS": ",".join(f"http://127.0.0.1:{port}" for port in ports.values()),
        "NETRA_EMAIL_URL": f"smtp://127.0.0.1:{mails.server_address[1]}",
        "NETRA_TRUSTED_PROXIES": "1",
    }
    with sites.running(folder, **options) as site:
        behind = {server: free_port() for server in SERVERS}
        for server, command in SERVERS.items():
            site.start(*command, str(behind[server]), "netra.asgi:application", log=f"web-{server}")
        with nginx(folder, {key: (port, behind[key[0]]) for key, port in ports.items()}):
            fronts = {}
            for key, port in ports.items():
                fronts[key] = copy.copy(site)
                fronts[key].url, fronts[key].port = f"http://127.0.0.1:{port}{BASE}", port
                wait_until(lambda url=fronts[key].url: httpx.get(f"{url}/health").status_code == 200, key[0])
            yield fronts


@contextmanager
def nginx(folder: Path, ports: dict[tuple[str, str], tuple[int, int]]) -> Iterator[None]:
    """An nginx with the locations of docs/deploy.md, each in a server of its own."""
    section = (ROOT / "docs" / "deploy.md").read_text().partition("## Under a path of a host")[2].partition("\n## ")[0]
    found = dict(zip(KINDS, re.findall(r"```nginx\n(.*?)```", section, re.S), strict=True))
    own = (ROOT / "deploy" / "nginx.conf").read_text()
    own = own[own.index("map $http_upgrade") : own.index("# Handshakes from one address")]
    servers = ""
    for number, ((_, kind), (port, behind)) in enumerate(ports.items()):
        location = (
            found[kind]
            .replace("location /netra/", f"location {BASE}/")
            .replace("http://netra", f"http://netra{number}")
        )
        servers += f"upstream netra{number} {{ server 127.0.0.1:{behind}; }}\n"
        location = location.replace("/var/log/nginx", str(folder))
        servers += f"server {{\nlisten 127.0.0.1:{port};\n{location}\n}}\n"
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\ndaemon off;\nerror_log {folder}/error.log info;\n"
        f"pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}"
        f"{own}{servers}}}\n"
    )
    assert NGINX is not None, "there is no nginx"
    with subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf")], cwd=folder) as process:
        try:
            wait_until((folder / "nginx.pid").exists, "nginx")
            yield
        finally:
            process.terminate()


@pytest.fixture(params=[(server, kind) for server in SERVERS for kind in KINDS], ids=lambda pair: " ".join(pair))
def front(request: pytest.FixtureRequest, mounts: dict[tuple[str, str], Site]) -> Iterator[Site]:
    found = mounts[request.param]
    yield found
    found.close_sockets()


def get(site: Site, path: str, **headers: str) -> httpx.Response:
    return httpx.get(site.url + path, headers=headers, timeout=WAIT_TIMEOUT)


@needs_nginx
def test_sockets_of_every_mode_open_below_the_base_path(front: Site) -> None:
    user = front.register()
    for path, mode in NATIVE_MODES.items():
        socket = user.connect(path)
        assert (socket.raw.subprotocol, socket.hello["data"]["mode"]) == ("jwt-auth", mode)
        assert socket.answer(socket.ask("one two")["run_id"])["final_response"] == "one two "
        assert get(front, path).status_code == 426
    with pytest.raises(InvalidStatus, match="403"):
        user.connect("/ws/elsewhere")


@needs_nginx
def test_link_to_a_new_password_below_the_base_path_is_not_logged(front: Site) -> None:
    page = get(front, "/reset/MQ/secret-token")
    assert "This link has expired" in page.text
    wait_until(lambda: f"GET {BASE}/reset/- 200" in front.log("netra"), "the line of the log")
    assert "secret" not in front.log("netra") + front.log("error")


@needs_nginx
def test_upload_below_the_base_path_may_be_as_large_as_elsewhere(front: Site) -> None:
    user = front.register()
    headers, files = {"Authorization": f"Bearer {user.access}"}, {"file": ("usage.txt", b"x" * 2**20)}
    stored = httpx.post(f"{front.url}/api/attachments", headers=headers, files=files, timeout=WAIT_TIMEOUT)
    assert stored.json()["size"] == 2**20
    refused = httpx.post(f"{front.url}/auth/login", content=b" " * 2**17, timeout=WAIT_TIMEOUT)
    assert (refused.status_code, refused.json()["error"]) == (413, "too_large")


@needs_nginx
def test_pages_name_only_addresses_below_the_base_path(front: Site) -> None:
    for path in ("/", "/login", "/signup", "/settings", "/reset", "/api/docs", "/admin/login/"):
        page = get(front, path)
        assert page.status_code == 200, path
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"|: "(/[^"]*)"', page.text)
        assert links or path == "/reset"
        for link in (first or second for first, second in links):
            assert link.startswith(f"{BASE}/"), f"{path} has {link}"
            if link.startswith(f"{BASE}/static/"):
                assert httpx.get(f"http://127.0.0.1:{front.port}{link}", timeout=WAIT_TIMEOUT).status_code == 200, link
    assert get(front, "/admin/").headers["location"] == f"{BASE}/admin/login/?next={BASE}/admin/"
    assert get(front, "/favicon.ico").headers["location"] == f"{BASE}/static/chat/favicon.svg"


@needs_nginx
def test_addresses_that_netra_tells_are_below_the_base_path(front: Site) -> None:
    services = get(front, "/api/discovery/services").json()["services"]
    assert services["api"]["url"] == f"{front.url}/api"
    assert services["mcp"]["url"] == f"{front.url}/mcp"
    assert httpx.post(services["mcp"]["url"], json={}, timeout=WAIT_TIMEOUT).json()["error"] == "unauthorized"
    assert services["websocket"] == {
        "url": front.url.replace("http", "ws") + "/ws",
        "config": f"{front.url}/ws/config",
    }
    assert get(front, "/ws/config").json()["paths"] == {mode: BASE + path for path, mode in MODES.items()}
    schema = get(front, "/api/schema").json()
    assert schema["servers"] == [{"url": BASE}]
    assert "/api/threads" in schema["paths"]


@needs_nginx
def test_cookies_are_sent_below_the_base_path_only(front: Site) -> None:
    user = front.register()
    body = {"email": user.email, "password": user.password, "session": "cookie"}
    signed_in = httpx.post(f"{front.url}/auth/login", json=body, timeout=WAIT_TIMEOUT)
    assert f"Path={BASE}/auth;" in signed_in.headers["set-cookie"]
    origin = {"Origin": f"http://127.0.0.1:{front.port}"}
    with httpx.Client(timeout=WAIT_TIMEOUT, cookies=signed_in.cookies, headers=origin) as client:
        assert client.post(f"{front.url}/auth/refresh").status_code == 200
        assert client.post(f"{front.url}/auth/logout").status_code == 200
    csrf = get(front, "/admin/login/").headers["set-cookie"]
    assert csrf.startswith("csrftoken~tools~netra=")
    assert f"Path={BASE}/;" in csrf


@needs_nginx
def test_a_wrong_slash_is_mended_below_the_base_path(front: Site) -> None:
    for path, meant in (("/admin", "/admin/"), ("/login/", "/login"), ("", "/"), ("//settings/?a=b", "/settings?a=b")):
        answer = get(front, path, Accept="text/html")
        assert answer.status_code in (301, 302), path
        assert urlsplit(answer.headers["location"])[2:4] == urlsplit(BASE + meant)[2:4]
    assert get(front, "/nope", Accept="text/html").json()["error"] == "not_found"
    assert get(front, "/login/").json()["error"] == "not_found"


@needs_nginx
@pytest.mark.parametrize("front", [("uvicorn --root-path", "removes")], indirect=True, ids=" ".join)
@pytest.mark.parametrize("command", [[sys.executable, "examples/client.py"], ["node", "examples/client.mjs"]])
def test_example_clients_take_an_address_with_a_base_path(front: Site, command: list[str]) -> None:
    user = front.register()
    node = ["--experimental-websocket"] if command[0] == "node" else []
    done = subprocess.run(
        [command[0], *node, command[1], front.url, user.email, "echo", "one two"],
        cwd=ROOT, env={**os.environ, "NETRA_PASSWORD": user.password}, capture_output=True, timeout=WAIT_TIMEOUT,
    )  # fmt: skip
    assert done.stdout == b"one two \n[completed]\n"


@needs_nginx
@needs_chromium
@pytest.mark.parametrize("front", [("daphne", kind) for kind in KINDS], indirect=True, ids=KINDS)
def test_a_person_uses_all_of_netra_below_the_base_path(front: Site, mails: Any) -> None:
    user, host = front.register("ann"), f"http://127.0.0.1:{front.port}"
    make = "from chat.models import User; User.objects.filter(email=%r).update(is_staff=True, is_superuser=True)"
    front.shell(make % user.email)
    complaints: list[str] = []
    expect.set_options(timeout=WAIT_TIMEOUT * 1000)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        ) as browser,
    ):
        context = browser.new_context()
        context.set_default_timeout(WAIT_TIMEOUT * 1000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on(
            "request",
            lambda request: (
                request.url.startswith((f"{front.url}/", "data:", "blob:")) or complaints.append(request.url)
            ),
        )
        page = context.new_page()
        # Signed out: to the form, and back to where one was going.
        page.goto(f"{front.url}/settings")
        page.wait_for_url(f"{front.url}/login?next=*")
        page.fill("#email", user.email)
        page.fill("#password", user.password)
        page.click("#submit")
        page.wait_for_url(f"{front.url}/settings")
        expect(page.locator("#email")).to_have_value(user.email)
        expect(page.locator("#sessions li")).not_to_have_count(0)
        # A conversation, its address, and the page anew at that address.
        page.click("a.back")
        page.wait_for_url(f"{front.url}/")
        expect(page.locator("#agent-name")).not_to_be_empty()
        page.click("#agent")
        page.get_by_role("menuitemradio", name="echo").click()
        page.fill("#composer", "three words here")
        page.press("#composer", "Enter")
        expect(page.locator("#transcript")).to_contain_text("three words here")
        page.wait_for_url(f"{front.url}/c/*")
        page.reload()
        expect(page.locator("#transcript .answer, #transcript .markdown").first).to_contain_text("three words here")
        page.click("#new-thread")
        page.wait_for_url(f"{front.url}/")
        page.locator("#threads a").first.click()
        page.wait_for_url(f"{front.url}/c/*")
        kept = page.evaluate("() => Object.keys(localStorage)")
        assert f"netra.signed_in {BASE}" in kept
        assert not [name for name in kept if not name.endswith(BASE)]
        # The documentation, and the admin.
        docs = context.new_page()
        docs.goto(f"{front.url}/api/docs")
        expect(docs.locator(".opblock").first).to_be_visible()
        admin = context.new_page()
        admin.goto(f"{front.url}/admin")
        admin.fill("#id_username", user.email)
        admin.fill("#id_password", user.password)
        admin.press("#id_password", "Enter")
        admin.wait_for_url(f"{front.url}/admin/")
        admin.click("text=Users >> nth=0")
        admin.wait_for_url(f"{front.url}/admin/chat/user/")
        assert {cookie["path"] for cookie in context.cookies()} == {f"{BASE}/auth", f"{BASE}/"}
        # A new password, by the link in the mail.
        reset = browser.new_context().new_page()
        mails.letters.clear()
        reset.goto(f"{front.url}/reset")
        reset.fill("#id_email", user.email)
        reset.click("#submit")
        reset.wait_for_url(f"{front.url}/reset/sent")
        wait_until(lambda: mails.letters, "the mail")
        link = re.search(r"http://\S+", mails.letters[0].replace("=\n", ""))
        assert link
        assert urlsplit(link[0]).path.startswith(f"{BASE}/reset/")
        reset.goto(host + urlsplit(link[0]).path)
        reset.fill("#id_new_password1", "staple battery horse")
        reset.fill("#id_new_password2", "staple battery horse")
        reset.click("#submit")
        reset.wait_for_url(f"{front.url}/login?why=changed")
        # What was signed in with the old password is signed out, to the form below the base path.
        page.wait_for_url(f"{front.url}/login*")
    assert complaints == []
