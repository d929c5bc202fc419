"""A process with a wrong setting does not start, and says which one it is."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from agents import registry

ROOT = Path(__file__).resolve().parent.parent
GOOD = {
    "SECRET_KEY": "a key for tests that guards nothing but tests, and is long enough",
    "ALLOWED_HOSTS": "netra.example",
    "ALLOWED_ORIGINS": "https://netra.example",
    "DATABASE_URL": "sqlite:///var/check.sqlite3",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}


def start(*command: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in {**GOOD, **environment}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=60,
    )


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
    ("REDIS_URL", "http://hunter2@h"),
    ("REDIS_URL", "redis://:hunter2@h:port/0"),
    ("REDIS_URL", "redis://"),
    ("ALLOWED_ORIGINS", "https://*.example.com"),
    ("DEBUG", "maybe"),
    ("NETRA_HTTPS", "2"),
    ("PORT", "70000"),
    ("NETRA_LEASE_SECONDS", "-1"),
    ("NETRA_LEASE_SECONDS", "soon"),
    ("NETRA_MAX_ATTEMPTS", "0"),
    ("NETRA_CONCURRENCY", "1.5"),
    ("NETRA_ACCESS_TOKEN_SECONDS", "inf"),
    ("NETRA_MODEL", "gpt-4o"),
    ("NETRA_MCP_SERVERS", "tickets"),
    ("NETRA_WEB_FETCH", "perhaps"),
    ("NETRA_AGENTS", "nameless"),
    ("NETRA_AGENTS", "a=b c"),
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
        ("tests.nowhere.agent", "cannot be imported"),
        ("tests.agents.nobody", "cannot be imported"),
        ("tests.agents.note", "must be an async function"),
        ("tests.test_settings.two", "must take one argument"),
    ],
)
def test_a_wrong_agent_is_named(settings, path, words):
    settings.AGENTS = {"echo": "agents.echo.echo", "mine": path}
    (problem,) = registry.check()
    assert problem.msg.startswith(f"Agent 'mine': {path} ")
    assert words in problem.msg


def test_a_worker_with_a_wrong_agent_does_not_start():
    done = start("manage.py", "runagents", NETRA_AGENTS="mine=tests.nowhere.agent")
    assert done.returncode != 0
    assert "Agent 'mine': tests.nowhere.agent cannot be imported" in done.stderr


async def two(turn, other):
    """Not an agent."""


def test_production_passes_django_s_deployment_checks():
    done = start("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
