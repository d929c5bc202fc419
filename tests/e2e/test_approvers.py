"""Requests of one user that others decide, in a running site: frames, REST and mail."""

import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.site import wait_until


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it gets."""

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.got: list[str] = []


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.answer("220 mail.example")
        while line := self.rfile.readline().decode().strip():
            match line.split()[0].upper():
                case "DATA":
                    self.answer("354 go on")
                    text = b""
                    while not text.endswith(b"\r\n.\r\n"):
                        text += self.rfile.readline()
                    self.server.got.append(text.decode())
                    self.answer("250 kept")
                case "QUIT":
                    self.answer("221 bye")
                    return
                case _:
                    self.answer("250 fine")

    def answer(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_another_person_decides_and_is_told_by_frames_and_mail(own_site, mails):
    site = own_site(
        workers=1, NETRA_EMAIL_URL=f"smtp://127.0.0.1:{mails.server_address[1]}", NETRA_INPUT_MAIL_SECONDS="1"
    )
    alice, bob, carol = site.register("alice"), site.register("bob"), site.register("carol")
    watching, outside, asking = bob.connect(), carol.connect(), alice.connect()
    site.shell(
        "from django.contrib.auth.models import Group\n"
        f"Group.objects.create(name='finance').user_set.add({alice.id}, {bob.id})",
        publishes=True,
    )
    assert watching.receive("approvals_changed")["open"] == 0
    accepted = asking.ask("refund", "refunding")
    asked = asking.receive("input_requested")
    assert (asked["decided_by"], asked["four_eyes"]) == ("group:finance", True)
    assert watching.receive("approvals_changed")["open"] == 1
    late = bob.connect()
    assert late.receive("approvals_changed")["open"] == 1
    asking.receive("run_waiting")
    request_id = asked["request_id"]
    frame = {"type": "answer_input", "request_id": request_id, "action": "accept"}
    asking.send(frame)
    assert asking.receive("error")["error_code"] == "forbidden"
    outside.send(frame)
    assert outside.receive("error")["error_code"] == "not_found"
    (shown,) = bob.http("GET", "/api/inputs?role=approver").json()["inputs"]
    assert (shown["id"], shown["parameters"]) == (request_id, {"amount": 500})
    assert alice.http("GET", "/api/inputs?role=approver").json()["inputs"] == []
    assert carol.http("GET", "/api/inputs?status=all").json()["inputs"] == []
    wait_until(lambda: mails.got, "a mail")
    (mail,) = mails.got
    assert f"To: {bob.email}" in mail and "500" not in mail.partition("\n\n")[2]
    late.send({**frame, "parameters": {"amount": 400}})
    assert late.receive("answer_accepted")["run_id"] == accepted["run_id"]
    end = asking.answer(accepted["run_id"])
    assert end["final_response"] == "refund of 400, decided by another"
    resolved = next(one for one in asking.got if one["type"] == "input_resolved")
    assert (resolved["resolved_by"]["user_id"], resolved["via"], resolved["edited"]) == (bob.id, "socket", True)
    assert watching.receive("approvals_changed")["open"] == 0
    assert outside.silent()
    for socket in (watching, late, outside):
        assert not [one for one in socket.got if "thread_id" in one and one["type"] != "answer_accepted"]


def test_a_program_that_executes_an_agent_is_told_that_the_run_waits(brisk):
    alice, bob = brisk.register("alice"), brisk.register("bob")
    body = {"agent": "curious", "content": "Which one?"}
    waits = alice.http("POST", "/api/agents/execute", body)
    assert (waits.status_code, waits.json()["status"]) == (202, "waiting")
    (request_id,), run_id = waits.json()["inputs"], waits.json()["run_id"]
    assert alice.http("GET", f"/api/runs/{run_id}").json()["inputs"] == [request_id]
    answer = {"action": "accept", "content": "this one"}
    assert bob.http("POST", f"/api/inputs/{request_id}/answer", answer).status_code == 404
    assert alice.http("POST", f"/api/inputs/{request_id}/answer", answer).json()["status"] == "accepted"
    ended = wait_until(
        lambda: (run := alice.http("GET", f"/api/runs/{run_id}").json())["status"] == "completed" and run, "the end"
    )
    assert (ended["attempt"], ended["inputs"], ended["waiting_since"]) == (1, [], None)
    nobody = alice.http("POST", "/api/agents/execute", {**body, "interactive": False})
    assert (nobody.status_code, nobody.json()["error_code"]) == (200, "input_expired")
