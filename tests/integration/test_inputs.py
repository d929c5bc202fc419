"""Requests for input in the write service: one by one, beside the state machine of test_runs.py."""

import json
import re
import threading
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import Error, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from chat import runs
from chat.models import AuditRecord, Grant, InputRequest, InputStep, Message, Run, Thread, User
from chat.protocol import ProtocolError
from chat.runs import RunBatch, RunOutcome, retention
from chat.runs.retention import prune
from tests.factories import (
    AGENTS,
    accept,
    ask,
    asked,
    claim_one,
    completed,
    decline,
    delta,
    frames,
    message,
    new_worker,
    types,
    waiting,
)
from tests.site import wait_until


@pytest.fixture
def run(alice):
    runs.start(alice.id, message())
    return claim_one()


def refused(code, call, *args, **kwargs):
    with pytest.raises(ProtocolError) as error:
        call(*args, **kwargs)
    assert error.value.code == code
    return error.value


# ---- The life of a waiting run ----


def test_a_run_waits_without_a_worker_and_continues_its_attempt(alice, run):
    request_id = waiting(run)
    row = Run.objects.get()
    assert (row.status, row.attempt, row.worker, row.lease_until) == ("waiting", 1, None, None)
    assert runs.claim(new_worker(), AGENTS, 1) == []
    accepted = accept(alice, request_id)
    assert (accepted.status, str(accepted.run_id), accepted.repeated) == ("accepted", run.run_id, False)
    again = claim_one()
    assert (again.continues, again.restarted, again.attempt) == (True, False, 1)
    assert again.fencing_token > run.fencing_token
    kinds = ["message_created", "agent_started", "input_requested", "run_waiting", "input_resolved", "run_resumed"]
    assert types(run.thread_id) == kinds
    waits, resolved, resumed = frames(run.thread_id)[3:]
    assert waits["request_ids"] == resumed["request_ids"] == [str(request_id)]
    assert (resolved["content"], resolved["via"], resolved["seq"]) == ({"value": "words"}, "rest", accepted.seq)
    assert resolved["resolved_by"] == {"user_id": str(alice.id), "name": "Alice"}
    assert resumed["waited_ms"] >= 0
    assert runs.read_inputs(again)[str(request_id)].content == {"value": "words"}


def test_an_answer_before_the_suspension_queues_the_run(alice, run):
    request_id = ask(run)
    accept(alice, request_id)
    assert runs.suspend(run, [str(request_id)], {"tokens": 3}) == Run.QUEUED
    again = claim_one()
    assert (again.continues, again.attempt, again.usage) == (True, 1, {"tokens": 3})
    assert types(run.thread_id)[-2:] == ["input_resolved", "run_resumed"]


def test_one_answer_of_two_lets_the_run_continue(alice, run):
    first, second = ask(run), ask(run)
    runs.suspend(run, [str(first), str(second)], {})
    accept(alice, second)
    again = claim_one()
    assert frames(run.thread_id)[-1]["request_ids"] == [str(second)]
    assert runs.suspend(again, [str(first)], {}) == Run.WAITING
    accept(alice, first)
    claim_one()
    assert frames(run.thread_id)[-1]["request_ids"] == [str(first)]


def test_a_continuation_that_is_lost_is_another_attempt(alice, run):
    accept(alice, waiting(run))
    claim_one()
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    lost = claim_one()
    assert (lost.attempt, lost.restarted, lost.continues) == (2, True, False)
    assert types(run.thread_id)[-2:] == ["run_restarted", "agent_started"]


def test_a_continuation_that_is_handed_back_uses_no_attempt(alice, run):
    accept(alice, waiting(run))
    runs.record([RunBatch(claim_one(), [], RunOutcome(Run.QUEUED, refund=True))])
    assert claim_one().attempt == 1


def test_time_spent_waiting_is_not_the_run_s(run):
    waiting(run)
    Run.objects.update(claimed_at=Now() - timedelta(days=7), waiting_since=Now() - timedelta(days=7))
    runs.expire_runs()
    assert Run.objects.get().status == Run.WAITING


def test_a_waiting_run_does_not_delay_the_thread(alice, run):
    request_id = waiting(run)
    second = runs.start(alice.id, message("two", thread_id=uuid.UUID(run.thread_id)))
    third = runs.start(alice.id, message("three", thread_id=uuid.UUID(run.thread_id)))
    runs.record([completed(other := claim_one())])
    assert other.run_id == str(second.run_id)
    accept(alice, request_id)
    again = claim_one()
    assert again.run_id == run.run_id
    runs.record([completed(again)])
    assert claim_one().run_id == str(third.run_id)


def test_a_run_that_was_answered_after_days_waits_for_its_agent_from_then_on(settings, alice, run):
    request_id = waiting(run)
    Run.objects.update(created_at=Now() - timedelta(days=5))
    accept(alice, request_id)
    assert runs.fail_unserved([run.agent]) == 0
    settings.NETRA_RUN_TIMEOUT = -1  # seconds: the answer is older
    assert runs.fail_unserved([run.agent]) == 1


