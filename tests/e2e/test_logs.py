"""The log: one JSON object a line, with the ids that are known, and no word of a user, no address, no secret."""

import json
import logging
import sys
from base64 import urlsafe_b64encode

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from netra import logging as log_format
from tests.site import WAIT_TIMEOUT, wait_until

SOUGHT = "whatonlythisuserlooksfor"
WORDS = "what only this user says"


def lines(site, name):
    """Every line of a process so far; each parses."""
    return [json.loads(line) for line in site.log(name).splitlines()]


def told(site, name, event, **fields):
    """The lines about `event` with these fields, as soon as there is one."""

    def found():
        return [line for line in lines(site, name) if line["event"] == event and fields.items() <= line.items()]

    return wait_until(found, f"{event} {fields} in\n{site.log(name)}")


def test_every_line_of_every_process_is_json_and_quotes_nobody(watched):
    alice = watched.register("alice")
    body = {"email": alice.email, "password": "not " + alice.password}
    assert httpx.post(watched.url + "/auth/login", json=body, timeout=WAIT_TIMEOUT).status_code == 401
    assert httpx.post(
        watched.url + "/auth/login", json={**body, "password": alice.password}, timeout=WAIT_TIMEOUT
    ).is_success
    with pytest.raises(InvalidStatus):
        watched.ws(subprotocols=["jwt-auth", f"jwt.{alice.access[:-4]}AAAA"])
    assert httpx.get(f"{watched.url}/api/threads?q={SOUGHT}", timeout=WAIT_TIMEOUT).status_code == 401
    assert httpx.get(f"{watched.url}/login?{'&'.join('a' * 1500)}", timeout=WAIT_TIMEOUT).status_code == 422
    socket = alice.connect()
    hello = socket.hello["data"]
    answered = socket.ask(WORDS)
    socket.answer(answered["run_id"])
    broken = socket.ask(WORDS, agent="quoting")
    assert socket.answer(broken["run_id"])["error_code"] == "internal_error"
    socket.send(WORDS)
    socket.receive("error")
    alice.http("POST", "/auth/logout")
    socket.closed()

    user = {"user_id": int(alice.id)}
    told(watched, "web", "signed_in", **user)
    told(watched, "web", "sign_in_failed", **user)
    (refused,) = [line for line in lines(watched, "web") if line["logger"] == "django.security.TooManyFieldsSent"]
    assert "exception" not in refused
    told(watched, "web", "socket opened", connection_id=hello["connection_id"], mode="main", **user)
    told(watched, "web", "socket closed", connection_id=hello["connection_id"], code=4401, **user)
    ids = {"run_id": answered["run_id"], "thread_id": answered["thread_id"], "agent": "echo", **user}
    told(watched, "web", "run queued", **ids)
    told(watched, "worker", "run claimed", attempt=1, reason="first", **ids)
    told(watched, "worker", "run ended", attempt=1, status="completed", **ids)
    (bug,) = told(watched, "worker", "quoting raised", run_id=broken["run_id"], attempt=1, level="error", **user)
    assert bug["exception"].splitlines()[-1] == "builtins.ValueError"
    assert 'raise ValueError(f"{turn.text} is not a number")' in bug["exception"]

    written = {name: watched.log(name) for name in ("web", "worker")}
    for name, text in written.items():
        for line in lines(watched, name):
            assert {"event", "level", "logger", "at"} <= line.keys()
        secrets = [
            WORDS,
            SOUGHT,
            alice.email,
            alice.password,
            alice.refresh,
            alice.access,
            alice.access.rpartition(".")[2],
        ]
        for secret in [*secrets, urlsafe_b64encode(alice.access.encode()).decode().rstrip("=")]:
            assert secret not in text, f"{secret} in the log of {name}"


def test_an_exception_is_told_by_its_kinds_and_places():
    words = [f"secret {number}" for number in range(3)]

    def cause():
        raise KeyError(words[0])

    try:
        try:
            cause()
        except KeyError as error:
            raise ExceptionGroup(words[1], [ValueError(words[2])]) from error
    except ExceptionGroup:
        record = logging.LogRecord("netra", logging.ERROR, "", 1, "it %s", ("broke",), sys.exc_info())
    line = json.loads(log_format.formatter("json").format(record))
    assert (line["event"], line["level"], line["logger"]) == ("it broke", "error", "netra")
    kinds = [part for part in line["exception"].splitlines() if part.startswith("builtins.")]
    assert kinds == ["builtins.KeyError", "builtins.ExceptionGroup", "builtins.ValueError"]
    assert ", in cause\n" in line["exception"]
    assert not any(word in line["exception"] for word in words)


def test_a_terminal_gets_lines_to_read_with_all_that_an_exception_says():
    try:
        raise ValueError("said at home")
    except ValueError:
        record = logging.LogRecord("netra", logging.ERROR, "", 1, "it broke", (), sys.exc_info())
    text = log_format.formatter("text").format(record)
    assert "it broke" in text
    assert "ValueError: said at home" in text
    with pytest.raises(ValueError):
        json.loads(text.splitlines()[0])
