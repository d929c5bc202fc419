"""Runs that wait for a person, executed by a worker: suspension, replay, steps and saved states."""

import asyncio
import json
import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from agents.sdk import AgentError, Declined, needs_approval, once
from agents.worker.worker import Worker
from chat import runs
from chat.db import access
from chat.models import InputRequest, InputStep, Message, Run, RunState
from chat.protocol import TERMINAL, ProtocolError
from tests.factories import accept, claim_one, decline, frames, message, types
from tests.site import WAIT_TIMEOUT
from tests.transcript import Transcript
from tests.turns import DONE, execute, note, noted, text

pytestmark = pytest.mark.django_db(transaction=True)


def lose(run):
    """Let the worker of a running run be lost."""
    assert Run.objects.filter(id=run.id, status=Run.RUNNING).update(lease_until=Now() - timedelta(seconds=1))


def open_request(**condition):
    return InputRequest.objects.get(status="open", **condition)


def answer_all(user, content="words", **fields):
    for row in InputRequest.objects.filter(status="open"):
        accept(user, row.id, content if row.kind == "form" else None, **fields)


async def asking(turn):
    await turn.say("before ")
    await turn.call(note, value="one")
    found = await turn.ask("Which?")
    await turn.say(f"after {found}")


# ---- Suspend and continue ----


def test_a_run_waits_and_says_nothing_twice(alice, thread):
    run = execute(asking)
    assert (run.status, run.attempt, run.worker) == (Run.WAITING, 1, None)
    assert types(thread)[-2:] == ["input_requested", "run_waiting"]
    accept(alice, open_request().id, "tea")
    run = execute(asking)
    assert (run.status, run.attempt) == (Run.COMPLETED, 1)
    assert text(thread) == "before after tea"
    assert DONE == ["one"]
    kinds = types(thread)
    assert kinds.count("tool_executing") == kinds.count("agent_started") == kinds.count("input_requested") == 1
    assert kinds[kinds.index("run_waiting") :] == [
        "run_waiting", "input_resolved", "run_resumed", "agent_delta", "agent_completed",
    ]  # fmt: skip
    assert Message.objects.get(role="assistant").content == "before after tea"


def test_a_declined_and_an_expired_question_end_as_the_agent_says(alice, thread):
    async def agent(turn):
        with pytest.raises(Declined, match="no"):
            await turn.ask("First?")
        await turn.say(await turn.ask("Second?", default="the default"))
        await turn.ask("Third?")

    execute(agent)
    decline(alice, open_request().id, "no")
    execute(agent)
    for _ in range(2):
        InputRequest.objects.filter(status="open").update(expires_at=Now() - timedelta(seconds=1))
        runs.expire_inputs()
        run = execute(agent)
    assert (run.status, run.error_code) == (Run.FAILED, "input_expired")
    assert frames(thread)[-1]["message"] == "Nobody answered in time."


def test_an_answer_in_time_is_given_in_place(alice, thread):
    go = asyncio.Event()

    async def agent(turn):
        async def work():
            await turn.call(wait)
            await turn.say("worked ")

        async def wait():
            await go.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await turn.say(await turn.ask("Which?"))

    async def then(worker):
        while not await access.from_database(InputRequest.objects.filter(status="open").exists):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        row = await access.from_database(open_request)
        await access.in_database(accept, alice, row.id, "tea ")
        await worker.receive({"type": "input", "run": str(row.run_id)})
        go.set()

    run = execute(agent, then)
    assert run.status == Run.COMPLETED
    assert "run_waiting" not in types(thread)
    assert sorted(text(thread).split()) == ["tea", "worked"]


def test_calls_and_steps_under_way_finish_before_the_run_waits(alice, thread):
    async def agent(turn):
        async def long():
            await asyncio.sleep(0.2)
            DONE.append("long")

        async with asyncio.TaskGroup() as group:
            group.create_task(turn.call(long))
            group.create_task(turn.step("step", long))
            group.create_task(turn.ask("Which?"))

    assert execute(agent).status == Run.WAITING
    assert types(thread)[-2:] == ["tool_completed", "run_waiting"]
    answer_all(alice)
    assert execute(agent).status == Run.COMPLETED
    assert DONE == ["long", "long"]
    assert not InputStep.objects.exists()


