"""Speed and load: how long requests take, how many there are, what a goal or growth means, in lines of the answer."""

from collections.abc import Iterator

from agents.advisor.answers import LatencyGoal, Load, Times, Within
from agents.advisor.case import Case, FileUse
from agents.advisor.levers import LEVERS
from agents.advisor.markdown import Amounts, escaped, section, table
from agents.advisor.savings import Totals

EXPLAINS = 0.3  # of R², from which on the length of the answer is worth naming as what makes requests slow
MAX_ROWS = 12


def speed_and_load(case: Case, totals: Totals | None) -> Iterator[str]:
    """Latency and capacity, where they were asked for."""
    if "latency" in case.question["topics"]:
        yield from _latency(case)
    if "capacity" in case.question["topics"]:
        yield from _load(case, totals)


def answer_in_short(case: Case, totals: Totals | None) -> Iterator[str]:
    """The first lines of an answer about speed or load."""
    figures, amounts = case.figures, Amounts(case.unit)
    goal, growth = figures["latency_goal"], figures["growth"]
    for use in case.uses:
        if use.goal and "latency" in case.question["topics"]:
            found = use.goal["all"]
            yield (
                f"**{found['share']:.1%} of the requests in {escaped(use.name)} take {goal:g} s or less today**; "
                f"half of "
                f"them take up to {_ms(found['p50'])}."
            )
        elif use.latency and "latency" in case.question["topics"]:
            times = use.latency["all"]
            yield (
                f"**Half of the requests in {escaped(use.name)} take up to {_ms(times['p50'])}, one in ten longer than "
                f"{_ms(times['p90'])}.**"
            )
    if not case.uses and "latency" in case.question["topics"]:
        if case.capacity and case.capacity["latency_cut"] is not None:
            yield (
                f"**From {figures['latency']:g} s to {goal:g} s is {case.capacity['latency_cut']:.0%} less time for "
                f"each "
                "request.** Which change gives that depends on where the time goes now, and prices do not tell."
            )
        else:
            yield "How fast a model answers has to be measured: I have prices, and no measurements of my own."
    if growth and growth != 1 and "capacity" in case.question["topics"]:
        if totals and not case.percent:
            yield (
                f"**{growth:g} times the traffic costs {amounts.monthly(totals['monthly_spend'] * growth)} as it is, "
                f"{amounts.monthly(totals['monthly_after'] * growth)} after the steps.**"
            )
        else:
            yield (
                f"**{growth:g} times the traffic costs {growth:g} times as much** at list prices, which know no "
                f"discount "
                "for volume, and needs as much more of your vendor's limits."
            )


def _latency(case: Case) -> Iterator[str]:
    figures = case.figures
    goal = figures["latency_goal"]
    yield from section("What the times say", [*_measured(case), *_from_words(case)])
    for use in case.uses:
        if use.goal and use.latency:
            yield from _within(use.goal, use.latency["groups"])
    yield from ("", "## How to get there", "")
    yield from (f"{number}. {words}" for number, words in enumerate(_ways(case), 1))
    rows = [[about.name, about.latency] for about in LEVERS.values()]
    rows.insert(
        0, ["Shorter answers", "Generating the answer is usually most of the time, and ends with its last token."]
    )
    rows.insert(1, ["Streaming", "The first words come as soon as they are there; the last one comes no sooner."])
    yield from ("", "## What each lever does to the time")
    yield from table(["Lever", "Effect on a request"], *rows)
    unknown = ["The time to the first token: no export has it, and it is what somebody who reads along waits for."]
    if not any(use.latency for use in case.uses):
        unknown.insert(0, "How long your requests take, by model and feature: a file with `latency_ms` says that.")
        if not figures["output_per_request"]:
            unknown.append("How long your answers are: `output_tokens` in the same file.")
    targets = sorted({plan["target"] for plan in case.plans if plan["target"]})
    timed = {one["label"] for use in case.uses if use.latency for one in use.latency["groups"]}
    if unmeasured := [target for target in targets if target not in timed]:
        unknown.append(
            f"How fast {', '.join(unmeasured)} would be for your requests: send some of them there and measure."
        )
    if goal and not figures["latency"]:
        unknown.append(f"What a request takes now, to compare with {goal:g} s.")
    yield from section("What is not known", unknown)


