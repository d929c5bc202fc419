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
)  # fmt: skip
from agents.usage.loaded import DIMENSIONS, Loaded
from agents.usage.rates import FORMULA, Costs, costs_at, price_of
from chat.usage.names import TOKENS

UNPRICED = ("requests", "tokens", "input_tokens", "output_tokens", "cached", "latency", "users")
ADDED = ("cost", "requests", "tokens", "input_tokens", "output_tokens", "batched", "errors")  # parts have a share
MAX_GROUPS, MAX_POINTS, FEW_GROUPS = 50, 400, 10
FORECAST_DAYS = 30
NEEDED_DAYS = 7  # of spend, for a forecast


def answer(rows: Loaded, query: Query) -> Answer:
    """Return the answer. AgentError where the file lacks what the question needs, or the question something else."""
    if odd := [*idle(query), *lacking(query)]:
        names = ", ".join(one.replace("_", " ") for one in odd)
        raise AgentError(f"I cannot work that out: with this figure I do not know what to do about: {names}.", "open")
    return Asking(rows, query).answer()


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


class Asking:
    """One question to some rows: `where` chooses them, with its `values`; most costs are in `currency`."""

    def __init__(self, rows: Loaded, query: Query) -> None:
        self._rows, self.query, self._made, self._name = rows, query, Answer(), escaped(rows.name)
        self.where, self.values = chosen(query)
        paid = (
            f"SELECT currency FROM usage WHERE cost IS NOT NULL AND {self.where} GROUP BY 1 ORDER BY count(*) DESC, 1"
        )
        found = [code or "" for (code,) in rows.ask(paid, self.values)]
        by_list = f"SELECT 1 FROM usage WHERE cost IS NULL AND list_usd IS NOT NULL AND {self.where} LIMIT 1"
        listed = bool(rows.ask(by_list, self.values))
        self._currencies = list(dict.fromkeys([*found, *(["USD"] if listed or not found else [])]))
        self._unpriced, self.currency = not found and not listed, self._currencies[0]
        self._basis = "list prices" if not found else "paid and list prices" if listed else "paid"

    def answer(self) -> Answer:
        # Rows of whole months stand at the first day of each.
        days = "min(day), max(day), count(DISTINCT day) > 1 AND max(day(day)) = 1"
        found = self._rows.ask(f"SELECT count(*), {days} FROM usage WHERE {self.where}", self.values)
        [(self._counted, self._first, self._last, self._monthly)] = found
        if not self._counted:
            raise AgentError("No row of the file is in that choice.", code="no_rows")
        if self._monthly:
            self._last = calendar_period(self._last, "month", 0)[1]
        metric = "on_model" if self.query.on_model else self.query.metric or "cost"
        if self._unpriced and metric not in (*UNPRICED, "on_model", "errors"):
            raise AgentError(f"{self._rows.name} has no cost and no model with a known price.", code="no_price")
        (getattr(self, f"_{metric}", None) or self._simple)()
        if self.query.also:
            self._beside(self.query.also)
        notes, details = self._made.notes, self._made.details
        if len(self._currencies) > 1 and metric not in ("cost", "on_model", *UNPRICED):
            others = ", ".join(self._currencies[1:])
            notes.append(f"Parts of the cost are those in {self.currency}; {others} is not in them.")
        span = f", {self._first} to {self._last}" if self._first else ""
        details.append(f"Of {self._counted:,} rows of {self._name}{span}. Cost: {self._basis}.")
        details += [] if self._basis == "paid" else [f"List price of a row: {FORMULA}."]
        return self._made

    def _lacks(self, what: str) -> AgentError:
        return AgentError(f"{self._rows.name} has no {what}.", code="missing_column")

    @property
    def _period(self) -> str:
        one_day = f" on {self._first}" if self._first == self._last else f" from {self._first} to {self._last}"
        return one_day if self._first else ""

    # Sums

    def _sums(self, label: str = "'all'", currency: str = "", more: str = "", values: Sequence[Any] = ()) -> list[Sums]:
        spend, (where, chosen) = self._spend(currency or self.currency), self._rows_in(currency or self.currency)
        found = self._rows.ask(
            f"SELECT {label} AS label, count(*), sum({spend}), sum(requests), sum(input), sum(output), sum(cached), "
            f"sum({spend}) FILTER (tier = 'batch'), count_if(failed), sum({spend}) FILTER (failed), "
            f"count(DISTINCT user_label), {STATISTICS[self.query.statistic or 'mean']} "
            f"FROM usage WHERE {where}{more} GROUP BY label",
            [*chosen, *values],
        )
        return [Sums.of(row, self._rows.has("status")) for row in found]

    @staticmethod
    def _spend(currency: str) -> str:
        return "usd" if currency == "USD" else "cost"

    def _rows_in(self, currency: str) -> tuple[str, list[Any]]:
        """The condition of rows in a currency, each of which has sums of its own, with its values."""
        if len(self._currencies) == 1 or (self.query.metric or "cost") in UNPRICED:
            return self.where, self.values
        return f"coalesce(currency, 'USD') = ? AND {self.where}", [currency, *self.values]

    def _figure(self, id: str, label: str, value: float, unit: str, formula: str, rows: int | None = None) -> Figure:
        return self._made.figures.add(id, label, value, unit, formula, self._counted if rows is None else rows)

    def _value(self, one: Sums, metric: str, currency: str = "") -> tuple[float | None, str]:
        """The metric of rows with its unit; None where the file does not tell."""
        cached = one.input and (one.cached or self._rows.has("cached_tokens"))
        counted = one.tokens or any(map(self._rows.has, TOKENS))
        known: dict[str, tuple[float | None, str]] = {
            "requests": (one.requests, "requests"),
            "tokens": (one.tokens if counted else None, "tokens"),
            "input_tokens": (one.input if counted else None, "input tokens"),
            "output_tokens": (one.output if counted else None, "output tokens"),
            "users": (float(one.users) if "user" in self._rows.dimensions else None, "users"),
            "cached": (one.cached / one.input * 100 if cached else None, "%"),
            "batched": (one.batch_cost, self.currency),
            "errors": (None if one.failed is None else float(one.failed), "errors"),
            "latency": (one.latency if self._rows.timed else None, "ms"),
            "unit_cost": (one.cost / one.requests if one.requests else None, self.currency),
        }
        return known.get(metric, (one.cost, currency or self.currency))

    # Metrics

    def _cost(self) -> None:
        texts, formula = [], f"sum of the cost ({self._basis})"
        for currency in self._currencies:
            end, [whole] = "" if currency == self.currency else f"_{currency}", self._sums(currency=currency)
            texts.append(self._figure(f"total{end}", "Total", whole.cost, currency, formula, whole.rows))
        total, query = " and ".join(f"**{one.text}**" for one in texts), self.query
        groups = self._grouped("cost")
        if groups and (query.order or (query.top == 1 and query.by not in TIMES)):
            first, word = self._made.figures["cost_1"], "least" if query.order == "least" else "most"
            self._made.headline = f"{groups[0]} costs {word}: **{first.text}** of {total}{self._period}."
        else:
            basis = ", at list prices" if self._basis == "list prices" else ""
            self._made.headline = f"You spent {total}{self._chosen_text}{self._period}{basis}."
        if self._chosen_text and not groups and len(self._currencies) == 1:
            self._share_note(query)
        if query.by == "day" and len(groups) >= 2 and not (query.order or self._monthly):  # weeks at the ends are cut
            self._trend_note()

    def _share_note(self, query: Query) -> None:
        """Say what part of the cost of the same days the rows are that were chosen by name."""
        named: dict[str, Any] = dict.fromkeys((f"{one}s" for one in NAMED), "")
        every = Asking(self._rows, replace(query, **named))
        [whole] = every._sums(currency=self.currency)
        if len(every._currencies) == 1 and whole.cost > 0:
            total = self._figure("whole", "All of it", whole.cost, self.currency, "sum of the cost", whole.rows)
            part = self._made.figures["total"].value / whole.cost * 100
            share = self._figure("share", "Part of it", part, "%", "cost of the chosen rows / all of it")
            self._made.notes.append(f"That is {share.text} of the {total.text} in all.")

    @property
    def _chosen_text(self) -> str:
        chosen = (getattr(self.query, f"{dimension}s").split("|") for dimension in NAMED)
        names = [name for one in chosen for name in one if name]
        return f" on {', '.join(escaped(name) for name in names[:4])}" if names else ""

    def _simple(self) -> None:
        metric, [whole] = self.query.metric, self._sums()
        value, unit = self._value(whole, metric)
        if value is None:
            raise AgentError(f"{self._rows.name} does not tell that: it has no column for it.", code="missing_column")
        figure = self._figure(metric, _title(metric), value, unit, FORMULAS.get(metric, "sum"))
        texts = {
            "cached": f"**{figure.text}** of the input tokens came from the cache",
            "latency": f"The {self.query.statistic or 'mean'} latency is **{figure.text}**",
            "unit_cost": f"A request costs **{figure.text}** on average",
            "users": f"**{figure.text}** are in the file",
        }
        groups = self._grouped(metric)
        text = f"{texts.get(metric, f'**{figure.text}**')}{self._chosen_text}"
        if groups and self.query.order:
            text = f"{groups[0]}: **{self._made.figures[f'{metric}_1'].text}**; all together {figure.text}"
        self._made.headline = f"{text}{self._period}."

    def _batched(self) -> None:
        [whole], share = self._sums(), "batch cost / cost"
        formula = "sum of the cost of batch rows"
        cost = self._figure("batched", "Cost of batch rows", whole.batch_cost, self.currency, formula)
        value = whole.batch_cost / whole.cost * 100 if whole.cost else 0.0
        part = self._figure("batched_share", "Batch part of the cost", value, "%", share)
        self._made.headline = f"Batch jobs cost **{cost.text}**, {part.text} of the spend{self._period}."
        self._grouped("batched")

    def _errors(self) -> None:
        [whole] = self._sums()
        if whole.failed is None:
            raise self._lacks("column for the outcome of requests")
        count = self._figure("errors", "Failed rows", float(whole.failed), "errors", "rows whose status is a failure")
        share = self._figure("error_share", "Failed part", whole.failed / whole.rows * 100, "%", "failed rows / rows")
        cost = self._figure("error_cost", "Cost of failed rows", whole.failed_cost, self.currency, "sum of their cost")
        self._made.headline = f"**{count.text}** ({share.text} of the rows) cost **{cost.text}**{self._period}."
        self._grouped("errors")

    def _grouped(self, metric: str) -> list[str]:
        """The table by the dimension of the query, and its chart. Returns the labels."""
        by, order, top = self.query.by, self.query.order, self.query.top
        if not by:
            return []
        if by not in TIMES and not self._has(by) and not (order or top):
            self._made.notes.append(f"{self._name} has no column for {by.replace('_', ' ')}.")
            return []
        timed, currencies = by in TIMES and not order, self._currencies if metric == "cost" else [self.currency]
        sums = ((one, code) for code in currencies for one in self._sums(self._label(by), code))
        valued = ((one, *self._value(one, metric, code)) for one, code in sums)
        known = [(one, value, unit) for one, value, unit in valued if value is not None]
        sign, several = 1 if order == "least" else -1, len(currencies) > 1
        known.sort(key=lambda one: (several and currencies.index(one[2]), not timed and sign * one[1], one[0].label))
        limit = top or (MAX_POINTS if timed else FEW_GROUPS)
        shown = known[-limit:] if timed else known[: min(limit, MAX_GROUPS)]
        whole = sum(value for _, value, _ in known) if metric in ADDED and not several else 0.0
        title = _title(metric)
        head = ["Hour (UTC)" if by == "hour" else _title(by), title]
        self._made.table = [[*head, *(["Share"] if whole > 0 else [])]]
        for index, (one, value, unit) in enumerate(shown, 1):
            figure = self._figure(f"{metric}_{index}", one.label, value, unit, FORMULAS.get(metric, "sum"), one.rows)
            share = [format_value(value / whole * 100, "%")] if whole > 0 else []
            self._made.table.append([escaped(one.label), figure.text, *share])
        if len(known) > len(shown):
            self._made.notes.append(f"{len(known) - len(shown)} more in the file.")
        if shown:
            drawn = [(one.label[:60], value) for one, value, unit in shown if unit == shown[0][2]]
            labels, values = [label for label, _ in drawn], {title: [value for _, value in drawn]}
            kind: Any = "line" if timed and by in ("day", "week", "month") else "bar"
            self._made.chart = chart(kind, f"{title} by {by.replace('_', ' ')}", labels, values, shown[0][2])
        return [escaped(one.label) for one, _, _ in shown]

    def _has(self, by: str) -> bool:
        """Tell if the rows have names of this kind; a bill may have kinds of charge in place of models."""
        return by in self._rows.dimensions or (by == "model" and "sku" in self._rows.dimensions)

    def _label(self, by: str) -> str:
        if by in TIMES:
            if not self._first:
                raise self._lacks("dates")
            if by == "hour" and self._rows.ask("SELECT count(DISTINCT CAST(moment AS TIME)) FROM usage")[0][0] < 2:
                raise AgentError(f"{self._rows.name} has days but no times of day.", code="missing_column")
            return f"coalesce({TIMES[by]}, '(no time)')"
        if not self._has(by):
            raise self._lacks(f"column for {by.replace('_', ' ')}")
        columns = "model, sku, charge" if by == "model" else f"CAST({DIMENSIONS[by]} AS VARCHAR)"
        return f"coalesce({columns}, '(none)')"

    def _beside(self, metric: Metric) -> None:
        """A second figure that was asked for, as a note."""
        made = Asking(self._rows, replace(self.query, metric=metric, also="", by="", order="", top=0)).answer()
        self._made.notes.insert(0, made.headline)
        for id, figure in made.figures.items():
            self._made.figures.setdefault(id, figure)

    # Over time

    def _daily(self) -> tuple[list[date], list[float]]:
        where, values = self._rows_in(self.currency)
        query = (
            f"SELECT day, sum({self._spend(self.currency)}) FROM usage WHERE day IS NOT NULL AND {where} GROUP BY day"
        )
        spent = {day: float(cost or 0) for day, cost in self._rows.ask(query, values)}
        if not spent:
            raise self._lacks("dates")
        first, last = max(min(spent), max(spent) - timedelta(days=730)), max(spent)
        days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
        return days, [spent.get(day, 0.0) for day in days]

    def _saving(self) -> None:
        self._cost()
        if self.query.saving is not None:
            whole, wanted = self._made.figures["total"], format_value(self.query.saving, "%")
            saved, code = whole.value * self.query.saving / 100, self.currency
            off = self._figure("saving", "Saving wanted", saved, code, "total × saving wanted")
            rest = self._figure("rest", "Left", whole.value - saved, code, "total − saving wanted")
            self._made.notes.append(f"{wanted} of it is {off.text}; {rest.text} is left then.")

    def _on_model(self) -> None:
        """Work out the rows' tokens at today's list prices of other models, beside their cost in the file."""
        names, by = dict.fromkeys(one.strip() for one in self.query.on_model.split("|") if one.strip()), self.query.by
        prices = {price["model"]: price for price in map(price_of, names)}
        label = self._label(by) if by else "'all'"
        found = {name: costs_at(self._rows.ask, name, label, self.where, self.values) for name in prices}
        first = next(iter(found.values())).values()
        count, unknown = sum(one.rows for one in first), sum(one.unpriced for one in first)
        if not count:
            raise AgentError(f"{self._rows.name} has no tokens, so what another model costs is not known.", "no_tokens")
        made, single = self._made, len(self._currencies) == 1
        spent = sum(one.usd if self.currency == "USD" else one.cost for one in first)
        now = self._figure("now", "In the file", spent, self.currency, f"sum of the cost ({self._basis})", count)
        formula = "each row's input, cached, written and output tokens × the model's list prices of its tier"
        parts, comparable = [], single and not unknown
        for index, (name, costs) in enumerate(found.items(), 1):
            price, end = prices[name], f"_{index}" if len(found) > 1 else ""
            said = f"{name}: ${price['input']:g} in, ${price['output']:g} out per million tokens, {price['as_of']}"
            value, text = sum(one.there for one in costs.values()), ""
            there = made.figures.add(f"there{end}", f"On {escaped(name)}", value, "USD", formula, count, (said,))
            made.notes.append(f"List price of {said} ({price['source']}).")
            if comparable and self.currency == "USD":
                gap = self._figure(f"gap{end}", f"Difference on {escaped(name)}", value - spent, "USD", "there − now")
                text = f", {format_value(abs(gap.value), 'USD')} {'more' if gap.value > 0 else 'less'}"
            parts.append((value, f"on {name} **{there.text}**{text}"))
        here = f"; in the file they cost {now.text}" if comparable else ""
        texts = "; ".join(text for _, text in sorted(parts, key=lambda one: one[0]))
        made.headline = f"The same tokens would cost {texts}{self._period}{here}."
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
        timed, sign = by in TIMES and not self.query.order, 1 if self.query.order == "least" else -1
        totals = {label: sum(costs[label].there for costs in found.values()) for label in next(iter(found.values()))}
        order = sorted(totals, key=lambda one: (0.0 if timed else sign * totals[one], one))
        limit = min(self.query.top or (MAX_POINTS if by in TIMES else FEW_GROUPS), MAX_POINTS)
        self._made.table = [[_title(by), *(f"On {escaped(name)}" for name in found)]]
        for label in order[:limit]:
            row = [format_value(one[label].there, "USD") for one in found.values()]
            self._made.table.append([escaped(label), *row])
        if len(order) > limit:
            self._made.notes.append(f"{len(order) - limit} more in the file.")

    def _trend(self) -> None:
        self.query = replace(self.query, by=self.query.by or "day")
        self._cost()

    def _trend_note(self) -> None:
        values = [one.value for one in self._made.figures.values() if one.id.startswith("cost_")]
        before, after = fmean(values[: len(values) // 2]), fmean(values[-(len(values) // 2) :])
        if before > 0:
            change = self._figure("trend", "Later half beside earlier half", (after / before - 1) * 100, "%", "means")
            share, word = change.text.removeprefix("-"), "more" if after >= before else "less"
            by = self.query.by
            self._made.notes.append(f"A {by} of the later half costs {share} {word} than one of the earlier half.")

    def _forecast(self) -> None:
        if self._monthly:
            raise AgentError(f"A forecast needs days; the rows of {self._rows.name} are of whole months.", "too_few")
        days, values = self._daily()
        # The first and the last day may be incomplete.
        whole = values[1:-1][-90:] if len(values) > NEEDED_DAYS + 2 else values
        if len(whole) < NEEDED_DAYS:
            raise AgentError(f"A forecast needs {NEEDED_DAYS} whole days; the file has {len(whole)}.", code="too_few")
        ahead, count = fmean(whole) * FORECAST_DAYS, len(whole)
        error = 1.96 * stdev(whole) * (FORECAST_DAYS + FORECAST_DAYS**2 / count) ** 0.5
        formula = f"mean of {count} days × {FORECAST_DAYS}; 95 % interval of independent days"
        span, code = f"The next {FORECAST_DAYS} days", self.currency
        figure = self._figure("forecast", span, ahead, code, formula)
        low = self._figure("forecast_low", "Lower end", max(0.0, ahead - error), code, formula)
        high = self._figure("forecast_high", "Upper end", ahead + error, code, formula)
        between = f"between {low.text} and {high.text}"
        self._made.headline = f"{span} cost about **{figure.text}**, {between}, if days go on as before."
        labels, series = [str(day) for day in days[-MAX_POINTS:]], {"Cost": values[-MAX_POINTS:]}
        self._made.chart = chart("line", "Cost by day", labels, series, code)

    def _change(self) -> None:
        days, _ = self._daily()
        spans = two_periods(days[0], self._last if self._monthly else days[-1])
        label, code, by = self._label(self.query.by or "model"), self.currency, _title(self.query.by or "model")

        def within(label: str) -> list[dict[str, Sums]]:
            more = " AND day BETWEEN ? AND ?"
            return [{one.label: one for one in self._sums(label, more=more, values=span)} for span in spans]

        sums, groups = within("coalesce(model, '(none)')"), within(label)
        texts = [f"{first} to {last}" for first, last in spans]
        old, new = (
            self._figure(id, text, sum(one.cost for one in found.values()), code, "sum of the cost")
            for id, text, found in zip(("before", "after"), texts, sums, strict=True)
        )
        change = self._figure("change", "Change", new.value - old.value, code, "after − before")
        size = f"{format_value(abs(change.value), code)} {'more' if change.value >= 0 else 'less'}"
        self._made.headline = f"**{size}**: {new.text} from {texts[1]}, {old.text} from {texts[0]}."
        parts = effects(*sums)
        if parts:
            volume, mix, price = (
                self._figure(name, f"By {name}", value, code, EFFECTS[name]).text for name, value in parts.items()
            )
            self._made.notes.append(f"By volume {volume}, by the mix of models {mix}, by price per token {price}.")
        self._made.table = [[by, "Before", "After", "Change"]]
        pairs = {name: [cost_of(found, name) for found in groups] for name in {*groups[0], *groups[1]}}
        for name in sorted(pairs, key=lambda name: (-abs(pairs[name][1] - pairs[name][0]), name))[:FEW_GROUPS]:
            before, after = pairs[name]
            row = [format_value(one, code) for one in (before, after, after - before)]
            self._made.table.append([escaped(name), *row])

    def _budget(self) -> None:
        [whole], code = self._sums(), self.currency
        spent = self._figure("total", "Spent", whole.cost, code, f"sum of the cost ({self._basis})")
        rest = (self.query.budget or 0) - whole.cost
        left = self._figure("left", "Budget left", rest, code, "budget − spent")
        word = f"**{left.text}** of the budget is left"
        word = word if rest >= 0 else f"The budget is exceeded by **{format_value(-rest, code)}**"
        self._made.headline = f"{word}: {spent.text} spent{self._period}."
