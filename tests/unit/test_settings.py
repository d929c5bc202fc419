"""A process with a wrong setting does not start, and says which one it is."""

import os
import re
import runpy
from traceback import format_exception
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from agents.worker import registry
from tests.commands import GOOD, ROOT, start

WRONG = [
    *((name, None) for name in GOOD),
    *((name, " ") for name in GOOD),
    ("SECRET_KEY", "short"),
    ("ALLOWED_ORIGINS", "netra.example"),
    ("ALLOWED_ORIGINS", "https://netra.example/"),
    ("DATABASE_URL", "mysql://u:hunter2@h/n"),
    ("DATABASE_URL", "no url with hunter2"),
    ("DATABASE_URL", "sqlite://"),
    ("DATABASE_URL", "postgres://localhost"),
    ("NETRA_EMAIL_URL", "http://u:hunter2@h"),
    ("NETRA_EMAIL_URL", "smtp://u:hunter2@h:port"),
    ("NETRA_EMAIL_URL", "smtp:hunter2"),
    ("REDIS_URL", "http://hunter2@h"),
    ("REDIS_URL", "redis://:hunter2@h:port/0"),
    ("REDIS_URL", "redis://"),
    ("ALLOWED_ORIGINS", "https://*.example.com"),
    ("ALLOWED_ORIGINS", "https://bücher.example"),
    ("ALLOWED_HOSTS", "netra.example:8443"),
    ("ALLOWED_HOSTS", "https://netra.example"),
    ("ALLOWED_HOSTS", "netra.example/netra"),
    ("ALLOWED_HOSTS", "::1"),
    ("ALLOWED_HOSTS", "bücher.example"),
    ("NETRA_BASE_PATH", "netra"),
    ("NETRA_BASE_PATH", "/"),
    ("NETRA_BASE_PATH", "/netra/"),
    ("NETRA_BASE_PATH", "//evil.example"),
    ("NETRA_BASE_PATH", "/a/../b"),
    ("NETRA_BASE_PATH", "/ne tra"),
    ("NETRA_BASE_PATH", "/n%65tra"),
    ("NETRA_BASE_PATH", "https://netra.example/netra"),
    ("NETRA_BASE_PATH", "/api"),
    ("NETRA_BASE_PATH", "/ws/netra"),
    ("DEBUG", "maybe"),
    ("NETRA_HTTPS", "2"),
    ("PORT", "70000"),
    ("NETRA_LEASE_SECONDS", "-1"),
    ("NETRA_LEASE_SECONDS", "soon"),
    ("NETRA_MAX_ATTEMPTS", "0"),
    ("NETRA_INPUT_SECONDS", "2592001"),
    ("NETRA_HELD_INPUT_SECONDS", "never"),
    ("NETRA_WORKER_CONCURRENCY", "1.5"),
    *(("NETRA_USER_SHARE", value) for value in ("0", "0.0", "1.5", "-0.5", "half", "1/2", "50%", "nan")),
    ("NETRA_ACCESS_TOKEN_SECONDS", "inf"),
    ("NETRA_MODEL", "gpt-4o"),
    ("NETRA_MCP_SERVERS", "tickets"),
    ("NETRA_WEB_FETCH", "perhaps"),
    ("NETRA_METRICS_TOKEN", "too short"),
    ("NETRA_METRICS_TOKEN", "long enough but with spaces"),
    ("NETRA_LOG_FORMAT", "xml"),
    *(
        ("NETRA_SSO", value)
        for value in ("corp", "corp=saml", "Corp=oidc", "co-rp=oidc", "a" * 33 + "=oidc", "1a=oidc")
    ),
    ("NETRA_SSO_ONLY", "on"),
    ("NETRA_SSO_SESSION_SECONDS", "forever"),
    ("NETRA_AGENTS", "nameless"),
    ("NETRA_AGENTS", "a=b c"),
]


RENAMED = [
    ("NETRA_VAR", "NETRA_DATA_DIR"),
    ("NETRA_LIMITS", "NETRA_RATE_LIMITS"),
    ("NETRA_PROXIES", "NETRA_TRUSTED_PROXIES"),
    ("NETRA_HEAL_SECONDS", "NETRA_RECONCILE_SECONDS"),
    ("NETRA_HEAL_ACTIVE_SECONDS", "NETRA_RECONCILE_ACTIVE_SECONDS"),
    ("NETRA_DRAIN_SECONDS", "NETRA_SHUTDOWN_SECONDS"),
    ("NETRA_CONCURRENCY", "NETRA_WORKER_CONCURRENCY"),
    ("NETRA_LOG", "NETRA_LOG_FORMAT"),
]


