"""The levers that lower a bill: how hard they are, who pulls them, what they would break and do to latency."""

from typing import Literal, NamedTuple

Lever = Literal["retries", "cache", "batch", "tier", "move", "trim", "reuse"]
Effort = Literal["low", "medium", "high"]
Risk = Literal["low", "medium", "high"]


class About(NamedTuple):
    """`latency`: what the lever does to the time that a request takes."""

    name: str
    effort: Effort
    risk: Risk
    owner: str
    breaks: str
    latency: str


LEVERS: dict[Lever, About] = {
    "retries": About(
        "Retry hygiene",
        "low",
        "low",
        "Backend engineer",
        "A request that a further try would have saved ends in an error.",
        "Fewer requests compete for the same limits; one that waits before its next try takes longer.",
    ),
    "cache": About(
        "Prompt caching",
        "low",
        "low",
        "Backend engineer",
        "Nothing in the answers. Where the vendor caches by itself, part of this saving is in your bill already.",
        "The first words come sooner, as cached input is not read again; generating the answer takes as long as "
        "before.",
    ),
    "batch": About(
        "Batch processing",
        "medium",
        "low",
        "Data engineer",
        "Whatever expects the answer at once: a batch may take up to a day.",
        "Hours instead of seconds: only for what nobody waits for.",
    ),
    "tier": About(
        "Flex tier",
        "low",
        "medium",
        "Platform engineer",
        "Answers come late at busy times, and the vendor may refuse requests: each needs a way back to the normal "
        "tier.",
        "Slower and less even. The opposite tier, priority, is faster and costs more.",
    ),
    "move": About(
        "Cheaper model",
        "medium",
        "medium",
        "AI engineer, with the product owner",
        "Prompts tuned to the old model, and answers that only it gets right; a model that reasons also bills its "
        "thinking as output.",
        "Smaller models are usually faster; how much is only known by measuring both.",
    ),
    "trim": About(
        "Shorter prompts",
        "medium",
        "medium",
        "Author of the prompts",
        "Answers that need what was cut.",
        "A little faster, as there is less to read; generating the answer takes as long as before.",
    ),
    "reuse": About(
        "Semantic caching",
        "high",
        "high",
        "Backend engineer, with the product owner",
        "Questions that look alike and are not get the wrong answer; stored answers grow old, and one user's must "
        "never "
        "reach another.",
        "A stored answer needs no call of a model.",
    ),
}
EASE = {"low": 1, "medium": 2, "high": 4}


def worth(lever: Lever, saving: float) -> float:
    """The saving against effort and risk: what is to be done first is worth most."""
    return saving / (EASE[LEVERS[lever].effort] * EASE[LEVERS[lever].risk])