def test_two_questions_are_asked_together_and_answered_one_by_one(alice, thread):
    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            found = [group.create_task(turn.ask(name)) for name in ("first", "second")]
        await turn.say(" ".join(task.result() for task in found))

    execute(agent)
    assert sorted(InputRequest.objects.values_list("message", flat=True)) == ["first", "second"]
    accept(alice, open_request(message="second").id, "b")
    assert execute(agent).status == Run.WAITING
    accept(alice, open_request(message="first").id, "a")
    execute(agent)
    assert text(thread) == "a b"
    assert types(thread).count("run_waiting") == 2


def test_sub_agents_of_one_name_wait_side_by_side(alice, thread):
    async def agent(turn):
        async def child(task):
            async with turn.subagent("data", task=task) as sub:
                await sub.say(f"[{task}]")
                await sub.say(await sub.ask(f"{task}?"))

        async with asyncio.TaskGroup() as group:
            for task in ("a", "b"):
                group.create_task(child(task))

    execute(agent)
    assert types(thread).count("subagent_completed") == 0
    answer_all(alice, "x")
    execute(agent)
    assert sorted(text(thread)) == sorted("[a][b]xx")
    kinds = types(thread)
    assert (kinds.count("agent_started"), kinds.count("subagent_completed")) == (3, 2)
    assert frames(thread)[-1]["agents_involved"] == ["advisor", "data"]


def test_an_agent_that_speaks_otherwise_is_shown_afresh(alice, thread):
    word = ["same one "]

    async def agent(turn):
        await turn.think("A thought")
        await turn.say(word[0])
        await turn.call(note, value="one")
        await turn.say(await turn.ask("Which?", key="k"))

    execute(agent)
    word[0] = "same two "
    answer_all(alice, "tea")
    execute(agent)
    assert text(thread) == "same two tea"
    events = frames(thread)
    at = next(at for at, event in enumerate(events) if event["type"] == "run_restarted")
    assert (events[at]["reason"], events[at]["attempt"]) == ("changed", 1)
    afterwards = [event["type"] for event in events[at + 1 :]]
    assert afterwards == [
        "agent_started", "agent_thinking", "agent_delta", "tool_executing", "tool_completed", "input_requested",
        "input_resolved", "agent_delta", "agent_delta", "agent_completed",
    ]  # fmt: skip
    assert all(event["reused"] for event in events[at + 1 :] if event["type"].startswith(("tool_", "input_")))
    assert DONE == ["one"]


def test_what_a_continuation_does_not_repeat_is_kept(alice, thread):
    silent = []

    async def agent(turn):
        if not silent:
            await turn.say("kept ")
        await turn.say(await turn.ask("Which?"))

    execute(agent)
    silent.append(True)
    answer_all(alice, "kept tea")
    execute(agent)
    assert text(thread) == "kept tea"


def test_text_is_compared_regardless_of_its_pieces(alice, thread):
    size = [3]

    async def agent(turn):
        words = "one two three"
        for start in range(0, len(words), size[0]):
            await turn.say(words[start : start + size[0]])
        await turn.say(await turn.ask("Which?"))

    execute(agent)
    size[0] = 50
    answer_all(alice, "!")
    execute(agent)
    assert text(thread) == "one two three!"
    assert "run_restarted" not in types(thread)


def test_offsets_go_on_over_a_wait_whatever_the_characters(alice, thread):
    """Half of a character that waits for the other half is not carried over a question."""

    async def agent(turn):
        await turn.say("a👍\ud83d")
        await turn.ask("Which?")
        await turn.say("\ude00é𝒳")

    execute(agent)
    answer_all(alice)
    execute(agent)
    shown = Transcript()
    for event in frames(thread):
        shown.add(event)
    assert (shown.wrong, shown.text, text(thread)) == ([], "a👍\ufffd\ufffdé𝒳", "a👍\ufffd\ufffdé𝒳")
    assert [e["offset"] for e in frames(thread) if e["type"] == "agent_delta"] == [0, 4]


