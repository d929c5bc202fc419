import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import agents
from agents.echo import echo
from agents.sdk import RecordingSink, Turn
from agents.worker import registry

ROOT = Path(__file__).resolve().parents[2]


def test_echo_counts_and_repeats_the_words() -> None:
    sink = RecordingSink()
    turn = Turn(text="one  two\nthree", sink=sink, agent_name="echo")
    asyncio.run(echo(turn))
    assert [event["type"] for event in sink] == [
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_delta",
        "agent_delta",
        "agent_delta",
    ]
    assert sink[1]["tool_name"] == "word_count"
    assert sink[1]["parameters"] == {"text": "one  two\nthree"}
    assert sink[2]["result"] == 3
    assert turn.said == "one two three "


def test_the_smallest_agent_is_small() -> None:
    assert len((ROOT / "agents/echo.py").read_text().splitlines()) < 20


def test_contributing_s_agent_works_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Files with the agent and the test of CONTRIBUTING.md."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    files = {}
    for block in map(textwrap.dedent, blocks):
        name = re.match(r"# \w+/(\w+)\.py\n", block)
        assert name
        files[name[1]] = block
    (tmp_path / "greeter.py").write_text(files["greeter"])
    monkeypatch.setattr(agents, "__path__", [*agents.__path__, str(tmp_path)])
    settings.AGENTS = {"greeter": "agents.greeter.greeter"}
    assert registry.described(registry.load())["greeter"]["description"] == "Say hello."
    names: dict[str, Any] = {}
    exec(files["test_greeter"], names)
    names["test_greeter_counts"]()