def test_a_hundred_waiting_runs_do_not_delay_the_next(settings, alice):
    settings.NETRA_RATE_LIMITS = True
    for _ in range(100):
        runs.start(alice.id, message())
        waiting(claim_one())
    last = runs.start(alice.id, message())
    assert claim_one().run_id == str(last.run_id)
    first, newest = Run.objects.order_by("created_at").first(), Run.objects.get(id=last.run_id)
    assert newest.scheduled_for - newest.created_at <= first.scheduled_for - first.created_at + timedelta(seconds=1)


def test_a_waiting_run_without_a_request_is_queued_by_the_sweep(run):
    waiting(run)
    InputRequest.objects.all().delete()
    runs.expire_runs()
    assert claim_one().continues


def test_a_stale_worker_neither_asks_nor_suspends_nor_keeps(alice, run):
    accept(alice, waiting(run))
    claim_one()
    assert runs.suspend(run, [], {}) is None
    assert not runs.keep_step(run, uuid.uuid4(), "1")
    assert not runs.save_state(run, "1", 1)
    assert runs.record([RunBatch(run, [delta(run)])]) == {}
    ask(run)
    assert InputRequest.objects.count() == 1


def test_a_request_whose_commit_is_tried_again_is_asked_once(alice, run):
    """Also if it was answered in between."""
    batch = asked(run)
    assert runs.record([batch]) == {run.run_id: 3}
    accept(alice, batch.events[0].request.id)
    assert runs.record([batch], after={run.run_id: run.seq}) == {run.run_id: 3}
    assert types(run.thread_id)[-2:] == ["input_requested", "input_resolved"]


# ---- Ends ----


@pytest.mark.parametrize("how", ["stop", "delete", "erase", "deactivate"])
def test_who_ends_a_waiting_run_cancels_its_requests(alice, run, how):
    request_id = waiting(run)
    thread_id = uuid.UUID(run.thread_id)
    match how:
        case "stop":
            assert runs.cancel(alice.id, run_id=uuid.UUID(run.run_id)) == [uuid.UUID(run.run_id)]
        case "delete":
            runs.delete(alice.id, thread_id)
        case "erase":
            User.objects.filter(id=alice.id).update(is_active=False)
            runs.cancel(alice.id)
        case "deactivate":
            User.objects.filter(id=alice.id).update(is_active=False)
            runs.expire_runs()
    row = InputRequest.objects.get()
    assert (row.status, row.via, row.resolved_by) == ("cancelled", "stop", None)
    assert types(thread_id)[-2:] == ["input_resolved", "agent_cancelled"]
    refused({"stop": "conflict", "delete": "not_found"}.get(how, "forbidden"), accept, alice, request_id)
    assert runs.claim(new_worker(), AGENTS, 1) == []


def test_a_run_that_ends_cancels_what_it_left_open(alice, run):
    request_id = ask(run)
    runs.keep_step(run, uuid.uuid4(), "1")
    runs.record([completed(run)])
    assert types(run.thread_id)[-2:] == ["input_resolved", "agent_completed"]
    assert InputRequest.objects.get(id=request_id).status == "cancelled"
    assert not InputStep.objects.exists()


def test_nothing_is_pruned_of_a_waiting_run(run):
    waiting(run)
    assert list(prune(timedelta())) == []


# ---- Answers ----


def test_only_what_was_asked_for_is_an_answer(alice, run):
    request_id = ask(run)
    assert refused("invalid_message", accept, alice, request_id, 5).field == "content.value"
    assert refused("invalid_message", accept, alice, request_id, {"other": 1}).field == "content.other"
    bad = runs.Answer(request_id, "maybe")
    assert refused("invalid_message", runs.answer, bad, runs.Decider(alice.id, "rest")).field == "action"
    assert refused("invalid_message", decline, alice, request_id, "x" * 2001).field == "reason"
    assert InputRequest.objects.get().status == "open"


def test_another_user_s_request_is_like_a_missing_one(alice, bob, run):
    request_id = ask(run)
    mine, none = refused("not_found", accept, bob, request_id), refused("not_found", accept, bob, uuid.uuid4())
    assert (mine.message, mine.field) == (none.message, none.field)


def test_the_same_answer_is_repeated_and_another_one_conflicts(alice, run):
    request_id = waiting(run)
    first = accept(alice, request_id)
    again = accept(alice, request_id, {"value": "words"})
    assert (again.repeated, again.seq, again.status) == (True, first.seq, "accepted")
    assert refused("conflict", accept, alice, request_id, "others").stands == "accepted"
    assert refused("conflict", decline, alice, request_id).stands == "accepted"
    assert types(run.thread_id).count("input_resolved") == 1


def test_an_overdue_request_is_expired_by_who_comes_first(alice, run):
    request_id = waiting(run, default={"value": "default"})
    InputRequest.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert refused("conflict", accept, alice, request_id).stands == "expired"
    assert runs.expire_inputs() == 0
    again = claim_one()
    found = runs.read_inputs(again)[str(request_id)]
    assert (found.status, found.content) == ("expired", {"value": "default"})
    assert frames(run.thread_id)[-2]["via"] == "expiry"


