"""Examples of docs/ run as they are written, and the pages name every setting, event and metric."""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from agents.worker import registry
from chat import protocol

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])


def test_agents_s_agent_and_its_tests_work_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    blocks = re.findall(r"```python\n(# (\w+\.py)\n.*?)```", (ROOT / "docs/agents.md").read_text(), re.DOTALL)
    for block, name in blocks:
        (tmp_path / name).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    settings.AGENTS = {"expenses": "expenses.expenses", "refunds": "refunds.refunds"}
    try:
        assert all(agent["available"] for agent in registry.described(registry.load()).values())
        written = import_module("test_expenses")
        written.test_it_adds_and_books(tmp_path, monkeypatch)
        written.test_a_file_without_amounts_is_named()
        written = import_module("test_refunds")
        written.test_it_pays_what_was_approved()
        written.test_it_pays_nothing_that_was_declined()
        written.test_small_refunds_need_no_approval()
    finally:
        for name in ("expenses", "test_expenses", "refunds", "test_refunds"):
            sys.modules.pop(name, None)


def test_clients_names_every_event_frame_code_and_path() -> None:
    page = (ROOT / "docs/clients.md").read_text()
    frames = {"user_message", "regenerate", "stop_agent", "resume", "ping", "ack", "agent_status", "authenticate"}
    frames |= {"answer_input", "answer_accepted", "approvals_changed", "thread_seen"}
    codes = {str(code) for name, code in vars(protocol).items() if name.startswith("CLOSE_")} - {"1000"}
    errors = set(protocol.STATUS) - {"forbidden", "method_not_allowed", "internal_error", "upgrade_required"}
    missing = {word for word in protocol.EVENTS | frames | codes | errors | set(protocol.MODES) if word not in page}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target
