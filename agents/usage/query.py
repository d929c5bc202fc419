"""A typed question to the rows of a usage file, and its answer in figures.

The engine asks a database that has the table `usage`; names from a user go into it as values only.
"""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from statistics import fmean, stdev
from typing import Any

from agents.sdk import AgentError
from agents.usage.asked import NAMED, STATISTICS, TIMES, Metric, Query, calendar_period, chosen, idle, lacking
from agents.usage.figures import (
    EFFECTS,
    FORMULAS,
    Answer,
    Figure,
    Sums,
    chart,
    cost_of,
    effects,
    escaped,
    format_value,
    two_periods,
)
from agents.usage.loaded import DIMENSIONS, Loaded
from agents.usage.rates import FORMULA, Costs, costs_at, price_of
from chat.usage.names import TOKENS

UNPRICED = ("requests", "tokens", "input_tokens", "output_tokens", "cached", "latency", "users")
MAX_GROUPS = 50
FORECAST_DAYS = 30
NEEDED_DAYS = 7  # of spend, for a forecast


def answer(rows: Loaded, query: Query) -> Answer:
    """Return the answer. AgentError where the file lacks what the question needs, or the question something else."""
    if odd := [*idle(query), *lacking(query)]:
        names = ", ".join(one.replace("_", " ") for one in odd)
        raise AgentError(f"I cannot work that out: with this figure I do not know what to do about: {names}.", "open")
    return Asking(rows, query).answer()