def test_a_wrong_answer_to_a_request_that_is_resolved_is_told_so(alice, run):
    accepted, overdue, still = ask(run), ask(run), ask(run)
    accept(alice, accepted)
    InputRequest.objects.filter(pk=overdue).update(expires_at=Now() - timedelta(seconds=1))
    assert refused("conflict", accept, alice, accepted, 5).stands == "accepted"
    assert refused("conflict", accept, alice, overdue, 5).stands == "expired"
    assert refused("invalid_message", accept, alice, still, 5).field == "content.value"
    assert InputRequest.objects.get(pk=overdue).status == "expired"


def test_another_type_of_value_is_another_answer(alice, run):
    request_id = ask(run, "approval")
    accept(alice, request_id, parameters={"amount": 1})
    assert accept(alice, request_id, parameters={"amount": 1}).repeated
    assert refused("conflict", accept, alice, request_id, parameters={"amount": True}).stands == "accepted"


def test_an_acceptance_that_is_to_be_remembered_repeats_only_one_that_is(alice, run):
    once, always = ask(run, "approval"), ask(run, "approval", tool_name="send")
    accept(alice, once)
    assert refused("conflict", accept, alice, once, remember=True).stands == "accepted"
    accept(alice, always, remember=True)
    assert accept(alice, always, remember=True).repeated
    assert list(Grant.objects.values_list("tool_name", flat=True)) == ["send"]


def test_of_answers_that_come_together_an_overdue_one_keeps_the_others_from_being_taken(alice, run):
    late, other = ask(run), ask(run)
    runs.suspend(run, [str(late), str(other)], {})
    InputRequest.objects.filter(pk=late).update(expires_at=Now() - timedelta(seconds=1))
    given = [runs.Answer(id, "accept", "words") for id in (other, late)]
    assert refused("conflict", runs.answer_all, given, runs.Decider(alice.id, "agui")).stands == "expired"
    assert InputRequest.objects.get(pk=other).status == "open"


def overdue(user, number):
    """Let so many runs of the user, each in its thread, wait for an answer whose time is over."""
    for _ in range(number):
        runs.start(user.id, message())
        waiting(claim_one(), "approval", decided_by="group:finance")
    InputRequest.objects.filter(status="open").update(expires_at=Now() - timedelta(seconds=1))


def test_many_requests_are_expired_by_as_many_queries_as_few(alice, bob, on_commit):
    Group.objects.create(name="finance").user_set.add(bob)
    counts = []
    for number in (2, 40):
        overdue(alice, number)
        with CaptureQueriesContext(connection) as queries, on_commit(execute=True):
            assert runs.expire_inputs() == number
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert set(Run.objects.values_list("status", flat=True)) == {Run.QUEUED}
    assert AuditRecord.objects.filter(kind="input_resolved").count() == 42


def test_overdue_requests_of_runs_of_one_thread_are_expired_one_run_after_the_other(alice, bob, run):
    first = waiting(run)
    runs.start(alice.id, message("two", thread_id=uuid.UUID(run.thread_id)))
    beside = claim_one()
    second, third = ask(beside), waiting(beside)
    Group.objects.create(name="finance").user_set.add(bob)
    overdue(alice, 1)
    for ago, request_id in enumerate((third, second, first), start=2):
        InputRequest.objects.filter(pk=request_id).update(expires_at=Now() - timedelta(seconds=ago))
    assert [runs.expire_inputs() for _ in range(3)] == [2, 2, 0]
    told = [frame for frame in frames(run.thread_id) if frame["type"] == "input_resolved"]
    assert [(frame["run_id"], frame["request_id"]) for frame in told] == [
        (run.run_id, str(first)),
        (beside.run_id, str(second)),
        (beside.run_id, str(third)),
    ]
    assert set(Run.objects.values_list("status", flat=True)) == {Run.QUEUED}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer")
@pytest.mark.parametrize("what", ["user", "thread"])
def test_an_answer_that_is_repeated_beside_an_erasure_waits_for_nothing_that_waits_for_it(alice, run, what):
    request_id = waiting(run)
    accept(alice, request_id)
    runs.record([completed(claim_one())])
    if what == "thread":
        runs.delete(alice.id, uuid.UUID(run.thread_id))
        Thread.objects.update(deleted_at=Now() - timedelta(days=2))

    def remove():
        try:
            if what == "user":
                retention.erase(alice)
            else:
                list(prune(timedelta(days=1)))
        finally:
            connection.close()

    def is_waiting():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")
            return cursor.fetchone()[0]

    removing = threading.Thread(target=remove)
    with transaction.atomic():
        Run.objects.select_for_update().get()  # an answer locks its run first, and then its request
        removing.start()
        wait_until(is_waiting, "the erasure waits for the run")
        assert InputRequest.objects.select_for_update(nowait=True).filter(pk=request_id).exists()
    removing.join()
    assert not InputRequest.objects.exists()