def test_a_question_in_a_finally_block_is_asked_when_it_is_reached_and_not_by_the_wait(alice, thread):
    async def agent(turn):
        try:
            await turn.say(f"{await turn.ask('First?')} ")
            raise AgentError("No.")
        finally:
            await turn.say(await turn.ask("Last?"))

    execute(agent)
    assert [row.message for row in InputRequest.objects.all()] == ["First?"]
    answer_all(alice, "tea")
    assert execute(agent).status == Run.WAITING
    answer_all(alice, "milk")
    run = execute(agent)
    assert (run.status, run.error_code, text(thread)) == (Run.FAILED, "agent_error", "tea milk")
    assert InputRequest.objects.count() == 2


def test_a_reworded_question_is_asked_again_and_the_other_one_cancelled(alice, thread):
    words = ["Which?"]

    async def agent(turn):
        await turn.ask(words[0])

    execute(agent)
    words[0] = "Which one?"
    accept(alice, open_request().id)
    assert execute(agent).status == Run.WAITING
    assert InputRequest.objects.count() == 2
    answer_all(alice)
    assert execute(agent).status == Run.COMPLETED


def test_a_call_that_failed_before_the_wait_is_not_made_again(alice, thread):
    def broken() -> None:
        DONE.append("broken")
        raise ValueError("no")

    async def agent(turn):
        with pytest.raises(ValueError, match="no"):
            await turn.call(broken)
        await turn.ask("Which?")

    execute(agent)
    answer_all(alice)
    assert execute(agent).status == Run.COMPLETED
    assert DONE == ["broken"]


def test_a_sweep_expires_all_overdue_requests_and_lets_the_worker_write_meanwhile(alice, thread):
    claimed = claim_one()
    begun = runs.expiry_of(-1)
    InputRequest.objects.bulk_create(
        InputRequest(
            id=uuid.uuid4(),
            run_id=claimed.run_id,
            thread_id=thread,
            user=alice,
            kind="form",
            path="[]",
            agent_name="advisor",
            message="?",
            expires_at=begun,
        )
        for _ in range(250)
    )
    left = []

    async def sweep():
        async with asyncio.timeout(WAIT_TIMEOUT):
            expiring = asyncio.create_task(Worker({"advisor": asking}, 1).expire())
            while not expiring.done():
                left.append(await access.in_database(InputRequest.objects.filter(status="open").count))
            await expiring

    asyncio.run(sweep())
    assert not InputRequest.objects.exclude(status="expired").exists()
    assert types(thread).count("input_resolved") == 250
    assert any(0 < count < 250 for count in left)


# ---- Approvals ----


async def approving(turn):
    try:
        await turn.say(await turn.call(noted, value="x"))
    except Declined as no:
        await turn.say(f"declined: {no.reason}")


def test_a_call_that_failed_before_the_wait_fails_with_its_code_again(alice, thread):
    def refuse() -> None:
        DONE.append("refused")
        raise AgentError("No.", "odd")

    async def agent(turn):
        try:
            await turn.call(refuse)
        except AgentError as error:
            await turn.say(f"{error.code} ")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await turn.call(asyncio.sleep, delay=WAIT_TIMEOUT)
        await turn.say(await turn.ask("Which?"))

    execute(agent)
    accept(alice, open_request().id, "tea")
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), DONE) == ("odd tea", ["refused"])
    assert "run_restarted" not in types(thread)


def test_an_approved_tool_runs_with_the_edited_parameters(alice, thread):
    execute(approving)
    assert DONE == []
    assert "tool_executing" not in types(thread)
    accept(alice, open_request().id, parameters={"value": "y"})
    execute(approving)
    assert (DONE, text(thread)) == (["y"], "y")
    asked, executed = (next(e for e in frames(thread) if e["type"] == t) for t in ("input_requested", "tool_executing"))
    assert asked["tool_call_id"] == executed["tool_call_id"]
    assert (asked["parameters"], executed["parameters"]) == ({"value": "x"}, {"value": "y"})