class Asking:
    """One question to some rows: `where` chooses them, with its `values`; most costs are in `currency`."""

    def __init__(self, rows: Loaded, query: Query) -> None:
        self._rows, self.query, self._made = rows, query, Answer()
        self.where, self.values = chosen(query)
        found = rows.ask(
            f"SELECT currency, count(*) FROM usage WHERE cost IS NOT NULL AND {self.where} "
            "GROUP BY 1 ORDER BY 2 DESC, 1",
            self.values,
        )
        listed = rows.ask(
            f"SELECT count(*) FROM usage WHERE cost IS NULL AND list_usd IS NOT NULL AND {self.where}", self.values
        )[0][0]
        currencies = dict.fromkeys([*(code or "" for code, _ in found), *(["USD"] if listed else [])])
        self._unpriced, self._currencies = not currencies, list(currencies) or ["USD"]
        self._basis = "list prices" if not found else "paid and list prices" if listed else "paid"
        self.currency = self._currencies[0]

    def answer(self) -> Answer:
        counted, first, last = self._rows.ask(
            f"SELECT count(*), min(day), max(day) FROM usage WHERE {self.where}", self.values
        )[0]
        if not counted:
            raise AgentError("No row of the file is in that choice.", code="no_rows")
        self._first, self._last, self._counted = first, last, counted
        # Rows of whole months stand at the first day of each.
        days = f"SELECT count(DISTINCT day), max(day(day)) FROM usage WHERE {self.where}"
        months, latest = self._rows.ask(days, self.values)[0]
        self._monthly = months > 1 and latest == 1
        if self._monthly:
            self._last = calendar_period(last, "month", 0)[1]
        metric = "on_model" if self.query.on_model else self.query.metric or "cost"
        if self._unpriced and metric not in (*UNPRICED, "on_model", "errors"):
            raise AgentError(f"{self._rows.name} has no cost and no model with a known price.", code="no_price")
        (getattr(self, f"_{metric}", None) or self._simple)()
        if self.query.also:
            self._beside(self.query.also)
        if len(self._currencies) > 1 and (self.query.by or metric not in ("cost", "on_model", *UNPRICED)):
            others = ", ".join(self._currencies[1:])
            self._made.notes.append(f"Parts of the cost are those in {self.currency}; {others} is not in them.")
        by_list = [] if self._basis == "paid" else [f"List price of a row: {FORMULA}."]
        self._made.details += [self._source(), *by_list]
        return self._made

    def _source(self) -> str:
        period = f", {self._first} to {self._last}" if self._first else ""
        return f"Of {self._counted:,} rows of {escaped(self._rows.name)}{period}. Cost: {self._basis}."

    @property
    def _period(self) -> str:
        if not self._first:
            return ""
        return f" on {self._first}" if self._first == self._last else f" from {self._first} to {self._last}"

    # Sums

    def _sums(self, label: str = "'all'", currency: str = "", more: str = "", values: Sequence[Any] = ()) -> list[Sums]:
        currency = currency or self.currency
        spend = "usd" if currency == "USD" else "cost"
        where, chosen = self._rows_in(currency)
        where += more
        failed = self._rows.has("status")
        found = self._rows.ask(
            f"SELECT {label} AS label, count(*), sum({spend}), sum(requests), sum(input), sum(output), sum(cached), "
            f"sum({spend}) FILTER (tier = 'batch'), count_if(failed), "
            f"sum({spend}) FILTER (failed), count(DISTINCT user_label), {STATISTICS[self.query.statistic or 'mean']} "
            f"FROM usage WHERE {where} GROUP BY label",
            [*chosen, *values],
        )
        return [Sums.of(row, failed) for row in found]

    def _rows_in(self, currency: str) -> tuple[str, list[Any]]:
        """The condition of rows in a currency, each of which has sums of its own, with its values."""
        metric = self.query.metric or "cost"
        if len(self._currencies) == 1 or metric in UNPRICED:
            return self.where, self.values
        return f"coalesce(currency, 'USD') = ? AND {self.where}", [currency, *self.values]

    def _whole(self, currency: str = "") -> Sums:
        return self._sums(currency=currency)[0]

    def _figure(self, id: str, label: str, value: float, unit: str, formula: str, rows: int | None = None) -> Figure:
        return self._made.figures.add(id, label, value, unit, formula, self._counted if rows is None else rows)

    def _value(self, one: Sums, metric: str) -> tuple[float | None, str]:
        """The metric of rows with its unit; None where the file does not tell."""
        cached = one.cached or self._rows.has("cached_tokens")
        counted = one.tokens or any(map(self._rows.has, TOKENS))
        known: dict[str, tuple[float | None, str]] = {
            "requests": (one.requests, "requests"),
            "tokens": (one.tokens if counted else None, "tokens"),
            "input_tokens": (one.input if counted else None, "input tokens"),
            "output_tokens": (one.output if counted else None, "output tokens"),
            "users": (float(one.users) if "user" in self._rows.dimensions else None, "users"),
            "cached": (one.cached / one.input * 100 if one.input and cached else None, "%"),
            "batched": (one.batch_cost, self.currency),
            "errors": (None if one.failed is None else float(one.failed), "errors"),
            "latency": (one.latency if self._rows.timed else None, "ms"),
            "unit_cost": (one.cost / one.requests if one.requests else None, self.currency),
        }
        return known.get(metric, (one.cost, self.currency))

    # Metrics

    def _cost(self) -> None:
        texts = []
        for currency in self._currencies:
            end = "" if currency == self.currency else f"_{currency}"
            whole = self._whole(currency)
            formula = f"sum of the cost ({self._basis})"
            texts.append(self._figure(f"total{end}", "Total", whole.cost, currency, formula, whole.rows))
        total = " and ".join(f"**{one.text}**" for one in texts)
        groups = self._grouped("cost")
        if groups and (self.query.order or (self.query.top == 1 and self.query.by not in TIMES)):
            first = self._made.figures["cost_1"]
            word = "least" if self.query.order == "least" else "most"
            self._made.headline = f"{groups[0]} costs {word}: **{first.text}** of {total}{self._period}."
        else:
            basis = ", at list prices" if self._basis == "list prices" else ""
            self._made.headline = f"You spent {total}{self._chosen_text}{self._period}{basis}."
        if (
            self.query.by == "day" and len(groups) >= 2 and not (self.query.order or self._monthly)
        ):  # weeks at the ends are cut
            self._trend_note()

    @property
    def _chosen_text(self) -> str:
        names = [
            name
            for text in (getattr(self.query, f"{dimension}s") for dimension in NAMED)
            for name in text.split("|")
            if name
        ]
        return f" on {', '.join(escaped(name) for name in names[:4])}" if names else ""

    def _simple(self) -> None:
        metric = self.query.metric
        whole = self._whole()
        value, unit = self._value(whole, metric)
        if value is None:
            raise AgentError(f"{self._rows.name} does not tell that: it has no column for it.", code="missing_column")
        figure = self._figure(metric, metric.replace("_", " ").capitalize(), value, unit, FORMULAS.get(metric, "sum"))
        texts = {
            "cached": f"**{figure.text}** of the input tokens came from the cache",
            "latency": f"The {self.query.statistic or 'mean'} latency is **{figure.text}**",
            "unit_cost": f"A request costs **{figure.text}** on average",
            "users": f"**{figure.text}** are in the file",
        }
        self._made.headline = texts.get(metric, f"**{figure.text}**") + f"{self._chosen_text}{self._period}."
        groups = self._grouped(metric)
        if groups and self.query.order:
            first = self._made.figures[f"{metric}_1"]
            self._made.headline = f"{groups[0]}: **{first.text}**; all together {figure.text}{self._period}."

    def _batched(self) -> None:
        whole = self._whole()
        cost = self._figure(
            "batched", "Cost of batch rows", whole.batch_cost, self.currency, "sum of the cost of batch rows"
        )
        share = whole.batch_cost / whole.cost * 100 if whole.cost else 0.0
        part = self._figure("batched_share", "Batch part of the cost", share, "%", "batch cost / cost")
        self._made.headline = f"Batch jobs cost **{cost.text}**, {part.text} of the spend{self._period}."
        self._grouped("batched")

    def _errors(self) -> None:
        whole = self._whole()
        if whole.failed is None:
            raise AgentError(f"{self._rows.name} has no column for the outcome of requests.", code="missing_column")
        count = self._figure("errors", "Failed rows", float(whole.failed), "errors", "rows whose status is a failure")
        share = self._figure("error_share", "Failed part", whole.failed / whole.rows * 100, "%", "failed rows / rows")
        cost = self._figure("error_cost", "Cost of failed rows", whole.failed_cost, self.currency, "sum of their cost")
        self._made.headline = f"**{count.text}** ({share.text} of the rows) cost **{cost.text}**{self._period}."
        self._grouped("errors")

    def _grouped(self, metric: str) -> list[str]:
        """The table by the dimension of the query, and its chart. Returns the labels."""
        by = self.query.by
        if not by:
            return []
        if by not in TIMES and by not in self._rows.dimensions and not (self.query.order or self.query.top):
            self._made.notes.append(f"{escaped(self._rows.name)} has no column for {by.replace('_', ' ')}.")
            return []
        label = self._label(by)
        found = self._sums(label)
        timed = by in TIMES
        keyed = [(one, self._value(one, metric)) for one in found]
        known = [(one, value, unit) for one, (value, unit) in keyed if value is not None]
        timed = timed and not self.query.order
        if timed:
            known.sort(key=lambda one: one[0].label)
        else:
            sign = 1 if self.query.order == "least" else -1
            known.sort(key=lambda one: (sign * one[1], one[0].label))
        limit = self.query.top or (400 if timed else 10)
        shown = known[-limit:] if timed else known[: min(limit, MAX_GROUPS)]
        whole = sum(value for _, value, _ in known)
        adds = metric in ("cost", "requests", "tokens", "input_tokens", "output_tokens", "batched", "errors")
        head = [
            "Hour (UTC)" if by == "hour" else by.replace("_", " ").capitalize(),
            metric.replace("_", " ").capitalize(),
        ]
        self._made.table = [[*head, *(["Share"] if adds and whole > 0 else [])]]
        for index, (one, value, unit) in enumerate(shown, 1):
            figure = self._figure(f"{metric}_{index}", one.label, value, unit, FORMULAS.get(metric, "sum"), one.rows)
            share = [format_value(value / whole * 100, "%")] if adds and whole > 0 else []
            self._made.table.append([escaped(one.label), figure.text, *share])
        if len(known) > len(shown):
            self._made.notes.append(f"{len(known) - len(shown)} more in the file.")
        if shown and (title := f"{head[1]} by {by.replace('_', ' ')}"):
            labels = [one.label[:60] for one, _, _ in shown]
            series = {head[1]: [value for _, value, _ in shown]}
            self._made.chart = chart(
                "line" if timed and by in ("day", "week", "month") else "bar", title, labels, series, shown[0][2]
            )
        return [escaped(one.label) for one, _, _ in shown]

    def _label(self, by: str) -> str:
        if by in TIMES:
            if not self._first:
                raise AgentError(f"{self._rows.name} has no dates.", code="missing_column")
            clock = "SELECT count(DISTINCT CAST(moment AS TIME)) FROM usage"
            if by == "hour" and self._rows.ask(clock)[0][0] < 2:
                raise AgentError(f"{self._rows.name} has days but no times of day.", code="missing_column")
            return f"coalesce({TIMES[by]}, '(no time)')"
        if by not in self._rows.dimensions:
            raise AgentError(f"{self._rows.name} has no column for {by.replace('_', ' ')}.", code="missing_column")
        if by == "model":
            return "coalesce(model, sku, charge, '(none)')"
        return f"coalesce(CAST({DIMENSIONS[by]} AS VARCHAR), '(none)')"

    def _beside(self, metric: Metric) -> None:
        """A second figure that was asked for, as a note."""
        other = Asking(self._rows, replace(self.query, metric=metric, also="", by="", order="", top=0))
        made = other.answer()
        self._made.notes.insert(0, made.headline)
        for figure in made.figures.values():
            if figure.id not in self._made.figures:
                self._made.figures[figure.id] = figure

    # Over time

    def _daily(self) -> tuple[list[date], list[float]]:
        spend = "usd" if self.currency == "USD" else "cost"
        where, values = self._rows_in(self.currency)
        found = self._rows.ask(
            f"SELECT day, sum({spend}) FROM usage WHERE day IS NOT NULL AND {where} GROUP BY day", values
        )
        if not found:
            raise AgentError(f"{self._rows.name} has no dates.", code="missing_column")
        spent = {day: float(cost or 0) for day, cost in found}
        first, last = max(min(spent), max(spent) - timedelta(days=730)), max(spent)
        days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
        return days, [spent.get(day, 0.0) for day in days]

    def _saving(self) -> None:
        self._cost()
        if self.query.saving is not None:
            whole, share = self._made.figures["total"], self.query.saving / 100
            off = self._figure("saving", "Saving wanted", whole.value * share, self.currency, "total × saving wanted")
            rest = self._figure("rest", "Left", whole.value - off.value, self.currency, "total − saving wanted")
            self._made.notes.append(
                f"{format_value(self.query.saving, '%')} of it is {off.text}; {rest.text} is left then."
            )

    def _on_model(self) -> None:
        """Work out the rows' tokens at today's list prices of other models, beside their cost in the file."""
        names, by = dict.fromkeys(one.strip() for one in self.query.on_model.split("|") if one.strip()), self.query.by
        prices = {price["model"]: price for price in map(price_of, names)}
        label = self._label(by) if by else "'all'"
        found = {name: costs_at(self._rows.ask, name, label, self.where, self.values) for name in prices}
        first = next(iter(found.values()))
        count, unknown = sum(one.rows for one in first.values()), sum(one.unpriced for one in first.values())
        if not count:
            raise AgentError(f"{self._rows.name} has no tokens, so what another model costs is not known.", "no_tokens")
        made, single = self._made, len(self._currencies) == 1
        spent = sum(one.usd if self.currency == "USD" else one.cost for one in first.values())
        now = self._figure("now", "In the file", spent, self.currency, f"sum of the cost ({self._basis})", count)
        formula = "each row's input, cached, written and output tokens × the model's list prices of its tier"
        parts, comparable = [], single and not unknown
        for index, (name, costs) in enumerate(found.items(), 1):
            price, end = prices[name], f"_{index}" if len(found) > 1 else ""
            said = f"{name}: ${price['input']:g} in, ${price['output']:g} out per million tokens, {price['as_of']}"
            value = sum(one.there for one in costs.values())
            there = made.figures.add(f"there{end}", f"On {escaped(name)}", value, "USD", formula, count, (said,))
            parts.append((there, f"on {name} **{there.text}**"))
            made.notes.append(f"List price of {said} ({price['source']}).")
            if comparable and self.currency == "USD":
                gap = self._figure(f"gap{end}", f"Difference on {escaped(name)}", value - spent, "USD", "there − now")
                word = "more" if gap.value > 0 else "less"
                parts[-1] = (there, f"{parts[-1][1]}, {format_value(abs(gap.value), 'USD')} {word}")
        parts.sort(key=lambda one: one[0].value)
        here = f"; in the file they cost {now.text}" if comparable else ""
        made.headline = f"The same tokens would cost {'; '.join(text for _, text in parts)}{self._period}{here}."
        if count < self._counted:
            made.notes.append(f"{self._counted - count:,} rows without tokens are left out of it.")
        if unknown:
            made.notes.append(f"{unknown:,} of the rows have no known cost today, so no difference is given.")
        if not single:
            made.notes.append("The rows are in several currencies, so no difference is given.")
        made.details.append("Another model may count more or fewer tokens of the same text.")
        if by:
            self._table_on(found, by)

    def _table_on(self, found: dict[str, dict[str, Costs]], by: str) -> None:
        totals = {label: sum(costs[label].there for costs in found.values()) for label in next(iter(found.values()))}
        order = sorted(totals, key=lambda one: (totals[one] if self.query.order == "least" else -totals[one], one))
        order = sorted(totals) if by in TIMES and not self.query.order else order
        limit = self.query.top or (400 if by in TIMES else 10)
        self._made.table = [[by.replace("_", " ").capitalize(), *(f"On {escaped(name)}" for name in found)]]
        for label in order[: min(limit, 400)]:
            self._made.table.append(
                [escaped(label), *(format_value(one[label].there, "USD") for one in found.values())]
            )
        if len(order) > limit:
            self._made.notes.append(f"{len(order) - limit} more in the file.")

    def _trend(self) -> None:
        self.query = replace(self.query, by=self.query.by or "day")
        self._cost()

    def _trend_note(self) -> None:
        values = [one.value for one in self._made.figures.values() if one.id.startswith("cost_")]
        half = len(values) // 2
        before, after = fmean(values[:half]), fmean(values[-half:])
        if before > 0:
            change = self._figure("trend", "Later half beside earlier half", (after / before - 1) * 100, "%", "means")
            by = self.query.by
            word = "more" if after >= before else "less"
            share = change.text.removeprefix("-")
            self._made.notes.append(f"A {by} of the later half costs {share} {word} than one of the earlier half.")

    def _forecast(self) -> None:
        if self._monthly:
            raise AgentError(f"A forecast needs days; the rows of {self._rows.name} are of whole months.", "too_few")
        days, values = self._daily()
        # The first and the last day may be incomplete.
        whole = values[1:-1][-90:] if len(values) > NEEDED_DAYS + 2 else values
        if len(whole) < NEEDED_DAYS:
            raise AgentError(f"A forecast needs {NEEDED_DAYS} whole days; the file has {len(whole)}.", code="too_few")
        mean, spread = fmean(whole), stdev(whole)
        ahead = mean * FORECAST_DAYS
        error = 1.96 * spread * (FORECAST_DAYS + FORECAST_DAYS**2 / len(whole)) ** 0.5
        formula = f"mean of {len(whole)} days × {FORECAST_DAYS}; 95 % interval of independent days"
        figure = self._figure("forecast", f"The next {FORECAST_DAYS} days", ahead, self.currency, formula)
        low = self._figure("forecast_low", "Lower end", max(0.0, ahead - error), self.currency, formula)
        high = self._figure("forecast_high", "Upper end", ahead + error, self.currency, formula)
        span = f"between {low.text} and {high.text}"
        self._made.headline = (
            f"The next {FORECAST_DAYS} days cost about **{figure.text}**, {span}, if days go on as before."
        )
        self._made.chart = chart(
            "line", "Cost by day", [str(day) for day in days[-400:]], {"Cost": values[-400:]}, self.currency
        )

    def _change(self) -> None:
        days, _ = self._daily()
        before, after = two_periods(days[0], self._last if self._monthly else days[-1])
        sums: list[dict[str, Sums]] = []
        groups: list[dict[str, Sums]] = []
        for first, last in (before, after):
            for label, into in (("coalesce(model, '(none)')", sums), (self._label(self.query.by or "model"), groups)):
                found = self._sums(label, more=" AND day BETWEEN ? AND ?", values=[first, last])
                into.append({one.label: one for one in found})
        old, new = (sum(one.cost for one in found.values()) for found in sums)
        self._figure("before", f"{before[0]} to {before[1]}", old, self.currency, "sum of the cost")
        self._figure("after", f"{after[0]} to {after[1]}", new, self.currency, "sum of the cost")
        made = self._made.figures
        change = self._figure("change", "Change", new - old, self.currency, "after − before")
        word = "more" if new >= old else "less"
        self._made.headline = (
            f"**{format_value(abs(change.value), self.currency)} {word}**: {made['after'].text} from {after[0]} to "
            f"{after[1]}, {made['before'].text} from {before[0]} to {before[1]}."
        )
        parts = effects(sums[0], sums[1])
        if parts:
            texts = [
                self._figure(name, f"By {name}", value, self.currency, EFFECTS[name]).text
                for name, value in parts.items()
            ]
            self._made.notes.append(
                f"By volume {texts[0]}, by the mix of models {texts[1]}, by price per token {texts[2]}."
            )
        by = (self.query.by or "model").replace("_", " ").capitalize()
        self._made.table = [[by, "Before", "After", "Change"]]
        labels = {name: cost_of(groups[1], name) - cost_of(groups[0], name) for name in {*groups[0], *groups[1]}}
        for name in sorted(labels, key=lambda name: (-abs(labels[name]), name))[:10]:
            pair = (cost_of(groups[0], name), cost_of(groups[1], name))
            self._made.table.append(
                [escaped(name), *(format_value(one, self.currency) for one in (*pair, pair[1] - pair[0]))]
            )

    def _budget(self) -> None:
        whole = self._whole()
        spent = self._figure("total", "Spent", whole.cost, self.currency, f"sum of the cost ({self._basis})")
        left = self._figure(
            "left", "Budget left", (self.query.budget or 0) - whole.cost, self.currency, "budget − spent"
        )
        word = (
            f"**{left.text}** of the budget is left"
            if left.value >= 0
            else f"The budget is exceeded by **{format_value(-left.value, self.currency)}**"
        )
        self._made.headline = f"{word}: {spent.text} spent{self._period}."