def test_edited_parameters_are_checked_and_kept_beside_the_proposed(alice, run):
    schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "integer", "pattern": "(a+)+$"}},
    }
    request_id = ask(run, "approval", schema=schema)
    assert (
        refused("invalid_message", accept, alice, request_id, parameters={"amount": "5"}).field == "parameters.amount"
    )
    assert refused("invalid_message", accept, alice, request_id, parameters=[]).field == "parameters"
    accept(alice, request_id, parameters={"amount": 4}, reason="less")
    row = InputRequest.objects.get()
    assert (row.parameters, row.edited_parameters, row.comment) == ({"amount": 5}, {"amount": 4}, "less")
    told = frames(run.thread_id)[-1]
    assert (told["parameters"], told["edited"], told["reason"]) == ({"amount": 4}, True, "less")
    (audit,) = AuditRecord.objects.filter(kind="input_resolved")
    assert (audit.user_id, audit.by_id) == (alice.id, alice.id)
    proposed, approved = audit.detail.split()[-1].split("→")
    assert audit.detail.startswith(f"refund accepted edited {request_id} ")
    assert proposed != approved


@pytest.mark.parametrize(
    ("checks", "amount", "message"),
    [
        ({"$ref": "#/$defs/0"}, 4, "cannot be checked"),
        ({"$ref": "#/properties/amount"}, 4, "cannot be checked"),
        ({"$ref": "#/$defs/none"}, 4, "cannot be checked"),
        ({"multipleOf": 0}, 4, "cannot be checked"),
        ({"uniqueItems": True}, [{"of": number % 2999} for number in range(3000)], "must not repeat an entry"),
        ({"maximum": 3}, 4, "must be at most 3"),
    ],
)
def test_a_schema_of_a_tool_costs_bounded_time(alice, run, checks, amount, message):
    doubled = {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}, {"$ref": f"#/$defs/{n + 1}"}]} for n in range(40)}
    schema = {"$defs": {**doubled, "40": {"type": "string"}}, "properties": {"amount": checks}}
    error = refused(
        "invalid_message", accept, alice, ask(run, "approval", schema=schema), parameters={"amount": amount}
    )
    assert message in error.message
    assert error.field in ("parameters", "parameters.amount")


