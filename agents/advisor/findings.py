"""Findings: what the usage files say, as lines of the answer. Every amount is of a tool's result."""

from collections.abc import Iterator

from agents.advisor.answers import Breakdown, Group, Only, Trend, Waste
from agents.advisor.bills import amount, per_month
from agents.advisor.case import Case, FileUse
from agents.advisor.markdown import escaped, money, section, table
from agents.advisor.prices import find_model

MAX_ROWS = 12
MAX_ITEMS = 10


def findings(case: Case) -> Iterator[str]:
    """Spend by model, feature and user, errors, trend and latency of each file."""
    for use in case.uses:
        yield from section(f"What {escaped(use.name)} says", list(_about(use, case)))
        for dimension, title in (("model", "Spend by model"), ("feature", "Spend by feature"), ("user", "by user")):
            if dimension in use.by:
                yield from _groups(title, use.by[dimension], case)
        if use.waste:
            yield from section("Paid for nothing", list(_waste(use.waste, case)))
        if use.trend:
            yield from section("Trend and days that stand out", list(_trend(use.trend, case)))
        yield from _latency(use)


def chosen(only: Only) -> str:
    """The rows in words: “feature support, from 2026-06-01 to 2026-06-30”."""
    words = [f"{key} {escaped(str(only[key]))}" for key in ("feature", "user", "model") if key in only]
    if "since" in only and "until" in only:
        words.append(only["since"] if only["since"] == only["until"] else f"{only['since']} to {only['until']}")
    return ", ".join(words)


def unread(case: Case) -> Iterator[str]:
    """What could not be read or priced, with line numbers and the nearest known models."""
    for use in case.uses:
        name = escaped(use.name)
        for problem in use.whole["problems"]:
            lines = problem["lines"]
            named = ", ".join(f"{line:,}" for line in lines) + (", …" if problem["rows"] > len(lines) else "")
            where = f" (line{'s' if len(lines) > 1 else ''} {named})" if lines else ""
            left = "left out" if problem["left_out"] else "kept"
            yield f"{name}: {problem['what']}: {_rows(problem['rows'])}, {left}{where}."
        for unknown in use.whole["unknown_models"][:MAX_ITEMS]:
            near = f" Near to it are: {', '.join(unknown['nearest'])}." if unknown["nearest"] else ""
            yield f"{name}: I know no price of a model “{escaped(unknown['model'])}” ({_rows(unknown['rows'])}).{near}"
    for meant in case.meant:
        for month in meant["absent"]:
            whole = next((use.whole for use in case.uses if use.name == meant["file"]), None)
            span = f": it goes from {whole['first']} to {whole['last']}" if whole else ""
            yield f"{escaped(meant['file'])} has no rows of {month}{span}."


def traces(case: Case) -> Iterator[str]:
    """Which rows, prices and formula the figures are from."""
    for use in case.uses:
        for breakdown in list(use.by.values())[:1]:
            source = breakdown["source"]
            rows = _rows(source["rows"])
            yield f"{escaped(use.name)}: {rows} of {source['of_rows']:,} that can be read."
            for price in source["prices"][:MAX_ROWS]:
                above = f" above {price['above']:,} input tokens" if price["above"] else ""
                yield (
                    f"“{escaped(price['named'])}” is `{price['model']}`{above}: ${price['input']:g} in, "
                    f"${price['cached']:g} cached, ${price['written']:g} written to the cache, ${price['output']:g} "
                    f"out per million tokens ({price['source']}, {price['as_of']})."
                )
            if source["prices"]:
                yield f"List price: {source['formula']}."


def outside(case: Case) -> Iterator[str]:
    """What was spent and is in no line of the bill."""
    month = per_month(case)
    for use in case.uses:
        breakdown = use.by.get("model")
        named = {price["named"] for price in breakdown["source"]["prices"]} if breakdown else set()
        for group in breakdown["groups"] if breakdown else []:
            spent = amount(group["amounts"], case.currency)
            if spent and group["label"] not in named and not find_model(group["label"]):
                yield (
                    f"{money(spent * month, case.currency)} a month for “{escaped(group['label'])}” is in no "
                    "saving: I know no price of it."
                )
            elif spent < 0:
                yield f"{money(spent, case.currency)} for “{escaped(group['label'])}” is a credit, in no saving."


