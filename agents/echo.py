"""The smallest agent: demo and stand-in."""

from agents.agent import Turn


def word_count(text: str) -> int:
    """The number of words, as separated by white space."""
    return len(text.split())


async def echo(turn: Turn) -> None:
    """Repeat the message, word by word."""
    await turn.think("Counting the words")
    await turn.call(word_count, text=turn.text)
    for word in turn.text.split():
        await turn.say(word + " ")