@pytest.mark.parametrize(
    ("checks", "value", "message"),
    [
        ({"type": "integer"}, True, "parameters.amount: must be a whole number"),
        ({"type": "string"}, None, "parameters.amount: must be a text"),
        ({"type": "object"}, [], "parameters.amount: must be an object"),
        ({"enum": [1, 2]}, 3, "parameters.amount: must be one of the choices"),
        ({"exclusiveMinimum": 0}, 0, "parameters.amount: must be more than 0"),
        ({"multipleOf": 5}, 6, "parameters.amount: must be a multiple of 5"),
        ({"maxLength": 2}, "abc", "parameters.amount: must have at most 2 characters"),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}, ["a", 1],
         "parameters.amount[1]: must be a text"),
        ({"oneOf": [{"type": "null"}, {"type": "string", "minLength": 1}]}, "",
         "parameters.amount: must have at least 1 characters"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, [], "parameters.amount: [] is not valid under any"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_told_as_a_form_tells_it(alice, run, checks, value, message):
    request_id = ask(run, "approval", schema={"properties": {"amount": checks}})
    error = refused("invalid_message", accept, alice, request_id, parameters={"amount": value})
    assert error.message.startswith(message)
    assert message.startswith(f"{error.field}: ")


ADDRESS = {
    "$id": "https://example.com/schemas/address",
    "type": "object",
    "required": ["street"],
    "properties": {"street": {"$ref": "#/definitions/text"}, "state": {"$ref": "#state"}},
    "definitions": {
        "text": {"type": "string"},
        "state": {"$anchor": "state", "properties": {"code": {"enum": ["CA", "NY"]}}},
    },
}
CUSTOMER = {
    "$id": "https://example.com/schemas/customer",
    "properties": {"shipping": {"$ref": "/schemas/address"}},
    "$defs": {"address": ADDRESS},
    "definitions": {"text": {"type": "integer"}},
}
TREE = {
    "$id": "urn:example:tree",
    "properties": {"kids": {"items": {"$ref": "urn:example:tree"}}, "n": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("schema", "parameters", "field"),
    [
        # A tool that searches: its parameter has the name of a keyword.
        ({"properties": {"pattern": {"type": "string"}}, "additionalProperties": False}, {"pattern": "TODO"}, None),
        ({"properties": {"pattern": {"type": "string"}}}, {"pattern": 1}, "parameters.pattern"),
        (
            {"properties": {"a": {"$ref": "#/$defs/$id"}}, "$defs": {"$id": {"type": "string"}}},
            {"a": 1},
            "parameters.a",
        ),
        ({"properties": {"a": {"enum": [{"$id": 1}, {"pattern": "x"}]}}}, {"a": {"pattern": "x"}}, None),
        # A function that takes whole numbers fails with a real one.
        ({"properties": {"a": {"type": "integer"}}}, {"a": 2.0}, "parameters.a"),
        ({"properties": {"a": {"type": "number"}}}, {"a": 2.0}, None),
        # From the JSON Schema Test Suite, draft 2020-12: ref, additionalProperties, unevaluatedProperties, uniqueItems.
        ({"properties": {"$ref": {"type": "string"}}}, {"$ref": "a"}, None),
        ({"properties": {"$ref": {"type": "string"}}}, {"$ref": 2}, "parameters.$ref"),
        (
            {"properties": {"foo": {}}, "patternProperties": {"^v": {}}, "additionalProperties": False},
            {"foo": 1, "vroom": 2},
            None,
        ),
        ({"allOf": [{"patternProperties": {"^b": {}}}], "unevaluatedProperties": False}, {"bar": "bar"}, None),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}, "parameters.a"),
        # Without their patterns these would refuse every value.
        ({"properties": {"a": {"not": {"pattern": "^/"}}}}, {"a": "b"}, None),
        ({"properties": {"a": {"oneOf": [{"pattern": "^x"}, {"pattern": "^y"}], "minLength": 1}}}, {"a": "x"}, None),
        ({"properties": {"a": {"oneOf": [{"pattern": "^x"}], "minLength": 3}}}, {"a": "x"}, "parameters.a"),
        ({"properties": {"a": {"if": {"pattern": "^x"}, "then": False}}}, {"a": "y"}, None),
        ({"properties": {"a": {"oneOf": [{"minimum": 2}, {"maximum": 5}]}}}, {"a": 3}, "parameters.a"),
        ({"properties": {"a": {"oneOf": [{"pattern": "^x"}], "allOf": 5}}}, {"a": "x"}, "parameters"),
        # From the book "Understanding JSON Schema": a part with an address of its own, and references to it and in it.
        (CUSTOMER, {"shipping": {"street": "x", "state": {"code": "CA"}}}, None),
        (CUSTOMER, {"shipping": {"street": 1}}, "parameters.shipping.street"),
        (CUSTOMER, {"shipping": {"street": "x", "state": {"code": "ca"}}}, "parameters.shipping.state.code"),
        (CUSTOMER, {"shipping": {}}, "parameters.shipping.street"),
        ({"properties": {"a": ADDRESS}, "definitions": {"text": {"type": "integer"}}}, {"a": {"street": "x"}}, None),
        # An anchor of draft 7, a tree by its URN, an address that is none, and a reference to elsewhere.
        ({"properties": {"a": {"$ref": "#n"}}, "definitions": {"n": {"$id": "#n", "type": "number"}}}, {"a": 1}, None),
        (TREE, {"kids": [{"kids": [{"n": 1}]}]}, None),
        (TREE, {"kids": [{"kids": [{"n": "x"}]}]}, "parameters.kids[0].kids[0].n"),
        ({"$id": 5, "properties": {"a": {"$id": ["x"], "type": "integer"}}}, {"a": "x"}, "parameters.a"),
        # Of older drafts (react-jsonschema-form 239, tuples of zod), of OpenAPI, and of nobody.
        ({"properties": {"a": {"minimum": 0, "exclusiveMinimum": True}}}, {"a": 0.5}, None),
        ({"properties": {"a": {"minimum": 0, "exclusiveMinimum": True}}}, {"a": 0}, "parameters.a"),
        ({"properties": {"a": {"maximum": 5, "exclusiveMaximum": False}}}, {"a": 5}, None),
        ({"properties": {"a": {"items": [{"type": "string"}], "additionalItems": False}}}, {"a": ["x"]}, None),
        ({"properties": {"a": {"items": [{"type": "string"}]}}}, {"a": [1]}, "parameters.a[0]"),
        ({"properties": {"a": {"items": [{}], "additionalItems": False}}}, {"a": [1, 2]}, "parameters.a"),
        ({"properties": {"a": {"type": "string", "enum": ["x"], "nullable": True}}}, {"a": None}, None),
        ({"properties": {"a": {"type": "string", "nullable": True}}}, {"a": 5}, "parameters.a"),
        ({"properties": {"a": {"type": "any"}, "b": {"type": "integer"}}}, {"a": 5, "b": "1"}, "parameters.b"),
        ({"properties": {"a": {"not": {"type": "any"}}}}, {"a": 5}, None),
        ({"dependentRequired": {"pattern": ["b"]}}, {"pattern": "x"}, "parameters"),
        ({"$id": "https://a.example/b", "properties": {"a": {"$ref": "c"}, "d": {"type": "null"}}}, {"a": 1}, None),
    ],
)
def test_edited_parameters_are_checked_by_any_schema_of_a_tool(alice, run, schema, parameters, field):
    request_id = ask(run, "approval", schema={"type": "object", **schema})
    if field is None:
        assert accept(alice, request_id, parameters=parameters).status == "accepted"
    else:
        assert refused("invalid_message", accept, alice, request_id, parameters=parameters).field == field


def test_a_schema_elsewhere_is_not_fetched(alice, run):
    schema = {"properties": {"amount": {"$ref": "http://127.0.0.1:1/schema"}}}
    assert accept(alice, ask(run, "approval", schema=schema), parameters={"amount": "x"}).status == "accepted"


def test_the_proposed_parameters_again_are_no_edit(alice, run):
    request_id = ask(run, "approval", editable=False)
    accept(alice, request_id, parameters={"amount": 5})
    assert InputRequest.objects.get().edited_parameters is None