@pytest.fixture
def read(monkeypatch):
    """The settings, read in an environment that is good but for what is given."""

    def read(**environment: str | None) -> dict[str, Any]:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {**GOOD, **environment}.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "netra" / "settings.py"))

    return read


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_named(read, name, value):
    with pytest.raises(ImproperlyConfigured, match=name) as error:
        read(**{name: value})
    assert "hunter2" not in "".join(format_exception(error.value))


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_settings_old_name_given_raises_with_new_name(read, old, new):
    with pytest.raises(ImproperlyConfigured, match=rf"\b{old} is now {new}\b"):
        read(**{old: ""})


def test_origins_are_kept_as_browsers_write_them(read):
    given = "https://Netra.Example:443,http://[::1]:80,http://a.example:8080,https://a.example:80,http://a.example:443"
    meant = ["https://netra.example", "http://[::1]", "http://a.example:8080", "https://a.example:80"]
    found = read(ALLOWED_ORIGINS=given)
    assert found["ALLOWED_ORIGINS"] == found["CSRF_TRUSTED_ORIGINS"] == [*meant, "http://a.example:443"]


def test_hosts_may_be_wildcards_and_ipv6(read):
    hosts = ["*", ".netra.example", "[::1]", "127.0.0.1", "Netra_1.Example"]
    assert read(ALLOWED_HOSTS=",".join(hosts))["ALLOWED_HOSTS"] == hosts


def test_a_postgresql_that_is_gone_is_given_up_unless_its_url_says_otherwise(read):
    options = read(DATABASE_URL="postgres://u@h/n?sslmode=require&connect_timeout=3")["DATABASES"]["default"]["OPTIONS"]
    assert (options["sslmode"], int(options["connect_timeout"]), options["tcp_user_timeout"]) == ("require", 3, 30_000)


@pytest.mark.parametrize(
    ("value", "meant"), [("on", True), ("1", True), ("TRUE", True), ("off", False), ("0", False), ("false", False)]
)
def test_booleans(read, value, meant):
    assert read(DEBUG=value)["DEBUG"] is meant


@pytest.mark.parametrize(
    "command",
    [("manage.py", "check"), ("-m", "daphne", "-p", "0", "netra.asgi:application"), ("manage.py", "runagents")],
)
def test_every_process_ends_with_the_name(command):
    done = start(*command, SECRET_KEY=None)
    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("tests.nowhere.agent", "cannot be imported: there is no module 'tests.nowhere'; is it spelt right"),
        ("nowhere.at.all.agent", "cannot be imported: there is no module 'nowhere'"),
        ("tests.agents.slo", "has no 'slo'; did you mean 'slow'?"),
        ("tests.agents.nobody", "has no 'nobody'."),
        ("tests.agents.note", "must be an async function; it is a plain function: write async def."),
        ("tests.unit.test_settings.TWICE", "must be an async function; it is a list."),
        ("tests.unit.test_settings.pieces", "must be an async function; it is an async generator"),
        ("tests.unit.test_settings.two", "must take one argument, the turn; it takes (turn, other)."),
    ],
)
def test_a_wrong_agent_is_named(settings, path, words):
    settings.AGENTS, settings.NETRA_AGENTS = {"echo": "agents.echo.echo", "mine": path}, {"mine": path}
    (problem,) = registry.check()
    assert problem.msg.startswith(f"NETRA_AGENTS, agent 'mine': {path} ")
    assert words in problem.msg


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all' ({}, line 1)"),
        ("\nasync def agent(turn):\npass", "IndentationError: expected an indented block after function definition"),
        ("\n1 / 0", "ZeroDivisionError: division by zero ({}, line 2)"),
        ("raise SystemExit('bye')", "SystemExit: bye ({}, line 1)"),
    ],
)  # fmt: skip
def test_an_agent_whose_module_breaks_is_named_with_the_line(settings, tmp_path, monkeypatch, code, words):
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings.AGENTS = {"mine": f"{name}.agent"}
    with pytest.raises(ValueError, match="Agent 'mine'") as caught:
        registry.load()
    assert f"{name}.agent cannot be imported: " in str(caught.value)
    assert words.format(tmp_path / f"{name}.py") in str(caught.value)


def test_an_agent_is_named_with_a_colon_or_a_dot(read):
    found = read(NETRA_AGENTS="one=tests.agents:slow,two=tests.agents.slow")
    assert found["AGENTS"]["one"] == found["AGENTS"]["two"] == "tests.agents.slow"


