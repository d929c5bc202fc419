"""Figures: numbers of an answer with their provenance, and how they are written."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Any, Literal, TypedDict

from babel import Locale
from babel.dates import format_date, get_day_names

from agents.sdk import AgentError
from chat.translation import language, t, tn

SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CNY": "CN¥", "INR": "₹", "KRW": "₩", "BRL": "R$"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `unit`: a currency, `%`, `ms`, `tokens`, `requests`, … `rows`: how many rows it is of.

    `prices`: model and date of each list price that it rests on. `formula`: how it was worked out, in words.
    """

    id: str
    label: str
    value: float
    unit: str
    formula: str
    rows: int | None = None
    prices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The number as it is written in an answer."""
        return format_value(self.value, self.unit)

    def as_json(self) -> dict[str, Any]:
        """Return the figure as a JSON object with its text."""
        return {**asdict(self), "prices": list(self.prices), "text": self.text}

    @staticmethod
    def from_json(made: dict[str, Any]) -> "Figure":
        """Return the figure of `as_json`."""
        kept = {key: value for key, value in made.items() if key != "text"}
        return Figure(**{**kept, "prices": tuple(kept["prices"])})


class Figures(dict[str, Figure]):
    """The figures of one answer by id."""

    def add(self, id: str, label: str, value: float, *more: Any, **named: Any) -> Figure:
        """Keep a figure and return it: its unit, formula, rows and prices as `Figure` takes them.

        ValueError for a value that is no finite number.
        """
        if not math.isfinite(value):
            raise ValueError(f"{id} is {value}")
        self[id] = figure = Figure(id, label, value, *more, **named)
        return figure


@dataclass(slots=True)
class Answer:
    """Figures with the first sentence, one table and one chart.

    `notes` stand beside the first sentence, `details` in the folded part. Text of a file is escaped in all of them.
    """

    figures: Figures = field(default_factory=Figures)
    headline: str = ""
    table: list[list[str]] = field(default_factory=list)
    chart: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the answer as the JSON result of a tool."""
        charts = {"charts": [self.chart]} if self.chart else {}
        figures = [one.as_json() for one in self.figures.values()]
        own = {"headline": self.headline, "table": self.table, "notes": self.notes, "details": self.details}
        return {"figures": figures, **own, **charts}

    @staticmethod
    def from_json(made: dict[str, Any]) -> "Answer":
        """Return the answer of `as_json`."""
        figures = Figures({one["id"]: Figure.from_json(one) for one in made["figures"]})
        lists = {key: list(made[key]) for key in ("table", "notes", "details")}
        return Answer(figures, made["headline"], chart=(made.get("charts") or [None])[0], **lists)