def test_parameters_with_more_digits_than_clients_read_are_shown_as_text_and_run_as_they_are(alice, thread):
    """JavaScript reads 1234567890123456789, e.g. the id of a channel, as 1234567890123456800."""
    channel = 1234567890123456789

    @needs_approval
    def post(to: list[int], limit: int) -> str:
        DONE.append((to, limit))
        return "posted"

    async def agent(turn):
        await turn.say(await turn.call(post, to=[channel, 2**53 - 1], limit=-5))

    execute(agent)
    row = open_request()
    shown = {"to": [str(channel), 2**53 - 1], "limit": -5}
    (asked,) = [event for event in frames(thread) if event["type"] == "input_requested"]
    assert (asked["parameters"], asked["editable"]) == (shown, False)
    with pytest.raises(ProtocolError, match="cannot be edited"):
        accept(alice, row.id, parameters={"to": [1234567890123456800], "limit": -5})
    accept(alice, row.id, parameters=shown)
    execute(agent)
    (resolved,) = [event for event in frames(thread) if event["type"] == "input_resolved"]
    assert (resolved["parameters"], resolved["edited"]) == (shown, False)
    assert (text(thread), DONE) == ("posted", [([channel, 2**53 - 1], -5)])


def test_edited_parameters_are_checked_by_the_schema_of_the_continuation(alice, thread):
    schema = {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 9}}}

    async def agent(turn):
        found = await turn.approve("Pay?", parameters={"amount": 1}, schema=schema, key="pay")
        await turn.say(str(found.parameters["amount"]))

    execute(agent)
    accept(alice, open_request().id, parameters={"amount": 7})
    schema["properties"]["amount"]["maximum"] = 5
    run = execute(agent)
    assert (run.status, run.error_code, text(thread)) == (Run.FAILED, "agent_error", "")
    assert "parameters.amount" in frames(thread)[-1]["message"]


def test_a_declined_tool_does_not_run(alice, thread):
    execute(approving)
    decline(alice, open_request().id, "no")
    execute(approving)
    assert (DONE, text(thread)) == ([], "declined: no")
    assert "tool_executing" not in types(thread)


@pytest.mark.parametrize("is_lost", [False, True], ids=["continued", "lost"])
def test_a_declined_tool_is_not_asked_for_again_after_a_saved_state(alice, thread, is_lost):
    async def agent(turn):
        if turn.saved is None:
            await approving(turn)
            await turn.save(1)
        await turn.ask("Which?")
        await approving(turn)

    execute(agent)
    decline(alice, open_request().id, "no ")
    execute(agent)
    answer_all(alice)
    if is_lost:
        claim_one()
        lose(Run.objects.get())
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), DONE) == ("declined: no declined: no ", [])
    assert InputRequest.objects.filter(kind="approval").count() == 1


def test_a_changed_definition_is_asked_for_again(alice, thread):
    execute(approving)
    accept(alice, open_request().id)
    before = noted.__doc__
    noted.__doc__ = "Something else."
    try:
        assert execute(approving).status == Run.WAITING
    finally:
        noted.__doc__ = before
    assert DONE == []


def test_an_approved_tool_that_was_interrupted_is_asked_for_again(alice, thread):
    """Also one that is marked once: a person decides whether it runs a second time."""

    @once
    @needs_approval
    def dangerous() -> str:
        DONE.append("ran")
        return "done"

    async def agent(turn):
        await turn.say(await turn.call(dangerous))

    execute(agent)
    accept(alice, open_request().id)
    claimed = claim_one()
    call_id = InputRequest.objects.get().tool_call_id
    body = {"type": "tool_executing", "agent_name": "advisor", "tool_call_id": call_id, "tool_name": "dangerous"}
    started = runs.event_log.encode_event(claimed.thread_id, claimed.run_id, 1, {**body, "parameters": {}})
    runs.record([runs.RunBatch(claimed, [started])])
    lose(Run.objects.get())
    assert execute(agent).status == Run.WAITING
    assert DONE == []
    second = open_request()
    assert (second.reason, second.tool_call_id) == ("interrupted", call_id)
    accept(alice, second.id)
    execute(agent)
    assert (DONE, text(thread)) == (["ran"], "done")
    accepted = InputRequest.objects.filter(status="accepted").count()
    starts = [e for e in frames(thread) if e["type"] == "tool_executing" and not e.get("reused")]
    assert accepted == len(starts) == 2


