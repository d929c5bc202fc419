"""Projects: folders of threads, and what the assistant is told in them."""

import json
import uuid
from io import BytesIO
from zipfile import ZipFile

import pytest
from asgiref.sync import async_to_sync

from agents.toolbox.profile import instructions_of
from chat import runs
from chat.api import exports
from chat.models import Attachment, Project, Thread
from chat.runs import retention
from tests.factories import client, message

NOWHERE = uuid.UUID("00000000-0000-4000-8000-000000000000")


def made(caller, name="Bills", **fields):
    done = caller.post("/api/projects", {"name": name, **fields}, format="json")
    assert done.status_code == 201, done.content
    return done.json()


def thread(caller):
    return caller.post("/api/threads", {}, format="json").json()["id"]


def placed(caller, thread_id):
    return caller.get(f"/api/threads/{thread_id}").json()["project_id"]


def test_thread_is_in_one_project_at_most(ann):
    bills, other, thread_id = made(ann), made(ann, "Other"), thread(ann)
    assert placed(ann, thread_id) is None
    done = ann.put(f"/api/projects/{bills['id']}/threads/{thread_id}")
    assert (done.status_code, done.json()["project_id"]) == (200, bills["id"])
    assert [one["project_id"] for one in ann.get("/api/threads").json()["threads"]] == [bills["id"]]
    ann.put(f"/api/projects/{other['id']}/threads/{thread_id}")
    assert placed(ann, thread_id) == other["id"]
    assert ann.delete(f"/api/projects/{bills['id']}/threads/{thread_id}").json()["project_id"] == other["id"]
    assert ann.delete(f"/api/projects/{other['id']}/threads/{thread_id}").json()["project_id"] is None


def test_list_of_threads_is_narrowed_to_a_project_or_to_any(ann, ben):
    bills, other = made(ann), made(ann, "Other")
    inside, elsewhere, outside = (thread(ann) for _ in range(3))
    ann.put(f"/api/projects/{bills['id']}/threads/{inside}")
    ann.put(f"/api/projects/{other['id']}/threads/{elsewhere}")

    def listed(caller, project):
        return {one["id"] for one in caller.get(f"/api/threads?project={project}").json()["threads"]}

    assert listed(ann, bills["id"]) == {inside}
    assert listed(ann, "any") == {inside, elsewhere}
    assert listed(ann, "") == {inside, elsewhere, outside}
    assert listed(ben, bills["id"]) == listed(ben, "any") == set()
    assert ann.get("/api/threads?project=bills").json()["field"] == "project"


def test_projects_are_listed_by_name_and_changed(ann):
    made(ann, "Zoo")
    bills = made(ann, "Bills", instructions="In euros.")
    assert [one["name"] for one in ann.get("/api/projects").json()["projects"]] == ["Bills", "Zoo"]
    changed = ann.patch(f"/api/projects/{bills['id']}", {"name": "All bills"}, format="json").json()
    assert (changed["name"], changed["instructions"]) == ("All bills", "In euros.")
    changed = ann.patch(f"/api/projects/{bills['id']}", {"instructions": ""}, format="json").json()
    assert (changed["name"], changed["instructions"]) == ("All bills", "")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " \u200b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "instructions": "y" * 2001}, "instructions"),
    ],
)
def test_project_with_a_wrong_field_is_refused_by_its_name(ann, body, field):
    done = ann.post("/api/projects", body, format="json")
    assert (done.status_code, done.json()["error"], done.json()["field"]) == (422, "invalid_message", field)
    assert not Project.objects.exists()


def test_deleted_project_leaves_its_threads(ann):
    bills, thread_id = made(ann), thread(ann)
    ann.put(f"/api/projects/{bills['id']}/threads/{thread_id}")
    assert ann.delete(f"/api/projects/{bills['id']}").status_code == 204
    assert placed(ann, thread_id) is None
    assert ann.delete(f"/api/projects/{bills['id']}").status_code == 404


