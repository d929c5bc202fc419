"""What the advisor's sub-agents hand on to each other about one question."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from agents.advisor.answers import Breakdown, Latency, Meant, Only, Recognition, Summary, Trend, Waste
from agents.advisor.figures import Figures
from agents.advisor.prices import Price
from agents.advisor.usage import UsageFiles

Lever = Literal["retries", "cache", "batch", "move", "trim"]
Enough = Literal["sufficient", "partial", "insufficient"]
Effort = Literal["low", "medium"]


class Line(TypedDict):
    """One model's part of the bill, a month: US dollars and million tokens.

    `tokens_usd`: what the tokens of the message cost by the price list, where it gives a bill as well. `scale`: what is
    paid for a dollar of the list, so that a contract or another currency carries over to the savings; `elsewhere`: the
    least that is paid for it at another vendor. `wasted_share`: the part of the bill, 0 to 1, for requests that gave
    nothing. `cached_known`: the cached share is measured.
    """

    price: Price
    monthly_spend: float
    input_mtok: float
    output_mtok: float
    input_usd: float
    output_usd: float
    cached_share: float
    prompt_tokens: int | None
    tokens_usd: float | None
    scale: float
    elsewhere: float
    wasted_share: float
    cached_known: bool


class Candidate(TypedDict):
    """Another model for the same tokens. `monthly_saving` is negative for one that costs more; `scale`: as in Line."""

    price: Price
    monthly_cost: float
    monthly_saving: float
    asked: bool
    scale: float


class Shares(TypedDict):
    """Parts from 0 to 1: of the traffic (move, batch), of the input tokens (repeat, trim), of the repeats (hit)."""

    move: float
    batch: float
    repeat: float
    trim: float
    hit: float


class Saving(TypedDict):
    """US dollars a month: `alone`, and `saving` on what the levers before it leave."""

    lever: Lever
    alone: float
    saving: float


class Need(TypedDict):
    """What would reach the goal: this share of the traffic moved to this model."""

    model: str
    move: float


class Plan(TypedDict):
    model: str
    target: str | None
    savings: list[Saving]
    shares: Shares
    monthly_spend: float
    monthly_saving: float
    goal_saving: float | None
    need: Need | None


class Step(TypedDict):
    """`total`: the saving of this step and all before it, US dollars a month; `reaches_goal`: the first that does."""

    model: str
    target: str | None
    lever: Lever
    effort: Effort
    saving: float
    total: float
    reaches_goal: bool


class Capacity(TypedDict):
    """Requests a second on average, requests in flight on average, tokens a second of one answer; None: not known."""

    requests_per_second: float | None
    in_flight: float | None
    in_flight_after_growth: float | None
    tokens_per_second: float | None
    latency_cut: float | None
    answer_tokens_at_goal: float | None


@dataclass
class FileUse:
    """What the tools found in one file, of the rows that `only` chooses; `whole` is of all rows."""

    name: str
    whole: Summary
    only: Only
    by: dict[str, Breakdown] = field(default_factory=dict)
    trend: Trend | None = None
    waste: Waste | None = None
    latency: Latency | None = None


# Each call waits in a thread, and the other runs of the worker need threads too.
AT_ONCE = 3


@dataclass
class Case:
    """`percent`: there is no bill in dollars, so 100 stands for the bill and every amount is a part of it."""

    figures: Figures
    files: UsageFiles = field(default_factory=lambda: UsageFiles([]))
    enough: Enough = "insufficient"
    topics: list[str] = field(default_factory=list)
    question: str = ""
    recognitions: list[Recognition] = field(default_factory=list)
    meant: list[Meant] = field(default_factory=list)
    uses: list[FileUse] = field(default_factory=list)
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    days: int | None = None
    currency: str = "USD"
    needs: list[str] = field(default_factory=list)
    example: str = ""
    lines: list[Line] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    capacity: Capacity | None = None
    candidates: list[list[Candidate]] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    goal_saving: float | None = None
    percent: bool = False
    assumptions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def spend(self) -> float:
        return sum(line["monthly_spend"] for line in self.lines)

    @property
    def saving(self) -> float:
        return sum(plan["monthly_saving"] for plan in self.plans)