@pytest.mark.parametrize(
    ("proposed", "given", "edited"),
    [
        ({"amount": 5.0, "to": None}, {"to": None, "amount": 5}, None),  # as JavaScript sends it
        ({"flags": [1, {"force": 0}]}, {"flags": [1, {"force": False}]}, {"flags": [1, {"force": False}]}),
        ({"amount": 5}, {"amount": 5, "to": None}, {"amount": 5, "to": None}),
    ],
)
def test_an_edit_is_told_from_the_proposed_parameters_by_their_types(alice, run, proposed, given, edited):
    accept(alice, ask(run, "approval", parameters=proposed), parameters=given)
    row = InputRequest.objects.get()
    assert json.dumps(row.edited_parameters) == json.dumps(edited)


def test_a_flag_in_place_of_a_number_is_refused_though_python_has_them_equal(alice, run):
    schema = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
    request_id = ask(run, "approval", schema=schema, parameters={"amount": 1})
    assert (
        refused("invalid_message", accept, alice, request_id, parameters={"amount": True}).field == "parameters.amount"
    )


@pytest.mark.parametrize(
    ("parameters", "name", "wrong"),
    [({}, "amount", "is required"), ({"amount": 1, "to": 2}, "to", "is not a parameter")],
)
def test_a_parameter_that_is_missing_or_unknown_is_named(alice, run, parameters, name, wrong):
    schema = {"type": "object", "required": ["amount"], "properties": {"amount": {}}, "additionalProperties": False}
    error = refused("invalid_message", accept, alice, ask(run, "approval", schema=schema), parameters=parameters)
    assert (error.field, error.message) == (f"parameters.{name}", f"parameters.{name}: {wrong}")


def test_values_that_would_have_no_effect_are_refused(alice, run):
    """A client that edits an approval by `content` must not start the tool with the proposed parameters."""
    approval, link = ask(run, "approval"), ask(run, "link", schema={"url": "https://example.org"})
    assert refused("invalid_message", accept, alice, approval, {"amount": 4}).field == "content"
    assert refused("invalid_message", accept, alice, link, {"done": True}).field == "content"
    assert refused("invalid_message", accept, alice, link, parameters={}).field == "parameters"
    assert refused("invalid_message", accept, alice, ask(run), parameters={"value": "x"}).field == "parameters"
    assert not InputRequest.objects.exclude(status="open").exists()


def test_parameters_beyond_what_is_shown_are_accepted_as_proposed(alice, run):
    proposed = {"text": "ü" * 600_000}
    request_id = ask(run, "approval", parameters=proposed, editable=False)
    accept(alice, request_id)
    told = frames(run.thread_id)[-1]
    assert told["parameters"]["truncated"].startswith('{"text":"üü')
    assert len(json.dumps(told, ensure_ascii=False).encode()) < 64 * 1024
    assert runs.read_inputs(run)[str(request_id)].parameters == proposed
    shown = runs.input_fields(InputRequest.objects.select_related("run").get())
    assert shown["parameters"] == told["parameters"]


def test_keys_keep_the_order_in_which_they_were_given(alice, run):
    schema = {"type": "object", "properties": {"zone": {"type": "string"}, "a": {"type": "string"}}}
    accept(
        alice,
        ask(run, "approval", schema=schema, parameters={"zone": "x", "a": "y"}),
        parameters={"zone": "z", "a": "b"},
    )
    row = InputRequest.objects.get()
    assert [list(found) for found in (row.schema, row.schema["properties"])] == [["type", "properties"], ["zone", "a"]]
    assert [list(found) for found in (row.parameters, row.edited_parameters)] == [["zone", "a"]] * 2


def test_what_cannot_be_edited_is_not(alice, run):
    request_id = ask(run, "approval", editable=False)
    assert refused("invalid_message", accept, alice, request_id, parameters={"amount": 4}).field == "parameters"


@pytest.mark.django_db(transaction=True)
def test_fifty_answers_at_once_are_one_resolution(alice, run):
    request_id = waiting(run)
    found = []

    def send(number):
        try:
            done = accept(alice, request_id) if number % 2 else decline(alice, request_id)
            found.append((done.status, done.repeated))
        except ProtocolError as error:
            found.append((error.stands, "conflict"))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[number]) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [how for _, how in found].count(False) == 1
    assert len({status for status, _ in found}) == 1
    assert types(run.thread_id).count("input_resolved") == 1
    assert AuditRecord.objects.filter(kind="input_resolved").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("other", ["stop", "expiry"])
def test_an_answer_against_a_stop_or_the_expiry_has_one_outcome(alice, run, other):
    request_id = waiting(run)
    if other == "expiry":
        InputRequest.objects.update(expires_at=Now() + timedelta(milliseconds=40))
    found = []

    def send():
        try:
            found.append(accept(alice, request_id).status)
        except ProtocolError as error:
            found.append(error.stands)
        finally:
            connection.close()

    answering = threading.Thread(target=send)
    answering.start()
    if other == "stop":
        runs.cancel(alice.id)
    answering.join()
    while other == "expiry" and InputRequest.objects.get().status == "open":
        runs.expire_inputs()
    row, last = InputRequest.objects.get(), Run.objects.get()
    (resolved,) = [frame for frame in frames(run.thread_id) if frame["type"] == "input_resolved"]
    assert found == [row.status] == [resolved["status"]]
    assert last.status == ("cancelled" if other == "stop" else "queued")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the trigger is PostgreSQL's")
