"""Scenarios of public bug reports of comparable systems. Each test name has the system and the number of the report."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from agents.sdk import Declined, needs_approval
from chat import runs
from chat.models import AuditRecord, InputRequest, Run
from chat.protocol import ProtocolError
from tests.factories import AGENTS, accept, decline, frames, new_worker, types
from tests.turns import DONE, execute, note, noted, text

pytestmark = pytest.mark.django_db(transaction=True)


def open_requests():
    return list(InputRequest.objects.filter(status="open").order_by("created_at", "id"))


def at_once(*calls):
    """Make these calls at the same time; their results, or ProtocolErrors."""

    def make(call):
        try:
            return call()
        except ProtocolError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))


def test_langgraph_6626_tools_that_ask_side_by_side_get_their_own_answers(alice, thread):
    async def create(turn, shape):
        return await turn.call(noted, value=shape)

    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(create(turn, shape)) for shape in ("circle", "square", "triangle")]
        await turn.say(" ".join(task.result() for task in made))

    execute(agent)
    asked = {row.parameters["value"]: row.id for row in open_requests()}
    assert asked.keys() == {"circle", "square", "triangle"}
    assert len(set(asked.values())) == 3
    for shape, color in (("triangle", "red"), ("circle", "green"), ("square", "blue")):
        accept(alice, asked[shape], None, parameters={"value": f"{color} {shape}"})
    execute(agent)
    assert text(thread) == "green circle blue square red triangle"
    assert sorted(DONE) == ["blue square", "green circle", "red triangle"]


def test_langgraph_5952_an_answered_question_is_not_asked_again_beside_another(alice, thread):
    async def agent(turn):
        async def node(name, *questions):
            async with turn.subagent(name) as sub:
                await sub.call(note, value=f"{name} entered")
                for question in questions:
                    await sub.say(f"{name} {await sub.ask(question)} ")

        async with asyncio.TaskGroup() as group:
            group.create_task(node("node1"))
            group.create_task(node("node2", "Interrupt 0", "Interrupt 1"))
            group.create_task(node("node3", "Interrupt 0"))

    answered = []
    while execute(agent).status == Run.WAITING:
        row = open_requests()[0]
        accept(alice, row.id, f"answer {len(answered)}")
        answered.append((row.agent_name, row.message))
    assert sorted(answered) == [("node2", "Interrupt 0"), ("node2", "Interrupt 1"), ("node3", "Interrupt 0")]
    assert sorted(DONE) == ["node1 entered", "node2 entered", "node3 entered"]
    shown = [event["request_id"] for event in frames(thread) if event["type"] == "input_requested"]
    assert len(shown) == len(set(shown)) == 3


def test_heym_563_two_decisions_at_once_are_one_and_the_tool_starts_once(alice, thread):
    async def agent(turn):
        await turn.say(await turn.call(noted, value="proposed"))

    execute(agent)
    (row,) = open_requests()
    edits = [{"value": f"edit {number}"} for number in range(4)]
    found = at_once(*(lambda edit=edit: accept(alice, row.id, None, parameters=edit) for edit in edits))
    assert sorted(getattr(one, "code", "won") for one in found) == ["conflict"] * 3 + ["won"]
    execute(agent)
    row.refresh_from_db()
    assert [[row.edited_parameters["value"]]] == [DONE]
    assert text(thread) == DONE[0]


def test_ha_mcp_2387_one_approval_of_two_equal_calls_starts_one(alice, thread):
    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(turn.call(noted, value="press"))

    execute(agent)
    first, second = open_requests()
    accept(alice, first.id, None)
    assert execute(agent).status == Run.WAITING
    assert DONE == ["press"]
    accept(alice, second.id, None)
    execute(agent)
    assert DONE == ["press", "press"]


def test_extra_139_what_a_replayed_model_changes_needs_another_approval(alice, thread):
    values = iter(["reviewed-value", "changed-value", "changed-value"])

    async def agent(turn):
        await turn.call(noted, value=next(values))

    execute(agent)
    (reviewed,) = open_requests()
    accept(alice, reviewed.id, None)
    assert execute(agent).status == Run.WAITING
    assert DONE == []
    (changed,) = open_requests()
    assert changed.parameters == {"value": "changed-value"}
    accept(alice, changed.id, None)
    execute(agent)
    assert DONE == ["changed-value"]


def test_extra_139_a_model_whose_response_is_a_step_is_not_asked_again(alice, thread):
    values = iter(["reviewed-value", "changed-value"])

    async def agent(turn):
        await turn.call(noted, value=await turn.step("model", lambda: next(values)))

    execute(agent)
    accept(alice, open_requests()[0].id, None)
    assert execute(agent).status == Run.COMPLETED
    assert DONE == ["reviewed-value"]


def test_pydantic_ai_6968_an_approval_holds_for_the_default_that_was_in_force(alice, thread):
    """A parameter that the call leaves out is part of what was approved: its default belongs to the definition."""

    def made(amount):
        @needs_approval
        def transfer(to: str, amount: int = amount) -> int:
            DONE.append(amount)
            return amount

        async def agent(turn):
            await turn.call(transfer, to="bob")

        return agent

    execute(made(100))
    accept(alice, open_requests()[0].id, None)
    assert execute(made(5000)).status == Run.WAITING
    assert DONE == []
    accept(alice, open_requests()[0].id, None)
    execute(made(5000))
    assert DONE == [5000]


def test_dify_42103_both_forms_at_once_leave_no_run_waiting(alice, thread):
    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            found = [group.create_task(turn.ask(name)) for name in ("HITL 1", "HITL 2")]
        await turn.say(" ".join(task.result() for task in found))

    execute(agent)
    one, other = open_requests()
    answers = {"HITL 1": "a", "HITL 2": "b"}
    at_once(*(lambda row=row: accept(alice, row.id, answers[row.message]) for row in (one, other)))
    assert execute(agent).status == Run.COMPLETED
    assert text(thread) == "a b"


def test_flowise_5082_the_parent_waits_for_the_question_of_its_sub_agent(alice, thread):
    async def agent(turn):
        async with turn.subagent("review") as sub:
            name = await sub.ask("Approved by?")
        await turn.call(note, value=f"sent for {name}")

    assert execute(agent).status == Run.WAITING
    assert DONE == []
    accept(alice, open_requests()[0].id, "Ann")
    execute(agent)
    assert DONE == ["sent for Ann"]


def test_opencompany_846_an_approval_repeats_nothing_that_came_before_it(alice, thread):
    async def agent(turn):
        for name in ("fetch_bbc", "fetch_espn", "fetch_guardian"):
            await turn.call(note, value=f"prepare {name}")
            await turn.call(noted, value=name)
            await turn.say(f"{name} ")

    execute(agent)
    for _ in range(3):
        accept(alice, open_requests()[0].id, None)
        execute(agent)
    assert DONE == [
        "prepare fetch_bbc", "fetch_bbc", "prepare fetch_espn", "fetch_espn",
        "prepare fetch_guardian", "fetch_guardian",
    ]  # fmt: skip
    assert text(thread) == "fetch_bbc fetch_espn fetch_guardian "
    assert (InputRequest.objects.count(), Run.objects.get().attempt) == (3, 1)


def test_gaia_856_a_denied_tool_is_asked_for_once_however_often_it_is_tried(alice, thread):
    async def agent(turn):
        reasons = set()
        for _ in range(50):
            try:
                await turn.call(noted, value="rm")
            except Declined as declined:
                reasons.add(declined.reason)
        await turn.say(" ".join(reasons))

    execute(agent)
    decline(alice, open_requests()[0].id, "Never.")
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), InputRequest.objects.count(), DONE) == ("Never.", 1, [])


def test_hermes_60527_a_stop_beside_an_approval_is_not_lost(alice, thread):
    async def agent(turn):
        await turn.call(noted, value="x")

    run_id = execute(agent).id
    (row,) = open_requests()
    at_once(lambda: accept(alice, row.id, None), lambda: runs.cancel(alice.id, run_id=run_id))
    assert Run.objects.get().status == Run.CANCELLED
    assert runs.claim(new_worker(), AGENTS, 1) == []
    row.refresh_from_db()
    resolved = [event for event in frames(thread) if event["type"] == "input_resolved"]
    assert ([event["status"] for event in resolved], DONE) == ([row.status], [])
    assert types(thread)[-1] == "agent_cancelled"


def test_atlas_ui_887_who_approved_what_is_on_record(alice, bob, thread):
    """The decider is the authenticated user; the record outlives the run, and hashes stand for its content."""

    async def agent(turn):
        await turn.call(noted, value="secret plan")

    execute(agent)
    (row,) = open_requests()
    with pytest.raises(ProtocolError, match="no such request"):
        accept(bob, row.id, None)
    accept(alice, row.id, None, parameters={"value": "public plan"})
    record = AuditRecord.objects.get(kind="input_resolved")
    assert (record.user_id, record.by_id) == (alice.id, alice.id)
    assert f"noted accepted edited {row.id}" in record.detail
    proposed, approved = record.detail.split()[-1].split("→")
    assert len(proposed) == len(approved) == 12
    assert proposed != approved
    assert "plan" not in record.detail


def test_openai_agents_3004_a_call_beside_one_that_needs_approval_keeps_its_result(alice, thread):
    async def agent(turn):
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(turn.call(tool, value=tool.__name__)) for tool in (noted, note)]
        await turn.say(" ".join(task.result() for task in calls))

    assert execute(agent).status == Run.WAITING
    assert DONE == ["note"]
    accept(alice, open_requests()[0].id, None)
    execute(agent)
    assert (text(thread), DONE) == ("noted note", ["note", "noted"])
    assert types(thread).count("tool_completed") == 2


def test_langgraph_2870_an_answer_is_not_used_for_the_next_question_of_a_sub_agent(alice, thread):
    async def agent(turn):
        async with turn.subagent("graph") as graph:
            for _ in range(2):
                async with graph.subagent("node") as node:
                    await node.say(f"{await node.ask('Which?')} ")

    for answer in ("one", "two"):
        assert execute(agent).status == Run.WAITING
        (row,) = open_requests()
        accept(alice, row.id, answer)
    assert execute(agent).status == Run.COMPLETED
    assert text(thread) == "one two "
