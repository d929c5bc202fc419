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
    day,
    digits,
    effects,
    escaped,
    format_value,
    moment,
    rows_text,
    two_periods,
)  # fmt: skip
from agents.usage.loaded import DIMENSIONS, Loaded
from agents.usage.prices import listed, noted
from agents.usage.rates import FORMULA, Costs, costs_at, price_of
from chat.translation import t, tc
from chat.usage.names import TOKENS

UNPRICED = ("requests", "tokens", "input_tokens", "output_tokens", "cached", "latency", "users")
ADDED = ("cost", "requests", "tokens", "input_tokens", "output_tokens", "batched", "errors")  # parts have a share
MAX_GROUPS, MAX_POINTS, FEW_GROUPS = 50, 400, 10
FORECAST_DAYS = 30
NEEDED_DAYS = 7  # of spend, for a forecast


def answer(rows: Loaded, query: Query) -> Answer:
    """Return the answer. AgentError where the file lacks what the question needs, or the question something else."""
    if odd := [*idle(query), *lacking(query)]:
        names = ", ".join(map(named, odd))
        text = t("I cannot work that out: with this figure I do not know what to do about: {0}.", names)
        raise AgentError(text, "open")
    return Asking(rows, query).answer()


def named(name: str) -> str:
    """Return the name of a metric or a dimension in words."""
    return t(name.replace("_", " "))


def title(name: str) -> str:
    """Return the name of a metric or a dimension as the head of a column."""
    return named(name)[:1].upper() + named(name)[1:]