def test_a_resolved_row_refuses_a_change(alice, run):
    accept(alice, waiting(run))
    with pytest.raises(Error, match="never changes"):
        InputRequest.objects.update(status="declined")


def test_a_resolved_row_survives_its_decider(alice, bob, run):
    Group.objects.create(name="finance").user_set.add(bob)
    request_id = waiting(run, "approval", decided_by="group:finance")
    accept(bob, request_id)
    bob.delete()
    row = InputRequest.objects.get()
    assert (row.status, row.resolved_by) == ("accepted", None)


def test_every_decision_leaves_one_audit_record_without_content(alice, bob, run):
    Group.objects.create(name="finance").user_set.add(bob)
    asked = {
        "accepted": ask(run, "approval", parameters={"note": "hunter2"}),
        "declined": ask(run, "approval", decided_by="group:finance", parameters={"note": "hunter2"}),
        "expired": ask(run),
        "cancelled": ask(run, "link", schema={"url": "https://example.org"}),
    }
    accept(alice, asked["accepted"], parameters={"note": "swordfish"}, reason="a comment")
    decline(bob, asked["declined"], "another comment")
    InputRequest.objects.filter(id=asked["expired"]).update(expires_at=Now() - timedelta(seconds=1))
    runs.expire_inputs()
    runs.cancel(alice.id)
    records = {one.detail.split()[1]: one for one in AuditRecord.objects.filter(kind="input_resolved")}
    assert records.keys() == asked.keys()
    assert AuditRecord.objects.filter(kind="input_resolved").count() == 4
    by = {status: (one.user_id, one.by_id) for status, one in records.items()}
    assert by == {
        "accepted": (alice.id, alice.id),
        "declined": (alice.id, bob.id),
        "expired": (alice.id, None),
        "cancelled": (alice.id, None),
    }
    edited = {"accepted": " edited"}
    for status, one in records.items():
        what = {"expired": "form", "cancelled": "link"}.get(status, "refund")
        hashes = "[0-9a-f]{12}→[0-9a-f]{12}"
        assert re.fullmatch(f"{what} {status}{edited.get(status, '')} {asked[status]} {hashes}", one.detail)
        for content in ("hunter2", "swordfish", "comment", "example.org"):
            assert content not in one.detail
    proposed, approved = records["accepted"].detail.split()[-1].split("→")
    assert proposed == records["declined"].detail.split()[-1].split("→")[0] != approved


# ---- Who decides ----


@pytest.fixture
def finance(bob):
    group = Group.objects.create(name="finance")
    group.user_set.add(bob)
    return group


def test_members_of_the_group_decide_and_nobody_else(alice, bob, finance, run):
    carol = User.objects.create_user("carol@example.com")
    request_id = waiting(run, "approval", decided_by="group:finance")
    refused("forbidden", accept, alice, request_id)
    refused("not_found", accept, carol, request_id)
    accept(bob, request_id)
    assert frames(run.thread_id)[-1]["resolved_by"] == {"user_id": str(bob.id), "name": "Bob"}


def test_who_left_the_group_or_is_not_active_does_not_decide(alice, bob, finance, run):
    request_id = waiting(run, "approval", decided_by="group:finance")
    finance.user_set.remove(bob)
    refused("not_found", accept, bob, request_id)
    finance.user_set.add(bob)
    User.objects.filter(id=bob.id).update(is_active=False)
    refused("not_found", accept, bob, request_id)


def test_four_eyes_are_two_persons(alice, bob, finance, run):
    finance.user_set.add(alice)
    request_id = waiting(run, "approval", decided_by="group:finance", four_eyes=True)
    refused("forbidden", accept, alice, request_id)
    assert accept(bob, request_id).status == "accepted"


@pytest.mark.parametrize("fields", [{"decided_by": "group:none"}, {"four_eyes": True}])
def test_what_nobody_may_decide_is_declined_at_once(run, fields):
    ask(run, "approval", **fields)
    row = InputRequest.objects.get()
    assert (row.status, row.via, row.comment) == ("declined", "policy", "Nobody may decide this.")
    assert types(run.thread_id)[-2:] == ["input_requested", "input_resolved"]


def test_nobody_is_there_to_answer(run):
    Run.objects.update(interactive=False)
    ask(run, "form")
    ask(run, "approval")
    found = list(InputRequest.objects.order_by("kind").values_list("kind", "status", "via", "comment"))
    assert found == [
        ("approval", "declined", "policy", "Nobody is there to approve this."),
        ("form", "expired", "policy", ""),
    ]