def _about(use: FileUse, case: Case) -> Iterator[str]:
    whole = use.whole
    yield escaped(whole["recognised"], 400)
    span = f", {whole['first']} to {whole['last']} ({days(whole['days'])})" if whole["days"] else ", without days"
    yield f"{_rows(whole['rows_read'])} read, {whole['rows_left_out']:,} left out{span}."
    words = chosen(use.only)
    if words:
        total = next(iter(use.by.values()))["total"] if use.by else None
        yield f"**Only {words}**" + (f": {_rows(total['rows'])}." if total else ".")
    if words and whole["total"]["amounts"]["usd"] > 0 and case.currency == "USD" and use.by:
        spent, of = next(iter(use.by.values()))["total"]["amounts"]["usd"], whole["total"]["amounts"]["usd"]
        yield f"That is {money(spent, 'USD')} of the {money(of, 'USD')} in the whole file ({spent / of:.1%})."
    amounts = (next(iter(use.by.values()))["total"] if words and use.by else whole["total"])["amounts"]
    if amounts["basis"] in ("list", "mixed"):
        yield f"At list prices: {money(amounts['list_usd'], 'USD')} for all rows whose model is known."
    for paid in amounts["paid"]:
        yield f"Paid: {money(paid['amount'], paid['currency'])} by the cost column, {_rows(paid['rows'])}."
    if amounts["compared_rows"]:
        more = amounts["difference_usd"]
        yield (
            f"{_rows(amounts['compared_rows'])} with both a cost and a known price: "
            f"{money(amounts['compared_paid_usd'], 'USD')} paid, {money(amounts['compared_list_usd'], 'USD')} at list "
            f"prices: {money(abs(more), 'USD')} {'more' if more > 0 else 'less'} than the list."
        )
    if amounts["unpriced_rows"]:
        yield f"{_rows(amounts['unpriced_rows'])} with neither a cost nor a known price: in no amount."
    if not words and whole["days"]:
        months = " + ".join(f"{money(one['amount'], one['currency'])}" for one in whole["per_month"])
        if months:
            yield f"A month of it: {months}."


def _groups(title: str, breakdown: Breakdown, case: Case) -> Iterator[str]:
    title = title if title.startswith("Spend") else f"Spend {title}"
    yield from ("", f"## {title}")
    groups = breakdown["groups"][:MAX_ROWS]
    header = [breakdown["dimension"].capitalize(), "Rows", "Input tokens", "Output tokens", "Cached", "Failed"]
    header += ["Spend", "At list prices"]
    rows = [_row(group, case.currency) for group in groups]
    yield from table(header, *rows, _row({**breakdown["total"], "label": "All"}, case.currency))
    hidden = len(breakdown["groups"]) - len(groups) + breakdown["rest_groups"]
    if hidden:
        yield from ("", f"{hidden:,} more are in “All”.")


def _row(group: Group, currency: str) -> list[str]:
    tokens, amounts = group["tokens"], group["amounts"]
    return [
        escaped(group["label"]) or "(empty)",
        f"{group['rows']:,}",
        f"{tokens['input']:,}",
        f"{tokens['output']:,}",
        "–" if tokens["cached_share"] is None else f"{tokens['cached_share']:.1%}",
        "–" if group["error_rows"] is None else f"{group['error_rows']:,}",
        money(amount(amounts, currency), currency),
        money(amounts["list_usd"], "USD") if amounts["list_usd"] else "–",
    ]


def _waste(waste: Waste, case: Case) -> Iterator[str]:
    if waste["errors"] and waste["error_rows"]:
        cost = money(amount(waste["errors"], case.currency), case.currency)
        yield f"Errors: {_rows(waste['error_rows'])} ({waste['error_share'] or 0:.1%}) for {cost}."
    elif waste["error_rows"] == 0:
        yield "No row is an error."
    if waste["retries"] and waste["retry_rows"]:
        cost = money(amount(waste["retries"], case.currency), case.currency)
        yield f"Retries: {_rows(waste['retry_rows'])} for {cost}; not added to the errors, as what failed came before."
    if waste["unclear_statuses"]:
        yield f"Neither success nor error by name: {', '.join(escaped(one) for one in waste['unclear_statuses'])}."
    yield from (escaped(method, 300) for method in waste["methods"])


def _trend(trend: Trend, case: Case) -> Iterator[str]:
    currency = case.currency
    slope = trend["slope_usd_per_day"]
    if slope is None:
        yield "Fewer than 3 whole days: no trend."
    else:
        change = trend["change_per_30_days"]
        part = f", {change:+.1%} of the usual day in 30 days" if change is not None else ""
        yield f"Spend a day changes by {money(slope, currency)} every day{part}. Method: {trend['trend_method']}."
    if trend["last_7_days_usd"] is not None and trend["days_before_usd"] is not None:
        last, before = money(trend["last_7_days_usd"], currency), money(trend["days_before_usd"], currency)
        yield f"The last 7 whole days cost {last}, the 7 before them {before}."
    for one in trend["anomalies"][:MAX_ITEMS]:
        yield (
            f"**{one['day']}** cost {money(one['usd'], currency)}, usual is {money(one['usual_usd'], currency)} "
            f"({one['score']:+.1f} robust standard deviations)."
        )
    if trend["days"] >= 7:
        found = "" if trend["anomalies"] else "No day stands out. "
        yield f"{found}Method: {trend['anomaly_method']}."


def _latency(use: FileUse) -> Iterator[str]:
    if not use.latency:
        return
    latency = use.latency
    yield from ("", "## Latency")
    rows = [
        [
            escaped(one["label"]) or "(empty)",
            f"{one['rows']:,}",
            *(f"{one[key]:,.0f} ms" for key in ("p50", "p90", "p99", "mean")),
            "–" if one["output_tokens_per_second"] is None else f"{one['output_tokens_per_second']:,.1f}",
        ]
        for one in [*latency["groups"][:MAX_ROWS], latency["all"]]
    ]
    yield from table(["Requests of", "Rows", "p50", "p90", "p99", "Mean", "Output tokens a second"], *rows)
    yield from ("", escaped(latency["method"], 300))


def days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
