"""Facts about loaded files besides figures: names, things that a reader has to know, and what savings rest on."""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

from datetime import UTC, datetime
from typing import Any

from agents.usage.asked import NAMED, Query
from agents.usage.figures import escaped, format_value, rows_text
from agents.usage.loaded import DIMENSIONS, Loaded
from agents.usage.query import Asking
from chat.translation import t

MAX_NAMES = 5_000


def names_of(rows: Loaded) -> dict[str, Any]:
    """Return the names in the rows by dimension, the most frequent first, the models by their id in the price list, the
    first and last day, and today."""
    names: dict[str, list[str]] = {}
    for dimension in (one for one in NAMED if one in rows.dimensions):
        column = DIMENSIONS[dimension]
        grouped = f"SELECT {column} FROM usage WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1"
        names[dimension] = [name for (name,) in rows.ask(f"{grouped} LIMIT {MAX_NAMES}")]
    priced: dict[str, list[str]] = {}
    for model, id in rows.ask("SELECT DISTINCT model, priced_as FROM usage WHERE priced_as IS NOT NULL ORDER BY 1"):
        priced.setdefault(id, []).append(model)
    days = [day and day.isoformat() for day in rows.ask("SELECT min(day), max(day) FROM usage")[0]]
    today = datetime.now(UTC).date().isoformat()
    return {"names": names, "priced": priced, "first": days[0], "last": days[1], "today": today}


def warnings(rows: Loaded) -> list[str]:
    """Return what a reader of a figure has to know: rows without a price, rows left out, money not counted."""
    found = [*rows.notes, *(note for report in rows.files if report["usage"] for note in report["notes"])]
    unread = (report for report in rows.files if not report["usage"])
    found += [t("{0} is not read: {1}", report["file"], report["notes"][0]) for report in unread]
    found = [escaped(one, 300) for one in found]
    unpriced = rows.ask(
        "SELECT coalesce(model, '(none)'), count(*) FROM usage WHERE cost IS NULL AND list_usd IS NULL AND "
        "included IS NOT TRUE AND input + output > 0 GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    if unpriced:
        names, count = ", ".join(escaped(model) for model, _ in unpriced[:3]), sum(number for _, number in unpriced)
        found.append(t("Neither a cost nor a known price: {0} ({1}), not in the cost.", rows_text(count), names))
    for report in rows.files:
        for problem in report["problems"]:
            lines = ", ".join(str(line) for line in problem["lines"][:3])
            parts = rows_text(problem["rows"]), escaped(problem["what"], 120), lines
            left_out, counted = t("{0} left out: {1} (line {2}).", *parts), t("{0} counted: {1} (line {2}).", *parts)
            found.append(left_out if problem["left_out"] else counted)
        others = (format_value(amount, currency) for currency, amount in report["other"])
        found += [t("Not AI, and not counted: {0}.", amount) for amount in others]
    if again := rows.ask("SELECT count(*) - count(DISTINCT (file, print)) FROM usage")[0][0]:
        found.append(t("Twice in the file, exactly alike: {0}, counted.", rows_text(again)))
    return list(dict.fromkeys(found))


def lever_sums(rows: Loaded, query: Query) -> dict[str, Any]:
    """Return the sums of each model's rows, the dearest first, and their currency."""
    asking = Asking(rows, query)
    spend = "usd" if asking.currency == "USD" else "cost"
    sums = {
        "model": "model", "priced_as": "any_value(priced_as)", "rows": "count(*)", "cost": f"sum({spend})",
        "list_usd": "sum(list_usd)", "input": "sum(input)", "cached": "sum(cached)", "output": "sum(output)",
        "batch_cost": f"sum({spend}) FILTER (tier = 'batch')", "failed": "count_if(failed)",
        "failed_cost": f"sum({spend}) FILTER (failed)",
    }  # fmt: skip
    found = rows.ask(
        f"SELECT {', '.join(sums.values())} FROM usage WHERE model IS NOT NULL AND coalesce(currency, 'USD') = ? "
        f"AND {asking.where} GROUP BY model ORDER BY 4 DESC NULLS LAST, 1 LIMIT 50",
        [asking.currency, *asking.values],
    )
    made = [{name: value or 0 for name, value in zip(sums, row, strict=True)} for row in found]
    return {"currency": asking.currency, "cached": rows.has("cached_tokens"), "rows": made}


def summary_of(rows: Loaded) -> dict[str, Any]:
    """Return what the files cover: rows, days, names, what could not be read, what was assumed, and the prices used."""
    found = names_of(rows)
    return {
        "files": rows.files, "first": found["first"], "last": found["last"], "dimensions": rows.dimensions,
        "names": {dimension: names[:20] for dimension, names in found["names"].items()}, "notes": warnings(rows),
        "assumptions": rows.assumptions, "unknown_models": rows.prices.unknown, "prices": rows.prices.used[:50],
    }  # fmt: skip