def test_nobody_waits_where_nobody_is_there(alice, thread):
    Run.objects.update(interactive=False)

    async def agent(turn):
        with pytest.raises(Declined, match="Nobody is there"):
            await turn.call(noted, value="x")
        await turn.say(await turn.ask("Which?", default="the default"))

    run = execute(agent)
    assert (run.status, text(thread), DONE) == (Run.COMPLETED, "the default", [])
    assert "run_waiting" not in types(thread)


# ---- Crashes ----


def test_a_lost_continuation_shows_all_again_and_asks_nothing_twice(alice, thread):
    execute(asking)
    accept(alice, open_request().id, "tea")
    claim_one()
    lose(Run.objects.get())
    run = execute(asking)
    assert (run.status, run.attempt) == (Run.COMPLETED, 2)
    assert (text(thread), DONE) == ("before after tea", ["one"])
    events = frames(thread)
    at = next(at for at, event in enumerate(events) if event["type"] == "run_restarted")
    again = [event for event in events[at:] if event["type"].startswith(("input_", "tool_"))]
    assert [event["type"] for event in again] == [
        "tool_executing", "tool_completed", "input_requested", "input_resolved",
    ]  # fmt: skip
    assert all(event["reused"] for event in again)
    assert {event["request_id"] for event in events if "request_id" in event} == {str(InputRequest.objects.get().id)}


def test_a_worker_lost_while_it_asks_leaves_one_request(alice, thread):
    async def then(worker):
        while not await access.from_database(InputRequest.objects.exists):  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        run = await access.from_database(Run.objects.get)
        await access.in_database(lose, run)
        await access.in_database(runs.claim, worker.id, ["other"], 1)
        worker.event_writer.revoke(str(run.id))

    run = execute(asking, then)
    if run.status == Run.RUNNING:
        assert execute(asking).attempt == 2
    assert InputRequest.objects.count() == 1
    accept(alice, open_request().id, "tea")
    execute(asking)
    assert text(thread) == "before after tea"


def test_a_stopped_run_starts_no_approved_tool(alice, thread):
    execute(approving)
    accept(alice, open_request().id)

    async def then(worker):
        await access.in_database(runs.cancel, alice.id)

    run = execute(approving, then)
    assert run.status == Run.CANCELLED
    assert frames(thread)[-1]["type"] == "agent_cancelled"
    executed = [e for e in frames(thread) if e["type"] == "tool_executing"]
    assert len(DONE) <= len(executed)


def test_a_suspended_worker_that_wakes_up_writes_nothing(alice, thread):
    """The worker was frozen before it suspended its run; another worker took the run, and the fencing token decides."""

    async def then(worker):
        while not await access.from_database(InputRequest.objects.exists):  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        await access.in_database(Run.objects.update, fencing_token=99)

    run = execute(asking, then)
    assert (run.status, run.fencing_token) == (Run.RUNNING, 99)
    assert "run_waiting" not in types(thread)


# ---- Held questions, steps, states ----


def test_a_question_inside_a_call_keeps_the_slot(alice, thread, settings):
    settings.NETRA_HELD_INPUT_SECONDS = 60

    async def agent(turn):
        async def tool() -> str:
            return await turn.ask("Inside?")

        await turn.say(await turn.call(tool))

    async def then(worker):
        while not await access.from_database(InputRequest.objects.exists):  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0.01)
        row = await access.from_database(open_request)
        assert (row.expires_at - row.created_at).total_seconds() <= 61
        await access.in_database(accept, alice, row.id, "tea")
        await worker.receive({"type": "input", "run": str(row.run_id)})

    run = execute(agent, then)
    assert (run.status, text(thread)) == (Run.COMPLETED, "tea")
    assert "run_waiting" not in types(thread)


