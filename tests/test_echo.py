import asyncio

from agents.agent import Record, Turn
from agents.echo import echo


def test_echo_counts_and_repeats_the_words() -> None:
    sink = Record()
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
