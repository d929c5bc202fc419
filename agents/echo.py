"""The smallest agent: a demonstration, and a stand-in for tests."""

from agents.sdk import Turn
from chat.translation import speaking, t


def word_count(text: str) -> int:
    """Return the number of words, as separated by white space."""
    return len(text.split())


async def echo(turn: Turn) -> None:
    """Repeat the message, word by word."""
    with speaking(turn.language):
        await turn.think(t("Counting the words"))
    await turn.call(word_count, text=turn.text)
    for word in turn.text.split():
        await turn.say(word + " ")
