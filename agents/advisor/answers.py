"""What the tools about usage data answer: plain JSON, each figure with its source."""

from typing import Literal, TypedDict

from agents.advisor.rows import Problem

Dimension = Literal["model", "feature", "user", "day", "month", "status"]


class Only(TypedDict, total=False):
    """Which rows: of this model, feature or user; from `since` up to and with `until` (days, `2026-06-01`).

    `currency`: rows whose cost is in it; rows without a cost go with `USD`, as their list price is in dollars.
    """

    model: str
    feature: str
    user: str
    since: str
    until: str
    currency: str


class Recognition(TypedDict):
    """What the beginning of a file says. `roles`: what its columns are (`model`, `input_tokens`, …).

    `prose`: it is text that a person wrote.
    """

    file: str
    usage: bool
    prose: bool
    words: str
    roles: list[str]


class Meant(TypedDict):
    """The rows of a file that a text speaks of: as in `mentions.Mentions`. `features`: the file's that cost most."""

    file: str
    only: Only
    carried: list[str]
    targets: list[str]
    absent: list[str]
    unknown: list[str]
    features: list[str]


class Series(TypedDict):
    name: str
    values: list[float]


class ChartData(TypedDict):
    type: Literal["bar", "line"]
    title: str
    labels: list[str]
    series: list[Series]
    unit: str


class Paid(TypedDict):
    currency: str
    amount: float
    rows: int


class Amounts(TypedDict):
    """What rows cost. `usd` is the file's cost where it has one in dollars, else the list price; `basis` says which.

    `paid`: the file's costs, each currency by itself. `list_usd`: all rows whose model is known, at the list prices of
    their days; `today_usd`: the same rows at today's.
    `compared`: rows with both; `difference_usd` is paid less list price. `unpriced_rows` have neither.
    """

    usd: float
    basis: Literal["paid", "list", "mixed", "none"]
    paid: list[Paid]
    list_usd: float
    today_usd: float
    compared_rows: int
    compared_paid_usd: float
    compared_list_usd: float
    difference_usd: float
    unpriced_rows: int


class Tokens(TypedDict):
    """`input` has the cached and the written ones in it. `cached_share`: of the input, 0 to 1, None without input."""

    input: int
    output: int
    cached: int
    written: int
    cached_share: float | None


class Group(TypedDict):
    """`requests` and `error_rows` are None where the file does not tell. `share`: of all dollars, 0 to 1."""

    label: str
    rows: int
    requests: int | None
    tokens: Tokens
    amounts: Amounts
    share: float | None
    error_rows: int | None


class PriceUsed(TypedDict):
    """US dollars per million tokens, for requests at this `tier` with more than `above` input tokens.

    Of the days from `since` to `until`, None where it has no beginning or end; `hours` of the day, empty for all.
    """

    named: str
    model: str
    tier: str
    since: str | None
    until: str | None
    hours: str
    above: int
    input: float
    output: float
    cached: float
    written: float
    source: str
    as_of: str
    url: str | None


class Source(TypedDict):
    """Where a figure is from: `rows` of `of_rows` readable ones in the file, chosen by `only`; prices and formula."""

    file: str
    rows: int
    of_rows: int
    only: Only
    prices: list[PriceUsed]
    formula: str


class UnknownModel(TypedDict):
    model: str
    rows: int
    nearest: list[str]


class Duplicates(TypedDict):
    """Rows that stand in the file before, exactly alike. They are counted; `amounts`: what they add to the cost."""

    rows: int
    lines: list[int]
    amounts: Amounts


class Summary(TypedDict):
    """`days`: calendar days from the first to the last; `per_month`: what a day costs × 365 / 12, by currency.

    `single_requests`: each row is one request, not a sum of many.
    Dollars there are `total.amounts.usd`: the file's costs, and list prices for rows without one.
    """

    recognised: str
    format: str
    rows: int
    rows_read: int
    rows_left_out: int
    problems: list[Problem]
    duplicates: Duplicates
    unknown_models: list[UnknownModel]
    assumptions: list[str]
    dimensions: list[str]
    first: str | None
    last: str | None
    days: int | None
    single_requests: bool
    per_month: list[Paid]
    total: Group
    source: Source


class Breakdown(TypedDict):
    """The dearest groups first, the days in order; what is past the limit is in `rest`."""

    dimension: str
    groups: list[Group]
    rest: Group | None
    rest_groups: int
    total: Group
    charts: list[dict[str, ChartData]]
    source: Source


class Anomaly(TypedDict):
    """`score`: how many robust standard deviations from `usual_usd`."""

    day: str
    usd: float
    usual_usd: float
    score: float


class Trend(TypedDict):
    """Dollars, or `only`'s currency. `slope_usd_per_day` is None with fewer than 3 whole days; anomalies need 7."""

    days: int
    slope_usd_per_day: float | None
    change_per_30_days: float | None
    last_7_days_usd: float | None
    days_before_usd: float | None
    trend_method: str
    anomalies: list[Anomaly]
    anomaly_method: str
    charts: list[dict[str, ChartData]]
    source: Source


class Waste(TypedDict):
    """Rows that were paid for and gave nothing. None where the file does not tell; `methods` say how it was found.

    `error_share`: of the requests, 0 to 1. `by`: the errors by `status`, `model` and `feature`, the dearest first.
    """

    error_rows: int | None
    error_share: float | None
    errors: Amounts | None
    by: dict[str, list[Group]]
    retry_rows: int | None
    retries: Amounts | None
    unclear_statuses: list[str]
    methods: list[str]
    source: Source


class Times(TypedDict):
    """Milliseconds, interpolated between the two nearest rows."""

    label: str
    rows: int
    p50: float
    p90: float
    p99: float
    mean: float
    output_tokens_per_second: float | None


class Latency(TypedDict):
    all: Times
    groups: list[Times]
    method: str
    charts: list[dict[str, ChartData]]
    source: Source


class Within(TypedDict):
    """`share` of the rows with a latency, 0 to 1, that take no longer than the goal. Milliseconds, tokens."""

    label: str
    rows: int
    share: float
    p50: float
    mean_output: float | None


class LatencyGoal(TypedDict):
    """How far rows are from a goal, and what makes them slow: a straight line of latency over output tokens.

    `ms_per_output_token` and `ms_before` are the line's, of `fitted_rows` that did not fail; `fit` is its R², 0 to 1.
    `output_tokens_at_goal`: how long an answer the line gives the goal to; None where it gives none.
    """

    goal_ms: float
    all: Within
    models: list[Within]
    features: list[Within]
    fitted_rows: int
    ms_per_output_token: float | None
    ms_before: float | None
    fit: float | None
    output_tokens_at_goal: float | None
    method: str
    source: Source


class Peak(TypedDict):
    """The busiest minutes of a model's requests and of its tokens, in and out; `throttled_rows` hit a limit."""

    label: str
    requests_per_minute: float
    tokens_per_minute: float
    throttled_rows: int | None


class Load(TypedDict):
    """`mean_*`: over the whole time from the first row to the last. `in_flight`: requests at work at one time, the
    busiest minute's average. `busiest`: the minute with most requests."""

    minutes: int
    mean_requests_per_minute: float
    mean_tokens_per_minute: float
    busiest: str
    all: Peak
    models: list[Peak]
    in_flight: float | None
    method: str
    source: Source


class Repeats(TypedDict):
    """Rows that may repeat an earlier one word by word: at most `rows` of `of_rows`. `amounts`: their cost."""

    rows: int
    of_rows: int
    share: float
    amounts: Amounts
    method: str
    source: Source
