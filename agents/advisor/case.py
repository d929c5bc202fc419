"""What the advisor's sub-agents hand on to each other about one question."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from agents.advisor import answers
from agents.advisor.figures import Figures
from agents.advisor.files import UsageFiles
from agents.advisor.levers import Effort, Lever, Risk
from agents.advisor.prices import Price
from agents.advisor.question import Question
from agents.advisor.talk import Talk

Enough = Literal["sufficient", "partial", "insufficient"]


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
    """Parts from 0 to 1: of the traffic (move, batch, reuse), of what is no batch (tier), of the input tokens (repeat,
    trim), of the repeats (hit)."""

    move: float
    batch: float
    tier: float
    reuse: float
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


class Reuse(TypedDict):
    """What answers from a store could save, US dollars a month, alone. Nobody knows yet how many requests repeat.

    `tenth`: each 10 % of the requests. `most`: all that may be repeats, which are `most_share` of the requests; None
    where no file tells. `needed_share` of the requests would reach the goal together with prompt caching.
    """

    tenth: float
    most: float | None
    most_share: float | None
    needed_share: float | None


class Step(TypedDict):
    """`total`: the saving of this step and all before it, US dollars a month; `reaches_goal`: the first that does.

    `owner` is a role. `validation`: how to see that it worked. The words are of this lever, model and bill.
    """

    model: str
    target: str | None
    lever: Lever
    owner: str
    effort: Effort
    risk: Risk
    saving: float
    total: float
    reaches_goal: bool
    do: str
    validation: str
    rollback: str


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
    whole: answers.Summary
    only: answers.Only
    by: dict[str, answers.Breakdown] = field(default_factory=dict)
    trend: answers.Trend | None = None
    waste: answers.Waste | None = None
    latency: answers.Latency | None = None
    goal: answers.LatencyGoal | None = None
    load: answers.Load | None = None
    repeats: answers.Repeats | None = None


# Each call waits in a thread, and the other runs of the worker need threads too.
AT_ONCE = 3


@dataclass
class Case:
    """`percent`: there is no bill in dollars, so 100 stands for the bill and every amount is a part of it.

    `texts`: files of prose whose figures count like those of the message. `not_there`: what was asked about and is in
    no file, in words; then there is nothing to work out.
    """

    figures: Figures
    question: Question
    talk: Talk
    files: UsageFiles = field(default_factory=lambda: UsageFiles([]))
    enough: Enough = "insufficient"
    text: str = ""
    earlier: list[str] = field(default_factory=list)
    recognitions: list[answers.Recognition] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    meant: list[answers.Meant] = field(default_factory=list)
    not_there: list[str] = field(default_factory=list)
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
    reuse: Reuse | None = None
    steps: list[Step] = field(default_factory=list)
    goal_saving: float | None = None
    percent: bool = False
    assumptions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """What amounts are in: a currency, or `%` of the bill."""
        return "%" if self.percent else self.currency

    @property
    def spend(self) -> float:
        return sum(line["monthly_spend"] for line in self.lines)

    @property
    def others(self) -> list[answers.Paid]:
        """What a month costs in currencies that are not worked on."""
        found: dict[str, answers.Paid] = {}
        for use in self.uses:
            for one in use.whole["per_month"]:
                if one["currency"] != self.currency and one["amount"]:
                    before = found.get(one["currency"], {**one, "amount": 0.0, "rows": 0})
                    amount, rows = before["amount"] + one["amount"], before["rows"] + one["rows"]
                    found[one["currency"]] = {"currency": one["currency"], "amount": amount, "rows": rows}
        return list(found.values())

    @property
    def base(self) -> float:
        """What a goal is a part of: of a scenario all that the files are of, else the lines of the bill."""
        if not self.question["scenario"]:
            return self.spend
        of_all = [
            one["amount"] for use in self.uses for one in use.whole["per_month"] if one["currency"] == self.currency
        ]
        return max(self.spend, sum(of_all))

    @property
    def saving(self) -> float:
        return sum(plan["monthly_saving"] for plan in self.plans)