@pytest.mark.parametrize("entry", ["echo=tests.agents.slow", "mine=tests.agents.slow,mine=tests.agents.loud"])
def test_two_agents_of_one_name_are_refused(entry):
    done = start("manage.py", "check", NETRA_AGENTS=entry)
    assert done.returncode != 0
    assert "there is an agent" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_with_a_wrong_agent_does_not_start():
    done = start("manage.py", "runagents", NETRA_AGENTS="mine=tests.nowhere.agent")
    assert done.returncode != 0
    assert "NETRA_AGENTS, agent 'mine': tests.nowhere.agent cannot be imported" in done.stderr


@pytest.mark.parametrize("module", ["mysite.settings", "mysite", "netra.setings", "tests.nowhere"])
def test_settings_module_of_another_project_is_named(module):
    done = start("manage.py", "check", DJANGO_SETTINGS_MODULE=module)
    assert done.returncode != 0
    assert f"DJANGO_SETTINGS_MODULE is '{module}', which is no module here" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_make_run_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "netra.sqlite3").touch()
    (tmp_path / "secret_key").mkdir()
    done = start("manage.py", "check", **dict.fromkeys(GOOD), NETRA_DATA_DIR=str(tmp_path))
    assert done.returncode != 0
    assert f"The settings of `make run` in {tmp_path} cannot be read: Is a directory." in done.stderr


def test_settings_module_that_is_empty_is_netras():
    assert start("manage.py", "check", DJANGO_SETTINGS_MODULE="").returncode == 0


TWICE = [1, 1]


async def two(turn, other):
    """Not an agent."""


async def pieces(turn):
    """Not an agent either."""
    yield turn


def test_production_passes_django_s_deployment_checks():
    done = start("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented():
    source = (ROOT / "netra" / "settings.py").read_text()
    names = set(re.findall(r'\b(?:text|flag|number|seconds|names)\(\s*"([A-Z_]+)"', source))
    assert len(names) > 30
    table = (ROOT / "docs" / "operations.md").read_text()
    assert sorted(name for name in names if f"`{name}`" not in table) == []


ONE_SERVER = {"NETRA_MCP_SERVERS": "notes=https://notes.example/mcp"}
A_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ("NETRA_ENCRYPTION_KEYS", {"NETRA_ENCRYPTION_KEYS": "hunter2"}),
        ("NETRA_ENCRYPTION_KEYS", {"NETRA_ENCRYPTION_KEYS": f"{A_KEY},hunter2"}),
        ("NETRA_ENCRYPTION_KEYS", {"NETRA_MCP_NOTES_AUTH": "oauth"}),
        ("NETRA_ENCRYPTION_KEYS", {"NETRA_MCP_NOTES_AUTH": "user"}),
        ("NETRA_MCP_NOTES_AUTH", {"NETRA_MCP_NOTES_AUTH": "basic"}),
        ("NETRA_MCP_NOTES_TOKEN", {"NETRA_MCP_NOTES_AUTH": "token"}),
        ("NETRA_MCP_NOTES_TOKEN", {"NETRA_MCP_NOTES_TOKEN": "hunter2\nx: y"}),
        ("NETRA_MCP_NOTES_TOKEN", {"NETRA_MCP_NOTES_AUTH": "oauth", "NETRA_MCP_NOTES_TOKEN": "hunter2"}),
        ("NETRA_MCP_NOTES_CLIENT", {"NETRA_MCP_NOTES_CLIENT": "c"}),
        (
            "NETRA_MCP_NOTES_CLIENT",
            {"NETRA_MCP_NOTES_AUTH": "oauth", "NETRA_MCP_NOTES_SECRET": "hunter2", "NETRA_ENCRYPTION_KEYS": A_KEY},
        ),
        ("NETRA_MCP_SERVERS", {"NETRA_MCP_SERVERS": "notes=https://"}),
        ("NETRA_MCP_SERVERS", {"NETRA_MCP_SERVERS": "notes=https://u:hunter2@h:port/"}),
    ],
)
def test_a_wrong_setting_of_an_mcp_server_is_named(read, named, given):
    with pytest.raises(ImproperlyConfigured, match=named) as error:
        read(**{**ONE_SERVER, **given})
    assert "hunter2" not in "".join(format_exception(error.value))


def test_an_mcp_server_has_one_token_or_one_for_each_user(read):
    assert read(**ONE_SERVER)["NETRA_MCP_SERVERS"]["notes"]["auth"] == "token"
    given = {"NETRA_MCP_NOTES_AUTH": "oauth", "NETRA_ENCRYPTION_KEYS": A_KEY, "NETRA_MCP_NOTES_HOSTS": "SSO.internal"}
    found = read(**{**ONE_SERVER, **given})["NETRA_MCP_SERVERS"]["notes"]
    assert (found["auth"], found["hosts"]) == ("oauth", ["sso.internal"])
