"""Figures: what a message says in numbers, and what it takes of the messages before it."""

from typing import Literal, TypedDict

# Common for chat and retrieval, and only used where there are no token counts.
INPUT_PER_OUTPUT = 3.0

Kind = Literal["cached", "repeated", "reuse", "batch", "tier", "simple", "workload", "model", "input", "output"]


class Spend(TypedDict):
    """`period` as in the message; `month` where it had none."""

    usd_per_month: float
    quote: str
    period: str
    period_given: bool


class Goal(TypedDict):
    """`percent`: a share from 0 to 1 to save; `ceiling` and `saving`: US dollars a month."""

    kind: Literal["percent", "ceiling", "saving"]
    value: float
    quote: str


class Share(TypedDict):
    """A part from 0 to 1. `label` is a model's id for kind `model`, else words of the message."""

    kind: Kind
    share: float
    label: str


class Unknown(TypedDict):
    words: str
    nearest: list[str]


class Figures(TypedDict):
    """What a message says. Tokens are counts, times are seconds, `growth` and `speed_factor` are factors."""

    spends: list[Spend]
    foreign: list[str]
    usd_per_request: float | None
    goal: Goal | None
    current: list[str]
    asked: list[str]
    unknown: list[Unknown]
    shares: list[Share]
    requests_per_month: float | None
    input_per_request: float | None
    output_per_request: float | None
    tokens_per_request: float | None
    input_per_month: float | None
    output_per_month: float | None
    tokens_per_month: float | None
    input_per_output: float | None
    latency: float | None
    latency_goal: float | None
    speed_factor: float | None
    growth: float | None
    notes: list[str]


def is_empty(figures: Figures) -> bool:
    return not any(value for key, value in figures.items() if key != "notes")


def nothing() -> Figures:
    return {
        "spends": [],
        "foreign": [],
        "usd_per_request": None,
        "goal": None,
        "current": [],
        "asked": [],
        "unknown": [],
        "shares": [],
        "requests_per_month": None,
        "input_per_request": None,
        "output_per_request": None,
        "tokens_per_request": None,
        "input_per_month": None,
        "output_per_month": None,
        "tokens_per_month": None,
        "input_per_output": None,
        "latency": None,
        "latency_goal": None,
        "speed_factor": None,
        "growth": None,
        "notes": [],
    }


def fill(figures: Figures, before: Figures, follow: bool, source: str = "an earlier message of yours") -> None:
    """Take from an earlier message, or another source, what the newer one lacks, and say so in its notes."""
    taken: list[str] = []
    if before["spends"] and not (figures["spends"] or figures["foreign"]):
        figures["spends"] = before["spends"]
        taken += [spend["quote"] for spend in before["spends"]]
        if before["current"] and figures["current"]:
            # Money was named for the earlier model: the later one is what the user thinks of moving to.
            figures["asked"] = list(dict.fromkeys(figures["current"] + figures["asked"]))
            figures["current"] = before["current"]
    if before["current"] and not figures["current"]:
        figures["current"] = before["current"]
        taken += before["current"]
    if before["goal"] and not figures["goal"]:
        figures["goal"] = before["goal"]
        taken.append(before["goal"]["quote"])
    groups = [_TOKENS, ("shares",), ("requests_per_month",), ("usd_per_request",), ("latency",)]
    if follow:
        groups += [("latency_goal",), ("growth",), ("speed_factor",)]
    for group in groups:
        if not any(figures[key] for key in group):  # type: ignore[literal-required]
            for key in group:
                figures[key] = before[key]  # type: ignore[literal-required]
    if taken:
        figures["notes"].append(f"Taken from {source}: {', '.join(dict.fromkeys(taken))}.")


_TOKENS: tuple[str, ...] = (
    "input_per_request",
    "output_per_request",
    "tokens_per_request",
    "input_per_month",
    "output_per_month",
    "tokens_per_month",
    "input_per_output",
)
