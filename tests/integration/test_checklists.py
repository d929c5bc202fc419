"""Steps of answers that their users have done."""

import json
import uuid
from io import BytesIO
from zipfile import ZipFile

import pytest

from chat import runs
from chat.api import exports
from chat.models import CheckedStep, Message
from chat.runs import retention
from tests.factories import claim_one, completed, message


@pytest.fixture
def answer(alice):
    accepted = runs.start(alice.id, message("Where can I save?"))
    runs.record([completed(claim_one(), "Use batch.")])
    return Message.objects.get(run=accepted.run_id)


def place(answer_id, name="batch"):
    return f"/api/messages/{answer_id}/checklist/{name}"


def names(caller, answer):
    listed = caller.get(f"/api/threads/{answer.thread_id}/checklist")
    assert listed.status_code == 200, listed.content
    return [(one["message_id"], one["name"]) for one in listed.json()["checklist"]]


def test_step_is_checked_once_and_unchecked(ann, answer):
    assert names(ann, answer) == []
    first, again = ann.put(place(answer.id)), ann.put(place(answer.id))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert first.json()["message_id"] == str(answer.id)
    ann.put(place(answer.id, "cache"))
    assert names(ann, answer) == [(str(answer.id), "batch"), (str(answer.id), "cache")]
    assert [ann.delete(place(answer.id)).status_code for _ in range(2)] == [204, 204]
    assert names(ann, answer) == [(str(answer.id), "cache")]


def test_steps_are_few_and_their_names_short(ann, answer):
    long = ann.put(place(answer.id, "x" * 33))
    assert (long.status_code, long.json()["error"]) == (422, "invalid_message")
    for number in range(20):
        assert ann.put(place(answer.id, f"step-{number}")).status_code == 200
    assert ann.put(place(answer.id, "step-19")).status_code == 200
    assert (ann.put(place(answer.id, "one-more")).json()["error"]) == "conflict"
    assert CheckedStep.objects.count() == 20


def test_steps_of_another_user_are_as_if_they_were_not(ann, ben, answer):
    ann.put(place(answer.id))
    for caller, target in ((ben, answer.id), (ann, answer.run.message_id), (ann, uuid.uuid4())):
        for refused in (caller.put(place(target)), caller.delete(place(target))):
            assert (refused.status_code, refused.json()["error"]) == (404, "not_found")
    assert ben.get(f"/api/threads/{answer.thread_id}/checklist").status_code == 404
    assert CheckedStep.objects.get().name == "batch"


def test_checklist_is_in_the_export_and_goes_with_its_user(ann, alice, answer):
    ann.put(place(answer.id))
    file = BytesIO()
    exports.everything(alice, file)
    [found] = json.loads(ZipFile(file).read("profile.json"))["checklist"]
    assert (found["message_id"], found["name"]) == (str(answer.id), "batch")
    retention.erase(alice)
    assert not CheckedStep.objects.exists()