def escaped(text: str, length: int = 60) -> str:
    """Write text of a file or a user on one line, cut, without any meaning in Markdown or HTML."""
    text = " ".join(text.split())
    if len(text) > length:
        text = text[: length - 1] + "…"
    text = re.sub(r"([\\`*\[\]<>|#~&!{}])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match[0], text)
    # No address becomes a link by itself.
    return re.sub(r"(?i)(:)(?=//)|(?<=\bwww)(\.)", r"\\\g<0>", text)


def format_value(value: float, unit: str) -> str:
    """Write a value with its unit; no more than 0.05 % off, but for percentages, which have one decimal place."""
    if unit == "%":
        return numeral(f"{value:.1f}".removesuffix(".0")) + " %"
    if unit == "×":
        return numeral(f"{value:.3g}×")
    if len(unit) == 3 and unit.isupper():
        return money(value, unit)
    return f"{digits(value)} {t(unit) if unit else ''}".strip()


def money(amount: float, currency: str) -> str:
    """`$5,000`, `$123.40`, `€0.0042`, `CHF 12`; without a sign if the currency is not known."""
    sign, minus, number = SIGNS.get(currency, currency), "-" if amount < 0 else "", digits(abs(amount), money=True)
    if not sign or not _style(language())[1]:
        return f"{minus}{number}\xa0{sign}".rstrip()
    return f"{minus}{sign}{'' if currency in SIGNS else ' '}{number}"


def digits(amount: float, money: bool = False) -> str:
    """Write a number with grouped thousands, within 0.05 % of it."""
    if amount < 0:
        return f"-{digits(-amount, money)}"
    if amount >= 1000 or amount == 0 or (not money and amount == int(amount)):
        return numeral(f"{amount:,.0f}")
    if abs(round(amount, 2) - amount) <= amount * 0.0005:
        return numeral(f"{amount:.2f}".removesuffix(".00"))
    return numeral(f"{amount:.4g}" if amount >= 1e-4 else f"{amount:.8f}".rstrip("0"))


def rows_text(count: int) -> str:
    """Write a number of rows."""
    return tn("{0} row", "{0} rows", count, digits(count))


def numeral(text: str) -> str:
    """Write a number, as Python writes it, with the marks of the user's language: `1,234.5` is `1.234,5` in German."""
    return text.translate(_style(language())[0])


def is_shortened(scale: float) -> bool:
    """Tell if the user's language has a short form of numbers of this size, as English of thousands."""
    formats = Locale(language()).compact_decimal_formats["short"]["other"]
    return bool(formats[f"{scale:.0f}"].pattern != "0")


@cache
def _style(language: str) -> tuple[dict[int, str], bool]:
    """The marks of numbers, and whether the sign of a currency stands before the number."""
    symbols, money = (locale := Locale(language)).number_symbols["latn"], locale.currency_formats["standard"]
    return str.maketrans({",": symbols["group"], ".": symbols["decimal"]}), money.pattern.startswith("¤")


def day(given: str | date) -> str:
    """Write a day as the user's language does; in English as ISO 8601, since its readers differ in the order."""
    return str(given) if language() == "en" else format_date(date.fromisoformat(str(given)), locale=language())


def moment(label: str, kind: str) -> str:
    """Write the label of a day, week, month or weekday, as a query gives it; any other label as it is."""
    if language() == "en" or not label[:1].isdigit():
        return label
    if kind in ("day", "week"):
        return day(label)
    if kind == "month":
        return format_date(date.fromisoformat(f"{label}-01"), "MMMM y", locale=language())
    return f"{label[0]} {get_day_names(locale=language())[int(label[0]) - 1]}" if kind == "weekday" else label


# Charts


class Series(TypedDict):
    name: str
    values: list[float]


class ChartData(TypedDict):
    type: Literal["bar", "line"]
    title: str
    labels: list[str]
    series: list[Series]
    unit: str


def chart(
    kind: Literal["bar", "line"], title: str, labels: list[str], series: dict[str, list[float]], unit: str
) -> dict[str, ChartData]:
    named: list[Series] = [{"name": name, "values": values} for name, values in series.items()]
    return {"chart": {"type": kind, "title": title, "labels": labels, "series": named, "unit": unit}}


# Sums of rows, and what changed between two of them


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows. None where the file does not tell. `latency` in milliseconds, `cost` in `currency`."""

    label: str
    rows: int
    cost: float
    requests: float | None
    input: float
    output: float
    cached: float
    batch_cost: float
    failed: int | None
    failed_cost: float
    users: int
    latency: float | None

    @staticmethod
    def of(row: Sequence[Any], failed: bool) -> "Sums":
        """The sums of a row of the database. `failed`: the file tells which rows failed."""
        label, rows, cost, requests, inputs, outputs, cached, batched, failures, failed_cost, users, latency = row
        cost, inputs, outputs, cached, batched, failed_cost = (
            float(one or 0) for one in (cost, inputs, outputs, cached, batched, failed_cost)
        )
        label, many = "(none)" if label is None else str(label), float(requests) if requests else None
        known, latency = failures if failed else None, None if latency is None else float(latency)
        return Sums(label, rows, cost, many, inputs, outputs, cached, batched, known, failed_cost, users, latency)

    @property
    def tokens(self) -> float:
        return self.input + self.output


def two_periods(first: date, last: date) -> tuple[tuple[date, date], tuple[date, date]]:
    """The last two whole months, else the two halves of the days."""
    days = (last - first).days + 1
    start = last.replace(day=1)
    whole = (last + timedelta(days=1)).day == 1
    later = start if whole else (start - timedelta(days=1)).replace(day=1)
    earlier = (later - timedelta(days=1)).replace(day=1)
    if earlier >= first:
        end = (later + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        return (earlier, later - timedelta(days=1)), (later, end)
    if days < 2:
        raise AgentError(t("One day has nothing before it to compare with."), code="too_few")
    half = days // 2
    middle = last - timedelta(days=half - 1)
    return (middle - timedelta(days=half), middle - timedelta(days=1)), (middle, last)


def cost_of(sums: dict[str, Sums], name: str) -> float:
    return sums[name].cost if name in sums else 0.0


def effects(before: dict[str, Sums], after: dict[str, Sums]) -> dict[str, float]:
    """The change of the cost by volume, mix and price, which add up to it; empty without tokens."""
    old, new = (sum(one.tokens for one in found.values()) for found in (before, after))
    if not old or not new or any(one.cost and not one.tokens for found in (before, after) for one in found.values()):
        return {}

    def rate(found: dict[str, Sums], name: str) -> float | None:
        one = found.get(name)
        return one.cost / one.tokens if one and one.tokens else None

    level = sum(one.cost for one in before.values()) / old
    mix = price = 0.0
    for name in {*before, *after}:
        then, now = rate(before, name), rate(after, name)
        base = then if then is not None else now or 0.0
        share_then = before[name].tokens / old if name in before else 0.0
        share_now = after[name].tokens / new if name in after else 0.0
        mix += new * (share_now - share_then) * base
        price += (after[name].tokens if name in after else 0.0) * ((now if now is not None else base) - base)
    return {"volume": (new - old) * level, "mix": mix, "price": price}


# How figures are worked out, in words
FORMULAS = {
    "cost": "sum of the cost",
    "cached": "cached input tokens / input tokens",
    "unit_cost": "cost / requests",
    "latency": "of all rows with a latency, interpolated",
    "users": "distinct users",
}
EFFECTS = {
    "volume": "(tokens after − before) × cost of a token before",
    "mix": "tokens after × change of each model's share × its cost of a token before",
    "price": "each model's tokens after × change of its cost of a token",
}
