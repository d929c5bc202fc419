"""A share of the files and questions with known answers, through a started Netra."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.site import WAIT_TIMEOUT

FOLDER = Path(__file__).parents[1] / "usage"
TRUTH = json.loads((FOLDER / "truth.json").read_text(encoding="utf-8"))
NAMES = (
    "cloudflare_ai_gateway_logs.json", "excel_unicode_text.txt", "gcp_cost_table_chf.csv", "litellm_overlapping.zip",
    "openai_costs_api_line_items.json", "plain_french_preamble_total.txt",
)  # fmt: skip
EVERY = 20  # a share of the questions


@pytest.fixture(scope="module")
def anyone(_site):
    return _site.register("advice")


def execute(user, content, **fields):
    answer = user.http("POST", "/api/agents/execute", {"agent": "advisor", "content": content, **fields})
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def amounts(text):
    """The numbers of a text, written with points and commas as the advisor does."""
    return [float(one.replace(",", "")) for one in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


@pytest.mark.parametrize("name", NAMES)
def test_the_total_of_a_file_and_of_each_model_are_answered(anyone, name):
    headers = {"Authorization": f"Bearer {anyone.access}"}
    file = {"file": (name, (FOLDER / "files" / name).read_bytes())}
    sent = httpx.post(f"{anyone.site.url}/api/attachments", files=file, headers=headers, timeout=WAIT_TIMEOUT).json()
    assert sent["recognised"]["usage"]
    said = execute(anyone, "What did we spend in total and by model?", attachment_ids=[sent["id"]])["final_response"]
    truth = TRUTH[name]
    assert any(one == pytest.approx(truth["total"], rel=1e-3) for one in amounts("\n".join(said.split("\n")[:2])))
    for amount in truth["by_model"].values():
        assert any(one == pytest.approx(amount, rel=1e-3) for one in amounts(said)), amount


def test_questions_are_answered_asked_about_or_declined(anyone):
    questions = [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    for question in [one for one in questions if isinstance(one["text"], str)][::EVERY]:
        answer = execute(anyone, question["text"])
        said = (answer.get("final_response") or "").partition("Understood:")[0]
        assert (answer["status"] == "waiting") == bool(question.get("ask")), question
        if question.get("ask"):
            [request] = answer["inputs"]
            form = anyone.http("GET", f"/api/inputs/{request if isinstance(request, str) else request['id']}").json()
            held = {str(one.get("default")) for one in form["schema"]["properties"].values()}
            assert held - {"None"}, question
        for figure in question.get("figures", ()):
            assert any(one == pytest.approx(figure, rel=1e-3) for one in amounts(said)), (figure, said)
        if question.get("decline"):
            assert not amounts(said), said
