"""Findings: what the usage files say, as lines of the answer. Every amount is of a tool's result."""

from collections.abc import Iterator, Sequence

from agents.advisor.answers import Amounts, Breakdown, Group, Only, Trend, Waste
from agents.advisor.bills import amount, per_month
from agents.advisor.case import Case, FileUse
from agents.advisor.markdown import escaped, money, section, table
from agents.advisor.prices import find_model
from agents.advisor.question import Part, asked_period

MAX_ROWS = 12
MAX_PERIODS = 31
MAX_ITEMS = 10


SPEND: tuple[Part, ...] = ("model", "feature", "user")


def findings(case: Case, parts: Sequence[Part] = (*SPEND, "errors", "trend", "latency")) -> Iterator[str]:
    """What each file is, and these parts of what it says."""
    for use in case.uses:
        yield from section(f"What {escaped(use.name)} says", list(_about(use, case)))
        yield from _parts(use, case, parts)


def shown(case: Case) -> Iterator[str]:
    """The figures that were asked for, and which rows they are of."""
    parts, period = case.question["parts"], asked_period(case.text)
    for use in case.uses:
        if period and period in use.by:
            yield from _groups(period, use.by[period], case, MAX_PERIODS)
        yield from _parts(use, case, parts or (() if period else SPEND))
        yield from section(f"What {escaped(use.name)} says", list(_rows_of(use, case)))


def _parts(use: FileUse, case: Case, parts: Sequence[Part]) -> Iterator[str]:
    for part in SPEND:
        if part in parts and part in use.by and part not in use.only and not _is_untold(use.by[part]):
            yield from _groups(part, use.by[part], case, MAX_ROWS)
    if "errors" in parts and use.waste:
        yield from section("Paid for nothing", list(_waste(use.waste, case)))
        if "errors" in case.question["parts"]:
            yield from _failures(use.waste, case)
    if "trend" in parts and use.trend and not _unpriced(use.whole["total"]["amounts"], use.whole["total"]["rows"]):
        yield from section("Trend and days that stand out", list(_trend(use.trend, case)))
    if "latency" in parts and not use.goal:
        yield from _latency(use)


def shown_in_short(case: Case) -> Iterator[str]:
    """One line on the rows of each file: what they cost, when, and what most of it went into."""
    for use in case.uses:
        if not use.by:
            continue
        total = next(iter(use.by.values()))["total"]
        spent = amount(total["amounts"], case.currency)
        words = chosen(use.only)
        of = f" ({words})" if words else ""
        if case.question["parts"]:
            yield from _parts_in_short(use, case, of)
            continue
        cost = _cost(total["amounts"], total["rows"], case.currency)
        line = f"**{escaped(use.name)}{of}: {cost} for {_rows(total['rows'])}**"
        tops = [
            f"{escaped(groups[0]['label'])} ({amount(groups[0]['amounts'], case.currency) / spent:.0%})"
            for dimension in ("model", "feature", "user")
            if spent > 0 and dimension in use.by and dimension not in use.only
            for groups in [use.by[dimension]["groups"]]
            if len(groups) > 1
        ]
        yield line + (f"; most of it is {', '.join(tops)}." if tops else ".")
        if use.waste and use.waste["errors"] and use.waste["error_rows"]:
            lost = _cost(use.waste["errors"], use.waste["error_rows"], case.currency)
            yield f"Failed requests: {_rows(use.waste['error_rows'])}{_of_requests(use.waste)} for {lost}."


def _is_untold(breakdown: Breakdown) -> bool:
    """Whether the column has no value in any row."""
    return all(group["label"] == "(none)" for group in breakdown["groups"])