def test_a_grant_accepts_the_same_tool_of_the_thread(alice, run):
    fields = {"definition_hash": "one"}
    accept(alice, ask(run, "approval", **fields), remember=True)
    grant = Grant.objects.get()
    assert (grant.tool_name, grant.by, AuditRecord.objects.filter(kind="grant_added").count()) == ("refund", alice, 1)
    ask(run, "approval", **fields)
    ask(run, "approval", definition_hash="two")
    assert list(InputRequest.objects.order_by("created_at").values_list("status", "via")) == [
        ("accepted", "rest"),
        ("accepted", "policy"),
        ("open", ""),
    ]
    runs.revoke_grant(alice.id, grant.id)
    ask(run, "approval", **fields)
    assert InputRequest.objects.filter(status="open").count() == 2


def test_a_grant_of_the_owner_decides_nothing_for_others(alice, finance, run):
    accept(alice, ask(run, "approval"), remember=True)
    ask(run, "approval", decided_by="group:finance")
    ask(run, "approval", decided_by="group:finance", four_eyes=True)
    assert InputRequest.objects.filter(status="open").count() == 2


def test_a_grant_is_of_its_user_thread_and_tool(alice, bob, run):
    accept(alice, ask(run, "approval"), remember=True)
    ask(run, "approval", tool_name="other")
    runs.start(alice.id, message("elsewhere"))
    ask(claim_one(), "approval")
    assert InputRequest.objects.filter(status="open").count() == 2


def test_a_grant_of_yesterday_is_none(alice, run):
    accept(alice, ask(run, "approval"), remember=True)
    Grant.objects.update(expires_at=Now() - timedelta(seconds=1))
    ask(run, "approval")
    assert InputRequest.objects.filter(status="open").count() == 1


def test_what_cannot_be_remembered_is_not(alice, bob, finance, run):
    request_id = ask(run, "approval", decided_by="group:finance")
    assert refused("invalid_message", accept, bob, request_id, remember=True).field == "remember"
    assert refused("invalid_message", accept, alice, ask(run), remember=True).field == "remember"


# ---- Steps, states, bounds ----


def test_a_step_keeps_its_first_result(run):
    key = uuid.uuid4()
    assert runs.keep_step(run, key, json.dumps({"a": 1}))
    runs.keep_step(run, key, json.dumps(2))
    assert runs.read_steps(run) == {str(key): {"a": 1}}


def test_a_run_has_a_thousand_steps(run):
    InputStep.objects.bulk_create(InputStep(run_id=run.run_id, key=uuid.uuid4(), result="1") for _ in range(1000))
    with pytest.raises(runs.TooManySteps):
        runs.keep_step(run, uuid.uuid4(), "1")


def test_the_next_turn_of_the_branch_finds_what_the_answer_s_run_saved(alice, run):
    runs.save_state(run, json.dumps({"n": 1}), 2)
    runs.save_state(run, json.dumps({"n": 2}), 2)
    runs.record([completed(run)])
    runs.start(alice.id, message("two", thread_id=uuid.UUID(run.thread_id)))
    claimed = claim_one()
    assert (claimed.has_previous, runs.read_previous_state(claimed)) == (True, {"n": 2})
    runs.start(alice.id, message("elsewhere"))
    claimed = claim_one()
    assert (claimed.has_previous, runs.read_previous_state(claimed)) == (False, None)


def test_a_message_that_was_sent_meanwhile_finds_what_the_answer_s_run_saved(alice, run):
    thread = uuid.UUID(run.thread_id)
    runs.start(alice.id, message("two", thread_id=thread, parent_id=uuid.UUID(run.message_id)))
    runs.save_state(run, json.dumps({"n": 1}), 2)
    runs.record([completed(run)])
    second = claim_one()
    assert Message.objects.get(pk=second.message_id).parent.role == "user"
    assert (second.has_previous, runs.read_previous_state(second)) == (True, {"n": 1})
    runs.start(alice.id, message("three", thread_id=thread, parent_id=uuid.UUID(second.message_id)))
    runs.record([RunBatch(second, [], RunOutcome(Run.FAILED, error_code="agent_failed"))])
    third = claim_one()
    assert (third.has_previous, runs.read_previous_state(third)) == (True, {"n": 1})


def test_a_run_behind_an_answer_without_a_state_looks_for_none(alice, run):
    """The claim tells the worker, which needs no query for it."""
    runs.record([completed(run)])
    runs.start(alice.id, message("two", thread_id=uuid.UUID(run.thread_id)))
    claimed = claim_one()
    assert (claimed.alone, claimed.has_previous) == (False, False)


def test_an_agent_does_not_find_another_agent_s_state(alice, run):
    runs.save_state(run, "1", 2)
    runs.record([completed(run)])
    runs.start(alice.id, message("two", thread_id=uuid.UUID(run.thread_id), agent="echo"))
    assert runs.read_previous_state(claim_one()) is None


def test_a_user_has_two_hundred_open_requests(alice, run):
    request_id = ask(run)
    assert not runs.too_many_inputs(run)
    values = InputRequest.objects.filter(id=request_id).values().get()
    InputRequest.objects.bulk_create(InputRequest(**{**values, "id": uuid.uuid4()}) for _ in range(199))
    assert runs.too_many_inputs(run)
