"""Copies of a branch in a new thread."""

import uuid

from chat import runs
from chat.models import Attachment, Message, Run, Thread
from tests.factories import claim_one, completed, message, types, upload


def answered(user, content, answer, **fields):
    accepted = runs.start(user.id, message(content, **fields))
    runs.record([completed(claim_one(), answer, result={"figure": 1}, status="completed", duration_ms=5)])
    return Message.objects.get(run=accepted.run_id)


def copied(caller, thread_id, **body):
    done = caller.post(f"/api/threads/{thread_id}/copy", body, format="json")
    assert done.status_code == 201, done.content
    return done.json()


def said(thread_id):
    return list(Message.objects.filter(thread=thread_id).order_by("seq").values_list("role", "content"))


def test_copy_has_the_branch_with_files_and_results_and_leaves_the_original(ann, alice, media_folder):
    file = uuid.UUID(upload(ann).json()["id"])
    first = answered(alice, "one", "first", attachment_ids=[file], agent="echo")
    second = answered(alice, "two", "second", thread_id=first.thread_id, parent_id=first.id)
    answered(alice, "other", "elsewhere", thread_id=first.thread_id, parent_id=first.id)
    before = said(first.thread_id)
    copy = copied(ann, first.thread_id, message_id=str(second.id))
    assert said(copy["id"]) == [("user", "one"), ("assistant", "first"), ("user", "two"), ("assistant", "second")]
    assert said(first.thread_id) == before
    assert (copy["title"], copy["agent"], copy["message_count"]) == ("One", "echo", 4)
    question = Message.objects.get(thread=copy["id"], content="one")
    assert list(question.attachments.all()) == [Attachment.objects.get()]
    events = ann.get(f"/api/threads/{copy['id']}/events").json()["events"]
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert types(copy["id"]) == ["message_created", "agent_completed"] * 2
    assert events[3]["result"] == {"figure": 1}
    assert {run.usage == {} and run.status == Run.COMPLETED for run in Run.objects.filter(thread=copy["id"])} == {True}
    assert ann.get("/api/threads?q=second").json()["total_count"] == 2


def test_copy_goes_on_from_its_last_message_with_its_history(ann, alice):
    first = answered(alice, "one", "first")
    answered(alice, "two", "second", thread_id=first.thread_id)
    copy = copied(ann, first.thread_id, message_id=str(first.id))
    runs.start(alice.id, message("three", thread_id=uuid.UUID(copy["id"])))
    assert runs.history(claim_one())[0] == [("user", "one"), ("assistant", "first"), ("user", "three")]


def test_copy_ends_with_a_question_that_was_not_answered(ann, alice):
    first = answered(alice, "one", "first")
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    copy = copied(ann, first.thread_id)
    assert said(copy["id"]) == [("user", "one"), ("assistant", "first"), ("user", "two")]
    assert types(copy["id"])[-1] == "agent_cancelled"
    assert Run.objects.filter(thread=first.thread_id, status=Run.QUEUED).count() == 1
    assert not Run.objects.filter(thread=copy["id"], status=Run.QUEUED).exists()


def test_what_cannot_be_copied_is_refused(ann, alice, bob):
    mine, his = answered(alice, "one", "first"), answered(bob, "his", "bob's")
    empty = runs.create_thread(alice.id, None, "", None)
    count = Thread.objects.count()
    for thread_id, body, code in (
        (his.thread_id, {}, "not_found"),
        (mine.thread_id, {"message_id": str(his.id)}, "not_found"),
        (mine.thread_id, {"message_id": str(uuid.uuid4())}, "not_found"),
        (empty.id, {}, "conflict"),
        (mine.thread_id, {"message_id": "x"}, "invalid_message"),
    ):
        refused = ann.post(f"/api/threads/{thread_id}/copy", body, format="json")
        assert refused.json()["error"] == code
    assert Thread.objects.count() == count