def _parts_in_short(use: FileUse, case: Case, of: str) -> Iterator[str]:
    """One line for each part that was asked for."""
    name, parts, total = f"{escaped(use.name)}{of}", case.question["parts"], next(iter(use.by.values()))["total"]
    if "errors" in parts and use.waste and use.waste["errors"] and use.waste["error_rows"] is not None:
        lost = _cost(use.waste["errors"], use.waste["error_rows"], case.currency)
        cost = _cost(total["amounts"], total["rows"], case.currency)
        failed = f"{use.waste['error_rows']:,} of {_rows(total['rows'])} failed{_of_requests(use.waste)}"
        yield f"**{name}: {failed}, for {lost} of {cost}.**"
    elif "errors" in parts:
        yield f"**{name} has no column that says which requests failed.**"
    if "latency" in parts and use.latency:
        times = use.latency["all"]
        half, most = f"{times['p50']:,.0f} ms", f"{times['p90']:,.0f} ms"
        yield f"**{name}: half of the requests take up to {half}, one in ten longer than {most}.**"
    elif "latency" in parts:
        yield f"**{name} does not say how long single requests take.**"
    if "trend" in parts:
        days = ", ".join(one["day"] for one in use.trend["anomalies"][:3]) if use.trend else ""
        yield f"**{name}: {f'spend on {days} stands out' if days else 'no day stands out'}.**"
    for part in SPEND:
        if part not in parts:
            continue
        groups = use.by[part]["groups"] if part in use.by else []
        if groups and not _unpriced(groups[0]["amounts"], groups[0]["rows"]):
            cost = _cost(groups[0]["amounts"], groups[0]["rows"], case.currency)
            yield f"**{name}: the {part} that cost most is {escaped(groups[0]['label'])}, {cost}.**"
        elif not groups:
            yield f"**{name} has no column for the {part}.**"


def chosen(only: Only) -> str:
    """The rows in words: “feature support, 2026-06-01 to 2026-06-30”."""
    words = [f"{key} {escaped(str(only[key]))}" for key in ("feature", "user", "model") if key in only]
    if "since" in only and "until" in only:
        words.append(only["since"] if only["since"] == only["until"] else f"{only['since']} to {only['until']}")
    return ", ".join(words)


def unread(case: Case) -> Iterator[str]:
    """What could not be read or priced, with line numbers and the nearest known models."""
    for use in case.uses:
        name = escaped(use.name)
        if use.whole["duplicates"]["rows"]:
            yield _duplicates(use, case)
        for problem in use.whole["problems"]:
            left = "left out" if problem["left_out"] else "kept"
            where = _where(problem["lines"], problem["rows"])
            yield f"{name}: {problem['what']}: {_rows(problem['rows'])}, {left}{where}."
        for unknown in use.whole["unknown_models"][:MAX_ITEMS]:
            near = f" Near to it are: {', '.join(unknown['nearest'])}." if unknown["nearest"] else ""
            yield f"{name}: I know no price of a model “{escaped(unknown['model'])}” ({_rows(unknown['rows'])}).{near}"
    for meant in case.meant:
        for month in meant["absent"]:
            whole = next((use.whole for use in case.uses if use.name == meant["file"]), None)
            span = f": it goes from {whole['first']} to {whole['last']}" if whole else ""
            yield f"{escaped(meant['file'])} has no rows of {month}{span}."


def _duplicates(use: FileUse, case: Case) -> str:
    found = use.whole["duplicates"]
    are = "is an exact duplicate" if found["rows"] == 1 else "are exact duplicates"
    cost = _cost(found["amounts"], found["rows"], case.currency)
    return (
        f"{escaped(use.name)}: {_rows(found['rows'])} {are} of another{_where(found['lines'], found['rows'])}; they "
        f"are counted, for {cost}. If the same requests were exported twice, send the file without them."
    )


def _where(lines: list[int], rows: int) -> str:
    """The first of the rows' lines: “ (lines 3, 4, …)”."""
    named = ", ".join(f"{line:,}" for line in lines) + (", …" if rows > len(lines) else "")
    return f" (line{'s' if len(lines) > 1 else ''} {named})" if lines else ""


