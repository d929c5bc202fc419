"""Facts about loaded files besides figures: names, things that a reader has to know, and what savings rest on."""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

from datetime import UTC, datetime
from typing import Any

from agents.usage.asked import NAMED, Query
from agents.usage.figures import escaped, format_value
from agents.usage.loaded import DIMENSIONS, Loaded
from agents.usage.query import Asking


def names_of(rows: Loaded) -> dict[str, Any]:
    """Return the names in the rows by dimension, the most frequent first, the models by their id in the price list, the
    first and last day, and today."""
    names: dict[str, list[str]] = {}
    for dimension, column in DIMENSIONS.items():
        if dimension in NAMED and dimension in rows.dimensions:
            found = rows.ask(
                f"SELECT {column} FROM usage WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5000"
            )
            names[dimension] = [name for (name,) in found]
    priced: dict[str, list[str]] = {}
    if "model" in names:
        for model, id in rows.ask("SELECT DISTINCT model, priced_as FROM usage WHERE priced_as IS NOT NULL ORDER BY 1"):
            priced.setdefault(id, []).append(model)
    first, last = rows.ask("SELECT min(day), max(day) FROM usage")[0]
    return {
        "names": names,
        "priced": priced,
        "first": None if first is None else first.isoformat(),
        "last": None if last is None else last.isoformat(),
        "today": datetime.now(UTC).date().isoformat(),
    }


def warnings(rows: Loaded) -> list[str]:
    """Return what a reader of a figure has to know: rows without a price, rows left out, money not counted."""
    found = [*rows.notes, *(note for report in rows.files if report["usage"] for note in report["notes"])]
    unread = [f"{report['file']} is not read: {report['notes'][0]}" for report in rows.files if not report["usage"]]
    found = [escaped(one, 300) for one in (*found, *unread)]
    unpriced = rows.ask(
        "SELECT coalesce(model, '(none)'), count(*) FROM usage WHERE cost IS NULL AND list_usd IS NULL AND "
        "included IS NOT TRUE AND input + output > 0 GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    if unpriced:
        names = ", ".join(escaped(model) for model, _ in unpriced[:3])
        count = sum(number for _, number in unpriced)
        found.append(f"{count:,} rows have neither a cost nor a known price ({names}): they are not in the cost.")
    for report in rows.files:
        for problem in report["problems"]:
            lines = ", ".join(str(line) for line in problem["lines"][:3])
            effect = "left out" if problem["left_out"] else "counted"
            found.append(f"{problem['rows']:,} rows {effect}: {escaped(problem['what'], 120)} (line {lines}).")
        for currency, amount in report["other"]:
            found.append(f"Not AI, and not counted: {format_value(amount, currency)}.")
    again = rows.ask("SELECT count(*) - count(DISTINCT (file, print)) FROM usage")[0][0]
    if again:
        found.append(f"{again:,} rows stand twice, exactly alike: they are counted.")
    return list(dict.fromkeys(found))


def lever_sums(rows: Loaded, query: Query) -> dict[str, Any]:
    """Return the sums of each model's rows, the dearest first, and their currency."""
    asking = Asking(rows, query)
    spend = "usd" if asking.currency == "USD" else "cost"
    found = rows.ask(
        f"SELECT model, any_value(priced_as), count(*), sum({spend}), sum(list_usd), sum(input), sum(cached), "
        f"sum(output), sum({spend}) FILTER (tier = 'batch'), count_if(failed), sum({spend}) FILTER (failed) FROM usage "
        f"WHERE model IS NOT NULL AND coalesce(currency, 'USD') = ? AND {asking.where} GROUP BY model "
        "ORDER BY 4 DESC NULLS LAST, 1 LIMIT 50",
        [asking.currency, *asking.values],
    )
    names = (
        "model",
        "priced_as",
        "rows",
        "cost",
        "list_usd",
        "input",
        "cached",
        "output",
        "batch_cost",
        "failed",
        "failed_cost",
    )
    return {
        "currency": asking.currency,
        "cached": rows.has("cached_tokens"),
        "rows": [{name: value or 0 for name, value in zip(names, row, strict=True)} for row in found],
    }


def summary_of(rows: Loaded) -> dict[str, Any]:
    """Return what the files cover: rows, days, names, what could not be read, what was assumed, and the prices used."""
    found = names_of(rows)
    return {
        "files": rows.files,
        "first": found["first"],
        "last": found["last"],
        "dimensions": rows.dimensions,
        "names": {dimension: names[:20] for dimension, names in found["names"].items()},
        "notes": warnings(rows),
        "assumptions": rows.assumptions,
        "unknown_models": rows.prices.unknown,
        "prices": rows.prices.used[:50],
    }
