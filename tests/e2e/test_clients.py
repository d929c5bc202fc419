"""The clients of docs/clients.md, as separate programs, against a running Netra."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.site import ROOT, WAIT_TIMEOUT, Site, User, wait_until

CLIENTS = {
    "python": [sys.executable, "-W", "error", "examples/client.py"],
    # Node 20 has the WebSocket of Node 22 behind this flag, which newer ones take too.
    "node": [shutil.which("node") or "node", "--experimental-websocket", "examples/client.mjs"],
}
pytestmark = pytest.mark.parametrize("client", CLIENTS)


@contextmanager
def asking(client: str, user: User, content: str, agent: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "NETRA_PASSWORD": user.password}
    command = [*CLIENTS[client], user.site.url, user.email, agent, content]
    with output.open("wb") as file, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file) as process:
        try:
            yield process
        finally:
            process.kill()


def answered(client: str, user: User, content: str, agent: str, output: Path) -> str:
    """Return the output of the client."""
    with asking(client, user, content, agent, output) as process:
        assert process.wait(WAIT_TIMEOUT) == 0
    return output.read_text()


def test_a_client_prints_the_answer(client: str, site: Site, tmp_path: Path) -> None:
    printed = answered(client, site.register(), "one two three", "echo", tmp_path / "output")
    assert printed == "one two three \n[completed]\n"


def test_a_client_prints_how_a_run_failed(client: str, site: Site, tmp_path: Path) -> None:
    printed = answered(client, site.register(), "agent_error", "failing", tmp_path / "output")
    assert printed == "\n[The words of the agent.]\n"


def test_a_failure_named_like_an_error_that_passes_ends_a_client(client: str, site: Site, tmp_path: Path) -> None:
    assert "words of the agent" in answered(client, site.register(), "unavailable", "failing", tmp_path / "output")


def test_a_client_prints_an_error(client: str, site: Site, tmp_path: Path) -> None:
    printed = answered(client, site.register(), "hi", "nobody", tmp_path / "output")
    assert printed.startswith("\n[error: ")


def test_a_client_that_cannot_log_in_says_so(client: str, site: Site, tmp_path: Path) -> None:
    user = site.register()
    user.password = "wrong"
    assert "cannot log in" in answered(client, user, "hi", "echo", tmp_path / "output")


def test_a_client_is_short_enough_to_read(client: str) -> None:
    assert len((ROOT / CLIENTS[client][-1]).read_text().splitlines()) < 70


@pytest.mark.slow
def test_a_client_goes_on_when_its_web_process_was_killed(client: str, brisk: Site, tmp_path: Path) -> None:
    """In the middle of an answer, that ends while nobody listens: nothing twice, nothing lost, one question."""
    user, output, gate = brisk.register(), tmp_path / "output", tmp_path / "gate"
    with asking(client, user, str(gate), "gated", output) as process:
        wait_until(lambda: output.read_text() == "before ", "the first words")
        assert brisk.web is not None
        brisk.web.kill()
        brisk.web.wait()
        gate.touch()
        brisk.start_web()
        assert process.wait(WAIT_TIMEOUT) == 0
    assert output.read_text() == "before after 1\n[completed]\n"
    said = {message["role"]: message for message in user.http("GET", "/api/messages").json()["messages"]}
    assert said.keys() == {"user", "assistant"}
    assert said["assistant"]["content"] == "before after 1"


@pytest.mark.slow
def test_a_client_that_missed_more_than_one_resume_brings_gets_to_the_end(
    client: str, brisk: Site, tmp_path: Path
) -> None:
    user, ended = brisk.register(), brisk.log("worker").count("run ended")
    for worker in brisk.workers:  # not frozen: one that holds SQLite's lock would keep the question out
        worker.kill()
        worker.wait()
    with asking(client, user, "2500", "pensive", tmp_path / "output") as process:
        wait_until(lambda: user.http("GET", "/api/agents/status").json()["runs"], "the question")
        assert brisk.web is not None
        brisk.web.kill()
        brisk.web.wait()
        brisk.worker()
        wait_until(lambda: brisk.log("worker").count("run ended") > ended, "the answer")
        brisk.start_web()
        assert process.wait(WAIT_TIMEOUT) == 0
    assert (tmp_path / "output").read_text() == "\n[completed]\n"