def test_project_and_thread_of_another_user_are_as_if_they_were_not(ann, ben):
    bills, thread_id = made(ann), thread(ann)
    his, thread_of_his = made(ben), thread(ben)
    assert [one["id"] for one in ben.get("/api/projects").json()["projects"]] == [his["id"]]
    for project_id in (bills["id"], NOWHERE):
        address = f"/api/projects/{project_id}"
        answers = [
            ben.patch(address, {"name": "Mine"}, format="json"),
            ben.delete(address),
            ben.put(f"{address}/threads/{thread_of_his}"),
            ben.delete(f"{address}/threads/{thread_of_his}"),
        ]
        assert [(one.status_code, one.json()["error"]) for one in answers] == [(404, "not_found")] * 4
    for method in (ben.put, ben.delete):
        assert method(f"/api/projects/{his['id']}/threads/{thread_id}").status_code == 404
    assert Project.objects.get(pk=bills["id"]).name == "Bills"
    assert not Thread.objects.filter(project__isnull=False).exists()


@pytest.mark.django_db(transaction=True)
def test_assistant_is_told_what_the_user_and_the_project_say(alice, bob):
    ann = client(alice)
    ann.patch("/auth/instructions", {"instructions": "I am Ann."}, format="json")
    bills, inside, outside = made(ann, instructions="In euros."), thread(ann), thread(ann)
    ann.put(f"/api/projects/{bills['id']}/threads/{inside}")
    told = async_to_sync(instructions_of)
    assert told(str(alice.pk), inside) == "I am Ann.\n\nIn euros."
    assert told(str(alice.pk), outside) == "I am Ann."
    assert told(str(bob.pk), inside) == ""


def uploaded(caller, name="usage.csv"):
    file = BytesIO(b"model,cost\ngpt-4o,1\n")
    file.name = name
    done = caller.post("/api/attachments", {"file": file}, format="multipart")
    assert done.status_code == 201, done.content
    return done.json()["id"]


def names(project):
    return sorted(one["name"] for one in project["attachments"])


def test_project_has_files_which_are_kept_while_a_message_or_a_project_has_them(ann, alice):
    one, two, sent = uploaded(ann, "one.csv"), uploaded(ann, "two.csv"), uploaded(ann, "sent.csv")
    bills = made(ann, attachment_ids=[one, two, sent])
    assert names(bills) == names(ann.get("/api/projects").json()["projects"][0]) == ["one.csv", "sent.csv", "two.csv"]
    renamed = ann.patch(f"/api/projects/{bills['id']}", {"name": "All"}, format="json").json()
    assert names(renamed) == ["one.csv", "sent.csv", "two.csv"]
    accepted = runs.start(alice.id, message("Sum.", attachment_ids=[sent]))
    changed = ann.patch(f"/api/projects/{bills['id']}", {"attachment_ids": [two]}, format="json").json()
    assert names(changed) == ["two.csv"]
    assert ann.get(f"/api/attachments/{one}").status_code == 404
    assert ann.get(f"/api/attachments/{sent}").status_code == 200
    other = made(ann, "Other", attachment_ids=[two, sent])
    retention.empty_deleted(accepted.thread_id)
    assert ann.get(f"/api/attachments/{sent}").status_code == 200, "another thread may be begun with it"
    ann.delete(f"/api/projects/{bills['id']}")
    assert names(ann.get("/api/projects").json()["projects"][0]) == ["sent.csv", "two.csv"]
    ann.delete(f"/api/projects/{other['id']}")
    assert not Attachment.objects.exists()


def test_file_of_another_user_is_in_no_project(ann, ben):
    of_ben = uploaded(ben)
    bills = made(ann)
    for refused in (
        ann.post("/api/projects", {"name": "x", "attachment_ids": [of_ben]}, format="json"),
        ann.patch(f"/api/projects/{bills['id']}", {"attachment_ids": [of_ben]}, format="json"),
    ):
        assert (refused.status_code, refused.json()["field"]) == (404, "attachment_ids")
    assert Project.objects.get().attachments.count() == 0
    assert ben.patch(f"/api/projects/{bills['id']}", {"attachment_ids": [of_ben]}, format="json").status_code == 404
    wrong = ann.patch(f"/api/projects/{bills['id']}", {"attachment_ids": ["x"]}, format="json")
    assert (wrong.status_code, wrong.json()["error"]) == (422, "invalid_message")


def test_projects_are_in_the_export_of_all_data(ann, alice):
    made(ann, instructions="In euros.", attachment_ids=[uploaded(ann)])
    file = BytesIO()
    exports.everything(alice, file)
    [found] = json.loads(ZipFile(file).read("profile.json"))["projects"]
    assert (found["name"], found["instructions"], found["attachments"]) == ("Bills", "In euros.", ["usage.csv"])