def test_a_recorded_step_does_not_run_again(alice, thread):
    async def agent(turn):
        plan = await turn.step("plan", lambda: note("planned"))
        await turn.ask("Which?")
        await turn.say(plan)

    execute(agent)
    answer_all(alice)
    execute(agent)
    assert (DONE, text(thread)) == (["planned"], "planned")


async def saving(turn):
    """Three parts, each said and then saved; a question before the last."""
    part = turn.saved or 0
    if part == 0:
        await turn.say("one ")
        async with turn.subagent("data", task="t") as sub:
            await sub.say("sub ")
        await turn.call(note, value="a")
        await turn.save(part := 1)
    if part == 1:
        await turn.say("two ")
        await turn.save(part := 2)
    found = await turn.ask("Which?")
    await turn.call(note, value="a")
    await turn.say(f"three {found}")


def test_a_saved_state_is_continued_from(alice, thread):
    execute(saving)
    accept(alice, open_request().id, "tea")
    execute(saving)
    assert text(thread) == "one sub two three tea"
    assert DONE == ["a", "a"]
    assert frames(thread)[-1]["agents_involved"] == ["advisor", "data"]
    assert "run_restarted" not in types(thread)


def test_what_a_saved_state_covers_is_kept_when_the_rest_is_shown_afresh(alice, thread):
    """Also over a further wait: the state covers the same text under its new numbers."""
    words = iter(["one ", "two ", "two "])

    async def agent(turn):
        if turn.saved is None:
            await turn.say("before ")
            await turn.save(1)
        await turn.say(next(words))
        await turn.ask("Which?")
        await turn.ask("And then?")
        await turn.say("after")

    execute(agent)
    assert text(thread) == "before one "
    for number, said in enumerate(["before two ", "before two after"]):
        answer_all(alice)
        execute(agent)
        assert (text(thread), types(thread).count("run_restarted")) == (said, 1), number


def test_text_of_one_branch_survives_the_fresh_start_of_another(alice, thread):
    """A sub-agent says otherwise than before while the others speak on: nothing of theirs is lost or moved."""
    runs_so_far = []

    async def agent(turn):
        runs_so_far.append(1)
        first = len(runs_so_far) == 1

        async def speak(name):
            async with turn.subagent(name) as sub:
                for number in range(20):
                    await sub.say(f"{name}{number} " if first or name != "a" else f"{name}new{number} ")
                    await asyncio.sleep(0)
                if first:
                    await sub.ask("Which?")
                for number in range(20, 40):
                    await sub.say(f"{name}{number} ")
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(speak(name))

    execute(agent)
    answer_all(alice)
    assert execute(agent).status == Run.COMPLETED
    events = frames(thread)
    begin = max(at for at, event in enumerate(events) if event["type"] == "run_restarted")
    said = {
        name: "".join(e["delta"] for e in events[begin:] if e["type"] == "agent_delta" and e["agent_name"] == name)
        for name in "abc"
    }
    assert said == {
        name: "".join(f"{name}{'new' if name == 'a' and n < 20 else ''}{n} " for n in range(40)) for name in "abc"
    }
    text(thread)


def test_what_a_saved_state_covers_is_shown_again_after_a_crash(alice, thread, settings):
    settings.NETRA_MAX_ATTEMPTS = 9
    execute(saving)
    accept(alice, open_request().id, "tea")
    claim_one()
    for _ in range(2):  # and again after a second one, in the same segment of the log
        lose(Run.objects.get())
        if Run.objects.get().attempt == 1:
            claim_one()
    run = execute(saving)
    assert (run.status, run.attempt) == (Run.COMPLETED, 3)
    assert text(thread) == "one sub two three tea"
    assert DONE == ["a", "a"]