def _ways(case: Case) -> Iterator[str]:
    """What to do for speed, in order; what the file shows of it."""
    goal = case.figures["latency_goal"]
    slow = [
        f"{escaped(worst['label'])} ({worst['share']:.1%} within {goal:g} s)"
        for use in case.uses
        if use.goal
        for parts in (use.goal["models"], use.goal["features"])
        for worst in [
            min((one for one in parts if one["rows"] >= MIN_ROWS), key=lambda one: one["share"], default=None)
        ]
        if worst and len(parts) > 1
    ]
    short = any(use.goal and (use.goal["fit"] or 0) >= EXPLAINS for use in case.uses)
    yield (
        "Stream the answer, where a person reads it: low effort (front-end engineer). See the first words come sooner."
    )
    if slow:
        yield (
            f"Begin where it is slowest: {', '.join(slow)} (backend engineer). The next export shows it by the "
            f"same table."
        )
    if short or not case.uses:
        yield (
            "Ask for shorter answers and cap `max_tokens` (author of the prompts). Watch for answers that break "
            "off; the "
            "former limit is the way back."
        )
    yield (
        "Put what never changes at the front of the prompt, so that it is cached: low effort (backend engineer). The "
        "cached share of the input rises."
    )
    yield (
        "Run a smaller model beside the present one on 100 of your own requests, and compare p50, p90 and the "
        "answers (AI "
        "engineer). Send the traffic back if either gets worse."
    )
    yield "Make calls that do not need each other side by side, and cut those that nobody reads (backend engineer)."


def _measured(case: Case) -> Iterator[str]:
    for use in case.uses:
        if use.latency:
            times, name = use.latency["all"], escaped(use.name)
            yield (
                f"{name}: p50 {_ms(times['p50'])}, p90 {_ms(times['p90'])}, p99 {_ms(times['p99'])}, mean "
                f"{_ms(times['mean'])}, of {times['rows']:,} requests."
            )
            groups = [one for one in use.latency["groups"] if one["rows"] >= MIN_ROWS]
            if len(groups) > 1:
                slow, fast = max(groups, key=lambda one: one["p50"]), min(groups, key=lambda one: one["p50"])
                yield (
                    f"By p50 {escaped(slow['label'])} is the slowest ({_ms(slow['p50'])}) and "
                    f"{escaped(fast['label'])} the "
                    f"fastest ({_ms(fast['p50'])}) with at least {MIN_ROWS} requests."
                )
        if use.goal:
            yield from _line(use.goal)


MIN_ROWS = 30


def _line(goal: LatencyGoal) -> Iterator[str]:
    """What the length of the answer explains."""
    slope, before, fit = goal["ms_per_output_token"], goal["ms_before"], goal["fit"]
    if slope is None or before is None or fit is None:
        yield "The time does not grow with the length of the answer in this file: shorter answers would not help."
        return
    if fit < EXPLAINS:
        yield (
            f"The length of the answer explains little of the time (R² {fit:.2f}, {goal['fitted_rows']:,} "
            f"requests): look "
            "at the slow models and features, the vendor's load and the network before you shorten answers."
        )
        return
    yield (
        f"A request takes about {_ms(before)} and {slope:,.3g} ms more for each output token (R² {fit:.2f}, "
        f"{goal['fitted_rows']:,} requests)."
    )
    mean = goal["all"]["mean_output"]
    if goal["output_tokens_at_goal"] is not None and mean is not None:
        fits = goal["output_tokens_at_goal"]
        yield f"By that line an answer of {fits:,.0f} tokens takes {_ms(goal['goal_ms'])}; today's mean is {mean:,.0f}."
    elif goal["output_tokens_at_goal"] is None:
        yield (
            f"By that line even an empty answer takes longer than {_ms(goal['goal_ms'])}: shortening alone cannot "
            f"do it."
        )


def _within(goal: LatencyGoal, times: list[Times]) -> Iterator[str]:
    yield from ("", f"## Within {_ms(goal['goal_ms'])}")
    p90 = {one["label"]: one["p90"] for one in times}
    rows = [
        _within_row(kind, one, p90.get(one["label"]) if kind == "model" else None)
        for kind, parts in (("model", goal["models"]), ("feature", goal["features"]))
        for one in sorted(parts[:MAX_ROWS], key=lambda one: one["share"])
    ]
    yield from table(["Requests of", "Rows", "Within", "p50", "p90", "Output tokens, mean"], *rows)
    yield from ("", f"Method: {goal['method']}.")


def _within_row(kind: str, one: Within, p90: float | None) -> list[str]:
    return [
        f"{kind} {escaped(one['label'])}",
        f"{one['rows']:,}",
        f"{one['share']:.1%}",
        _ms(one["p50"]),
        "–" if p90 is None else _ms(p90),
        "–" if one["mean_output"] is None else f"{one['mean_output']:,.0f}",
    ]


