"""Commands that delete, beside open sockets and active runs."""

from tests.site import Site


def test_a_run_goes_on_while_old_events_are_deleted(watched: Site):
    socket = watched.register("alice").connect()
    first = socket.ask("one two")
    thread = first["thread_id"]
    socket.answer(first["run_id"])
    second = socket.ask("x", agent="slow", thread_id=thread)
    socket.receive("agent_delta", run_id=second["run_id"])
    assert watched.start("manage.py", "prune", "--days", "0", log="prune").wait() == 0, watched.log("prune")
    socket.receive("agent_delta", run_id=second["run_id"])
    socket.send({"type": "stop_agent", "run_id": second["run_id"]})
    assert socket.answer(second["run_id"])["type"] == "agent_cancelled"
    events = socket.events(thread)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    socket.send({"type": "resume", "thread_id": thread, "after": 0})
    resync = socket.receive("resync")
    mine = next(event["seq"] for event in events if event["run_id"] == second["run_id"])
    assert (resync["first"], resync["head"]) == (mine, len(events))


def test_erase_user_closes_the_sockets(watched: Site):
    alice, bob = watched.register("alice"), watched.register("bob")
    socket, other = alice.connect(), bob.connect()
    socket.ask("x", agent="slow")
    socket.receive("agent_delta")
    process = watched.start("manage.py", "erase_user", alice.email, "--no-input", log="erase")
    assert socket.closed() == 4401
    assert process.wait() == 0, watched.log("erase")
    assert other.silent()
    body = {"email": alice.email, "password": alice.password}
    assert bob.http("POST", "/auth/login", body).status_code == 401