def traces(case: Case) -> Iterator[str]:
    """Which rows, prices and formula the figures are from."""
    for use in case.uses:
        for breakdown in list(use.by.values())[:1]:
            source = breakdown["source"]
            rows = _rows(source["rows"])
            yield f"{escaped(use.name)}: {rows} of {source['of_rows']:,} that can be read."
            for price in source["prices"][:MAX_ROWS]:
                when = f" above {price['above']:,} input tokens" if price["above"] else ""
                when += f" at the {price['tier']} tier" if price["tier"] != "standard" else ""
                when += f" from {price['since']}" if price["since"] else ""
                when += f" until {price['until']}" if price["until"] else ""
                when += f", {price['hours']}" if price["hours"] else ""
                yield (
                    f"“{escaped(price['named'])}” is `{price['model']}`{when}: ${price['input']:g} in, "
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
    yield escaped(use.whole["recognised"], 400)
    yield from _rows_of(use, case)


def _rows_of(use: FileUse, case: Case) -> Iterator[str]:
    """Which rows the figures are of, and what they cost."""
    whole = use.whole
    span = f", {whole['first']} to {whole['last']} ({days(whole['days'])})" if whole["days"] else ", without days"
    same = whole["duplicates"]["rows"]
    again = f", {same:,} of them exact duplicates of another and counted" if same else ""
    yield f"{_rows(whole['rows_read'])} read{again}, {whole['rows_left_out']:,} left out{span}."
    if whole["total"]["requests"] is None:
        yield "How many requests these are, the file does not say, so no figure here is of a single request."
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


def _groups(dimension: str, breakdown: Breakdown, case: Case, most: int) -> Iterator[str]:
    yield from ("", f"## Spend by {dimension}")
    in_order = breakdown["dimension"] in ("day", "month")
    groups = breakdown["groups"][-most:] if in_order else breakdown["groups"][:most]
    header = [breakdown["dimension"].capitalize(), "Rows", "Input tokens", "Output tokens", "Cached", "Failed", "Spend"]
    whole: Group = {**breakdown["total"], "label": "All"}
    rows = [_row(group, case.currency) for group in [*groups, whole]]
    # Where nothing was paid by the file, spend is the list price.
    if any(group["amounts"]["paid"] for group in groups):
        header.append("At list prices")
    yield from table(header, *(row[: len(header)] for row in rows))
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
        _cost(amounts, group["rows"], currency),
        money(amounts["list_usd"], "USD") if amounts["list_usd"] else "–",
    ]


def _cost(amounts: Amounts, rows: int, currency: str) -> str:
    """What rows cost; of rows without a cost or a known price it is not known, which is not nothing."""
    return "an unknown amount" if _unpriced(amounts, rows) else money(amount(amounts, currency), currency)


def _unpriced(amounts: Amounts, rows: int) -> bool:
    return 0 < rows == amounts["unpriced_rows"]


def _waste(waste: Waste, case: Case) -> Iterator[str]:
    if waste["errors"] and waste["error_rows"]:
        cost = _cost(waste["errors"], waste["error_rows"], case.currency)
        yield f"Errors: {_rows(waste['error_rows'])}{_of_requests(waste)} for {cost}."
    elif waste["error_rows"] == 0:
        yield "No row is an error."
    if waste["retries"] and waste["retry_rows"]:
        cost = _cost(waste["retries"], waste["retry_rows"], case.currency)
        yield f"Retries: {_rows(waste['retry_rows'])} for {cost}; not added to the errors, as what failed came before."
    if waste["unclear_statuses"]:
        yield f"Neither success nor error by name: {', '.join(escaped(one) for one in waste['unclear_statuses'])}."
    for group in waste["by"].get("status", []):
        cost = _cost(group["amounts"], group["rows"], case.currency)
        yield f"Status {escaped(group['label'])}: {_rows(group['rows'])} for {cost}."
    if waste["errors"] is None and waste["retries"] is None:
        yield "The file does not tell which requests failed or were tried again."
    elif waste["methods"]:
        yield f"How it was counted: {' '.join(escaped(method, 300) for method in waste['methods'])}"


def _failures(waste: Waste, case: Case) -> Iterator[str]:
    for dimension in ("model", "feature"):
        groups = waste["by"].get(dimension, [])
        if groups:
            yield from ("", f"## Failed by {dimension}")
            rows = [
                [
                    escaped(group["label"]) or "(empty)",
                    f"{group['rows']:,}",
                    _cost(group["amounts"], group["rows"], case.currency),
                ]
                for group in groups
            ]
            yield from table([dimension.capitalize(), "Rows that failed", "Spend on them"], *rows)


def _of_requests(waste: Waste) -> str:
    return "" if waste["error_share"] is None else f" ({waste['error_share']:.1%} of the requests)"


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
        found = "" if trend["anomalies"] else "**No day stands out.** "
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
        for one in [*latency["groups"][:MAX_ROWS], *([latency["all"]] if len(latency["groups"]) > 1 else [])]
    ]
    yield from table(["Requests of", "Rows", "p50", "p90", "p99", "Mean", "Output tokens a second"], *rows)
    yield from ("", escaped(latency["method"], 300))


def days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