def test_a_saved_state_covers_the_answer_to_a_question_that_it_accounts_for(alice, thread):
    """The answer is not the worker's event: nobody was there, and the agent said nothing before it saved."""
    Run.objects.update(interactive=False)

    async def agent(turn):
        if turn.saved is None:
            await turn.save(await turn.ask("Which?", default="tea"))
            await asyncio.Event().wait()
        await turn.say(turn.saved)

    async def then(worker):
        while not await access.from_database(RunState.objects.exists):  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        run = await access.from_database(Run.objects.get)
        await access.in_database(lose, run)
        worker.event_writer.revoke(str(run.id))

    execute(agent, then)
    assert execute(agent).attempt == 2
    again = frames(thread)[types(thread).index("run_restarted") :]
    shown = [(event["type"], event["reused"]) for event in again if event["type"].startswith("input_")]
    assert shown == [("input_requested", True), ("input_resolved", True)]
    assert text(thread) == "tea"


def test_a_question_that_is_open_while_another_branch_saves_is_asked_once(alice, thread):
    async def agent(turn):
        async def save():
            while not await access.from_database(InputRequest.objects.exists):  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0)
            await turn.save(1)

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(turn.ask("Which?"))
            group.create_task(save())
        await turn.say(asking.result())

    assert execute(agent).status == Run.WAITING
    accept(alice, open_request().id, "tea")
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), InputRequest.objects.count()) == ("tea", 1)


def test_a_step_or_state_that_is_too_large_ends_the_run(alice, thread):
    async def agent(turn):
        await turn.step("big", lambda: "x" * 5_000_000)

    assert execute(agent).error_code == "too_large"


def ask_before(alice, count):
    """Let the run have asked so many questions, which are answered."""
    values = {"kind": "form", "agent_name": "advisor", "message": "?", "expires_at": Now() + timedelta(days=1)}
    run = Run.objects.get()
    for _ in range(count):
        InputRequest.objects.create(
            id=uuid.uuid4(), run=run, thread=run.thread, user=alice, status="accepted", **values
        )


def test_a_run_that_asks_too_much_at_once_ends(alice, thread):
    """Each question is counted before the next one."""

    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(turn.ask(f"Question {number}?"))

    ask_before(alice, 98)
    assert execute(agent).error_code == "too_many_inputs"
    assert InputRequest.objects.count() == 100
    assert not InputRequest.objects.filter(status="open").exists()


def test_a_run_that_asks_too_much_ends(alice, thread):
    ask_before(alice, 100)
    assert execute(asking).error_code == "too_many_inputs"


def test_the_state_of_the_answer_before_is_the_turn_s_previous(alice, thread):
    async def agent(turn):
        await turn.save({"n": (turn.previous or {"n": 0})["n"] + 1})
        await turn.say(json.dumps(turn.previous))

    execute(agent)
    runs.start(alice.id, message("two", thread_id=thread))
    execute(agent)
    assert frames(thread)[-1]["final_response"] == '{"n": 1}'


def test_a_state_saved_by_a_continuation_that_repeats_less_is_kept_for_the_next_turn(alice, thread):
    """Nothing is saved over the state that the shown text belongs to, before the run has ended without that text."""
    is_first = [True]

    async def agent(turn):
        if is_first[0]:
            await turn.say("kept ")
        await turn.save([turn.previous, await turn.ask("Which?")])
        await turn.say("end")

    async def recall(turn):
        await turn.say(json.dumps(turn.previous))

    execute(agent)
    is_first[0] = False
    accept(alice, open_request().id, "tea")
    assert execute(agent).status == Run.COMPLETED
    runs.start(alice.id, message("two", thread_id=thread))
    execute(recall)
    assert frames(thread)[-1]["final_response"] == '[null, "tea"]'


def test_every_end_is_one(alice, thread):
    async def agent(turn):
        await turn.ask("Which?")
        raise AgentError("No.")

    execute(agent)
    answer_all(alice)
    execute(agent)
    assert [kind for kind in types(thread) if kind in TERMINAL] == ["agent_failed"]