def _from_words(case: Case) -> Iterator[str]:
    """What follows from times and counts alone."""
    figures, capacity = case.figures, case.capacity
    if figures["speed_factor"] and figures["latency"]:
        yield f"{figures['speed_factor']:g} times as fast is {figures['latency'] / figures['speed_factor']:.3g} s each."
    if not capacity:
        return
    if capacity["latency_cut"] is not None:
        yield f"From {figures['latency']:g} s to {figures['latency_goal']:g} s is {capacity['latency_cut']:.0%} less."
    if capacity["tokens_per_second"] is not None and not any(use.goal for use in case.uses):
        yield f"{capacity['tokens_per_second']:,.3g} output tokens a second, if all the time is generation."
        if capacity["answer_tokens_at_goal"] is not None:
            yield (
                f"At that speed {capacity['answer_tokens_at_goal']:,.0f} tokens fit into {figures['latency_goal']:g} s."
            )


def _load(case: Case, totals: Totals | None) -> Iterator[str]:
    figures, capacity = case.figures, case.capacity
    growth = figures["growth"] or 1.0
    items: list[str] = []
    peaked = any(use.load for use in case.uses)
    if capacity and capacity["requests_per_second"] and not peaked:
        items.append(f"{capacity['requests_per_second'] * 60:,.3g} requests a minute on average over the month.")
    if capacity and capacity["in_flight"] is not None and not peaked:
        after = capacity["in_flight_after_growth"]
        items.append(
            f"At {figures['latency']:g} s each, {capacity['in_flight']:,.3g} are in flight on average"
            + (f"; with {growth:g} times the traffic it is {after:,.3g} in flight." if after else ".")
        )
    for use in case.uses:
        if use.load:
            items += _peaks(use, use.load, growth)
        elif not use.whole["single_requests"]:
            items.append(f"{escaped(use.name)} has sums and no single requests, so it shows no peaks.")
    if not peaked:
        items.append("Peaks are what limits bite on, and averages hide them: a file with one row a request shows them.")
    yield from section("Load", items)
    for use in case.uses:
        if use.load and use.load["models"]:
            yield from _peak_table(use.load, growth)
    yield from ("", "## How to prepare", "")
    yield from (f"{number}. {words}" for number, words in enumerate(_preparations(case, growth), 1))
    yield from section(
        "What is not known",
        [
            "Your limits of requests and tokens a minute: they stand in your account at the vendor, not in usage data.",
            "Whether growth comes evenly or in peaks: the figures take the peaks to grow as the rest does.",
            "Discounts for volume or reserved capacity: list prices have none.",
        ],
    )


def _peaks(use: FileUse, load: Load, growth: float) -> Iterator[str]:
    peak = load["all"]
    yield (
        f"{escaped(use.name)}: {load['mean_requests_per_minute']:,.3g} requests a minute on average, "
        f"{peak['requests_per_minute']:,.0f} in the busiest minute ({load['busiest']} UTC)."
    )
    if load["in_flight"] is not None:
        after = f", {load['in_flight'] * growth:,.3g} with {growth:g} times the traffic" if growth != 1 else ""
        yield f"At most {load['in_flight']:,.3g} requests are at work at a time{after}."
    if peak["throttled_rows"]:
        yield (
            f"{peak['throttled_rows']:,} of {load['source']['rows']:,} requests were refused for a limit already: more "
            "traffic makes that more, unless the limits grow with it."
        )
    elif peak["throttled_rows"] == 0:
        yield "No request was refused for a limit."
    yield f"Method: {load['method']}."


def _peak_table(load: Load, growth: float) -> Iterator[str]:
    yield from ("", "## Limits to have")
    header = ["Model", "Requests a minute, peak", "Tokens a minute, peak", "Refused"]
    if growth != 1:
        header[3:3] = [f"Requests × {growth:g}", f"Tokens × {growth:g}"]
    rows = []
    for one in load["models"][:MAX_ROWS]:
        row = [escaped(one["label"]), f"{one['requests_per_minute']:,.0f}", f"{one['tokens_per_minute']:,.0f}"]
        if growth != 1:
            row += [f"{one['requests_per_minute'] * growth:,.0f}", f"{one['tokens_per_minute'] * growth:,.0f}"]
        rows.append([*row, "–" if one["throttled_rows"] is None else f"{one['throttled_rows']:,}"])
    yield from table(header, *rows)


def _preparations(case: Case, growth: float) -> Iterator[str]:
    peaked = any(use.load for use in case.uses)
    yield (
        "Compare the limits in your account with "
        + ("the table above" if peaked else "your busiest minute")
        + (f", times {growth:g}" if growth != 1 and not peaked else "")
        + ", and ask the vendor to raise what is too low: that takes time."
    )
    yield "Before that, replay recorded traffic at the higher rate against a test account and watch refusals and p99."
    yield (
        "Put a queue with a cap in front of the model, and send what nobody waits for as batches, which have own "
        "limits."
    )
    yield "Wait before each retry, longer every time: retries at the limit are what turns a peak into an outage."
    yield "Have a second model or vendor tested and ready to take over when the first refuses."
    if case.plans:
        yield "Take the steps that save first: what is cached, trimmed or moved needs less of the same limits."


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms"
