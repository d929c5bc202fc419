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
    """What the beginning of a file says. `roles`: what its columns are (`model`, `input_tokens`, …)."""

    file: str
    usage: bool
    words: str
    roles: list[str]


class Meant(TypedDict):
    """The rows of a file that a text speaks of.

    `targets`: models of the file that it asks to move to; `absent`: months that it names and the file does not have.
    """

    file: str
    only: Only
    targets: list[str]
    absent: list[str]


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

    `paid`: the file's costs, each currency by itself. `list_usd`: all rows whose model is known, at list prices.
    `compared`: rows with both; `difference_usd` is paid less list price. `unpriced_rows` have neither.
    """

    usd: float
    basis: Literal["paid", "list", "mixed", "none"]
    paid: list[Paid]
    list_usd: float
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
    """US dollars per million tokens, for requests with more than `above` input tokens."""

    named: str
    model: str
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


class Summary(TypedDict):
    """`days`: calendar days from the first to the last; `per_month`: what a day costs × 365 / 12, by currency.

    Dollars there are `total.amounts.usd`: the file's costs, and list prices for rows without one.
    """

    recognised: str
    format: str
    rows: int
    rows_read: int
    rows_left_out: int
    problems: list[Problem]
    unknown_models: list[UnknownModel]
    assumptions: list[str]
    dimensions: list[str]
    first: str | None
    last: str | None
    days: int | None
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
    """Rows that were paid for and gave nothing. None where the file does not tell; `methods` say how it was found."""

    error_rows: int | None
    error_share: float | None
    errors: Amounts | None
    by_status: list[Group]
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