def _label(label: str, by: str) -> str:
    return {"(none)": t("(none)"), "(no time)": t("(no time)")}.get(label) or moment(label, by)


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
        self._is_paid, self._is_listed = bool(found) and not listed, not found
        self._basis = t("list prices") if not found else t("paid and list prices") if listed else t("paid")

    def answer(self) -> Answer:
        # Rows of whole months stand at the first day of each.
        days = "min(day), max(day), count(DISTINCT day) > 1 AND max(day(day)) = 1"
        found = self._rows.ask(f"SELECT count(*), {days} FROM usage WHERE {self.where}", self.values)
        [(self._counted, self._first, self._last, self._monthly)] = found
        if not self._counted:
            raise AgentError(t("No row of the file is in that choice."), code="no_rows")
        if self._monthly:
            self._last = calendar_period(self._last, "month", 0)[1]
        metric = "on_model" if self.query.on_model else self.query.metric or "cost"
        if self._unpriced and metric not in (*UNPRICED, "on_model", "errors"):
            raise AgentError(t("{0} has no cost and no model with a known price.", self._rows.name), code="no_price")
        (getattr(self, f"_{metric}", None) or self._simple)()
        if self.query.also:
            self._beside(self.query.also)
        notes, details = self._made.notes, self._made.details
        if len(self._currencies) > 1 and metric not in ("cost", "on_model", *UNPRICED):
            others = ", ".join(self._currencies[1:])
            notes.append(t("Parts of the cost are those in {0}; {1} is not in them.", self.currency, others))
        span = t(", {0} to {1}", day(self._first), day(self._last)) if self._first else ""
        parts = rows_text(self._counted), self._name, span, self._basis
        details.append(t("Of {0} of {1}{2}. Cost: {3}.", *parts))
        details += [] if self._is_paid else [t("List price of a row: {0}.", t(FORMULA))]
        return self._made

    def _lacks(self, what: str) -> AgentError:
        return AgentError(t("{0} has no {1}.", self._rows.name, what), code="missing_column")

    @property
    def _period(self) -> str:
        if not self._first:
            return ""
        first, last = day(self._first), day(self._last)
        return tc("day", " on {0}", first) if first == last else t(" from {0} to {1}", first, last)

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
        texts, formula = [], t("sum of the cost ({0})", self._basis)
        for currency in self._currencies:
            end, [whole] = "" if currency == self.currency else f"_{currency}", self._sums(currency=currency)
            texts.append(self._figure(f"total{end}", t("Total"), whole.cost, currency, formula, whole.rows))
        total, query = t(" and ").join(f"**{one.text}**" for one in texts), self.query
        groups = self._grouped("cost")
        if groups and (query.order or (query.top == 1 and query.by not in TIMES)):
            parts = groups[0], self._made.figures["cost_1"].text, total, self._period
            most, least = t("{0} costs most: **{1}** of {2}{3}."), t("{0} costs least: **{1}** of {2}{3}.")
            self._made.headline = (least if query.order == "least" else most).format(*parts)
        else:
            basis = t(", at list prices") if self._is_listed else ""
            self._made.headline = t("You spent {0}{1}{2}{3}.", total, self._chosen_text, self._period, basis)
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
            total = self._figure("whole", t("All of it"), whole.cost, self.currency, t("sum of the cost"), whole.rows)
            part = self._made.figures["total"].value / whole.cost * 100
            share = self._figure("share", t("Part of it"), part, "%", t("cost of the chosen rows / all of it"))
            self._made.notes.append(t("That is {0} of the {1} in all.", share.text, total.text))

    @property
    def _chosen_text(self) -> str:
        chosen = (getattr(self.query, f"{dimension}s").split("|") for dimension in NAMED)
        names = [name for one in chosen for name in one if name]
        return t(" on {0}", ", ".join(map(escaped, names[:4]))) if names else ""

    def _simple(self) -> None:
        metric, [whole] = self.query.metric, self._sums()
        value, unit = self._value(whole, metric)
        if value is None:
            raise AgentError(t("{0} does not tell that: it has no column for it.", self._rows.name), "missing_column")
        figure = self._figure(metric, title(metric), value, unit, t(FORMULAS.get(metric, "sum")))
        texts = {
            "cached": t("**{0}** of the input tokens came from the cache", figure.text),
            "latency": t("The {0} latency is **{1}**", t(self.query.statistic or "mean"), figure.text),
            "unit_cost": t("A request costs **{0}** on average", figure.text),
            "users": t("**{0}** are in the file", figure.text),
        }
        groups = self._grouped(metric)
        text = f"{texts.get(metric, f'**{figure.text}**')}{self._chosen_text}"
        if groups and self.query.order:
            first = self._made.figures[f"{metric}_1"].text
            text = t("{0}: **{1}**; all together {2}", groups[0], first, figure.text)
        self._made.headline = f"{text}{self._period}."

    def _batched(self) -> None:
        [whole], share = self._sums(), t("batch cost / cost")
        formula = t("sum of the cost of batch rows")
        cost = self._figure("batched", t("Cost of batch rows"), whole.batch_cost, self.currency, formula)
        value = whole.batch_cost / whole.cost * 100 if whole.cost else 0.0
        part = self._figure("batched_share", t("Batch part of the cost"), value, "%", share)
        self._made.headline = t("Batch jobs cost **{0}**, {1} of the spend{2}.", cost.text, part.text, self._period)
        self._grouped("batched")

    def _errors(self) -> None:
        [whole] = self._sums()
        if whole.failed is None:
            raise self._lacks(t("column for the outcome of requests"))
        figure, part = self._figure, whole.failed / whole.rows * 100
        count = figure("errors", t("Failed rows"), whole.failed, "errors", t("rows whose status is a failure"))
        share = figure("error_share", t("Failed part"), part, "%", t("failed rows / rows"))
        label, formula = t("Cost of failed rows"), t("sum of their cost")
        texts = count.text, share.text, figure("error_cost", label, whole.failed_cost, self.currency, formula).text
        self._made.headline = t("**{0}** ({1} of the rows) cost **{2}**{3}.", *texts, self._period)
        self._grouped("errors")

    def _grouped(self, metric: str) -> list[str]:
        """The table by the dimension of the query, and its chart. Returns the labels."""
        by, order, top = self.query.by, self.query.order, self.query.top
        if not by:
            return []
        if by not in TIMES and not self._has(by) and not (order or top):
            self._made.notes.append(t("{0} has no column for {1}.", self._name, named(by)))
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
        name = title(metric)
        head = [t("Hour (UTC)") if by == "hour" else title(by), name]
        self._made.table = [[*head, *([t("Share")] if whole > 0 else [])]]
        for index, (one, value, unit) in enumerate(shown, 1):
            label, formula = _label(one.label, by), t(FORMULAS.get(metric, "sum"))
            figure = self._figure(f"{metric}_{index}", label, value, unit, formula, one.rows)
            share = [format_value(value / whole * 100, "%")] if whole > 0 else []
            self._made.table.append([escaped(label), figure.text, *share])
        if len(known) > len(shown):
            self._made.notes.append(t("{0} more in the file.", digits(len(known) - len(shown))))
        if shown:
            drawn = [(_label(one.label, by)[:60], value) for one, value, unit in shown if unit == shown[0][2]]
            labels, values = [label for label, _ in drawn], {name: [value for _, value in drawn]}
            kind: Any = "line" if timed and by in ("day", "week", "month") else "bar"
            self._made.chart = chart(kind, t("{0} by {1}", name, named(by)), labels, values, shown[0][2])
        return [escaped(_label(one.label, by)) for one, _, _ in shown]

    def _has(self, by: str) -> bool:
        """Tell if the rows have names of this kind; a bill may have kinds of charge in place of models."""
        return by in self._rows.dimensions or (by == "model" and "sku" in self._rows.dimensions)

    def _label(self, by: str) -> str:
        if by in TIMES:
            if not self._first:
                raise self._lacks(t("dates"))
            if by == "hour" and self._rows.ask("SELECT count(DISTINCT CAST(moment AS TIME)) FROM usage")[0][0] < 2:
                raise AgentError(t("{0} has days but no times of day.", self._rows.name), code="missing_column")
            return f"coalesce({TIMES[by]}, '(no time)')"
        if not self._has(by):
            raise self._lacks(t("column for {0}", named(by)))
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
            raise self._lacks(t("dates"))
        first, last = max(min(spent), max(spent) - timedelta(days=730)), max(spent)
        days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
        return days, [spent.get(day, 0.0) for day in days]

    def _saving(self) -> None:
        self._cost()
        if self.query.saving is not None:
            whole, wanted = self._made.figures["total"], format_value(self.query.saving, "%")
            saved, code = whole.value * self.query.saving / 100, self.currency
            off = self._figure("saving", t("Saving wanted"), saved, code, t("total × saving wanted"))
            rest = self._figure("rest", t("Left"), whole.value - saved, code, t("total − saving wanted"))
            self._made.notes.append(t("{0} of it is {1}; {2} is left then.", wanted, off.text, rest.text))

    def _on_model(self) -> None:
        """Work out the rows' tokens at today's list prices of other models, beside their cost in the file."""
        names, by = dict.fromkeys(one.strip() for one in self.query.on_model.split("|") if one.strip()), self.query.by
        prices = {price["model"]: price for price in map(price_of, names)}
        label = self._label(by) if by else "'all'"
        found = {name: costs_at(self._rows.ask, name, label, self.where, self.values) for name in prices}
        first = next(iter(found.values())).values()
        count, unknown = sum(one.rows for one in first), sum(one.unpriced for one in first)
        if not count:
            text = t("{0} has no tokens, so what another model costs is not known.", self._rows.name)
            raise AgentError(text, "no_tokens")
        made, single = self._made, len(self._currencies) == 1
        spent = sum(one.usd if self.currency == "USD" else one.cost for one in first)
        formula = t("sum of the cost ({0})", self._basis)
        now = self._figure("now", t("In the file"), spent, self.currency, formula, count)
        formula = t("each row's input, cached, written and output tokens × the model's list prices of its tier")
        parts, comparable = [], single and not unknown
        for index, (name, costs) in enumerate(found.items(), 1):
            price, end = prices[name], f"_{index}" if len(found) > 1 else ""
            said, note = listed(price), (noted(price),)
            value, text = sum(one.there for one in costs.values()), ""
            there = made.figures.add(f"there{end}", t("On {0}", escaped(name)), value, "USD", formula, count, note)
            made.notes.append(t("List price of {0} ({1}).", said, price["source"]))
            if comparable and self.currency == "USD":
                label = t("Difference on {0}", escaped(name))
                gap = self._figure(f"gap{end}", label, value - spent, "USD", t("there − now"))
                size = format_value(abs(gap.value), "USD")
                text = t(", {0} more", size) if gap.value > 0 else t(", {0} less", size)
            parts.append((value, t("on {0} **{1}**", name, there.text) + text))
        here = t("; in the file they cost {0}", now.text) if comparable else ""
        texts = "; ".join(text for _, text in sorted(parts, key=lambda one: one[0]))
        made.headline = t("The same tokens would cost {0}{1}{2}.", texts, self._period, here)
        if count < self._counted:
            made.notes.append(t("Without tokens and left out of it: {0}.", rows_text(self._counted - count)))
        if unknown:
            made.notes.append(t("{0} without a known cost today, so no difference is given.", rows_text(unknown)))
        if not single:
            made.notes.append(t("The rows are in several currencies, so no difference is given."))
        made.details.append(t("Another model may count more or fewer tokens of the same text."))
        if by:
            self._table_on(found, by)

    def _table_on(self, found: dict[str, dict[str, Costs]], by: str) -> None:
        timed, sign = by in TIMES and not self.query.order, 1 if self.query.order == "least" else -1
        totals = {label: sum(costs[label].there for costs in found.values()) for label in next(iter(found.values()))}
        order = sorted(totals, key=lambda one: (0.0 if timed else sign * totals[one], one))
        limit = min(self.query.top or (MAX_POINTS if by in TIMES else FEW_GROUPS), MAX_POINTS)
        self._made.table = [[title(by), *(t("On {0}", escaped(name)) for name in found)]]
        for label in order[:limit]:
            row = [format_value(one[label].there, "USD") for one in found.values()]
            self._made.table.append([escaped(_label(label, by)), *row])
        if len(order) > limit:
            self._made.notes.append(t("{0} more in the file.", digits(len(order) - limit)))

    def _trend(self) -> None:
        self.query = replace(self.query, by=self.query.by or "day")
        self._cost()

    def _trend_note(self) -> None:
        values = [one.value for one in self._made.figures.values() if one.id.startswith("cost_")]
        before, after = fmean(values[: len(values) // 2]), fmean(values[-(len(values) // 2) :])
        if before > 0:
            value, label = (after / before - 1) * 100, t("Later half beside earlier half")
            share = self._figure("trend", label, value, "%", t("means")).text.removeprefix("-")
            more = t("A day of the later half costs {0} more than one of the earlier half.")
            less = t("A day of the later half costs {0} less than one of the earlier half.")
            self._made.notes.append((more if after >= before else less).format(share))

    def _forecast(self) -> None:
        if self._monthly:
            text = t("A forecast needs days; the rows of {0} are of whole months.", self._rows.name)
            raise AgentError(text, "too_few")
        days, values = self._daily()
        # The first and the last day may be incomplete.
        whole = values[1:-1][-90:] if len(values) > NEEDED_DAYS + 2 else values
        if len(whole) < NEEDED_DAYS:
            text = t("A forecast needs {0} whole days; the file has {1}.", NEEDED_DAYS, len(whole))
            raise AgentError(text, code="too_few")
        ahead, count = fmean(whole) * FORECAST_DAYS, len(whole)
        error = 1.96 * stdev(whole) * (FORECAST_DAYS + FORECAST_DAYS**2 / count) ** 0.5
        formula = t("mean of {0} days × {1}; 95 % interval of independent days", count, FORECAST_DAYS)
        span, code = t("The next {0} days", FORECAST_DAYS), self.currency
        figure = self._figure("forecast", span, ahead, code, formula)
        low = self._figure("forecast_low", t("Lower end"), max(0.0, ahead - error), code, formula)
        high = self._figure("forecast_high", t("Upper end"), ahead + error, code, formula)
        parts = span, figure.text, low.text, high.text
        self._made.headline = t("{0} cost about **{1}**, between {2} and {3}, if days go on as before.", *parts)
        labels, series = list(map(day, days[-MAX_POINTS:])), {title("cost"): values[-MAX_POINTS:]}
        self._made.chart = chart("line", t("{0} by {1}", title("cost"), named("day")), labels, series, code)

    def _change(self) -> None:
        days, _ = self._daily()
        spans = two_periods(days[0], self._last if self._monthly else days[-1])
        label, code, by = self._label(self.query.by or "model"), self.currency, title(self.query.by or "model")

        def within(label: str) -> list[dict[str, Sums]]:
            more = " AND day BETWEEN ? AND ?"
            return [{one.label: one for one in self._sums(label, more=more, values=span)} for span in spans]

        sums, groups = within("coalesce(model, '(none)')"), within(label)
        texts = [t("{0} to {1}", day(first), day(last)) for first, last in spans]
        old, new = (
            self._figure(id, text, sum(one.cost for one in found.values()), code, t("sum of the cost"))
            for id, text, found in zip(("before", "after"), texts, sums, strict=True)
        )
        change = self._figure("change", t("Change"), new.value - old.value, code, t("after − before"))
        parts = format_value(abs(change.value), code), new.text, texts[1], old.text, texts[0]
        more, less = t("**{0} more**: {1} from {2}, {3} from {4}."), t("**{0} less**: {1} from {2}, {3} from {4}.")
        self._made.headline = (more if change.value >= 0 else less).format(*parts)
        if found := effects(*sums):
            names = {"volume": t("By volume"), "mix": t("By mix"), "price": t("By price")}
            made = (self._figure(id, names[id], value, code, t(EFFECTS[id])).text for id, value in found.items())
            self._made.notes.append(t("By volume {0}, by the mix of models {1}, by price per token {2}.", *made))
        self._made.table = [[by, t("Before"), t("After"), t("Change")]]
        pairs = {name: [cost_of(found, name) for found in groups] for name in {*groups[0], *groups[1]}}
        for name in sorted(pairs, key=lambda name: (-abs(pairs[name][1] - pairs[name][0]), name))[:FEW_GROUPS]:
            before, after = pairs[name]
            row = [format_value(one, code) for one in (before, after, after - before)]
            self._made.table.append([escaped(name), *row])

    def _budget(self) -> None:
        [whole], code = self._sums(), self.currency
        spent = self._figure("total", t("Spent"), whole.cost, code, t("sum of the cost ({0})", self._basis))
        rest = (self.query.budget or 0) - whole.cost
        left = self._figure("left", t("Budget left"), rest, code, t("budget − spent"))
        over = t("The budget is exceeded by **{0}**", format_value(-rest, code))
        parts = t("**{0}** of the budget is left", left.text) if rest >= 0 else over, spent.text, self._period
        self._made.headline = t("{0}: {1} spent{2}.", *parts)
