"""Optimization: cheaper models for the same tokens, and what the levers save together."""

from collections.abc import Iterator
from typing import get_args

from agents.advisor.bills import amount, per_month, side_by_side
from agents.advisor.case import Candidate, Case, Line, Need, Plan, Reuse, Saving, Shares
from agents.advisor.figures import Share
from agents.advisor.levers import Lever, worth
from agents.advisor.prices import VENDORS, Price, blended_input, cheaper_candidates, price_lookup
from agents.agent import Turn

# Used where the message says nothing, and named in the answer as assumed.
ASSUMED: Shares = {"move": 0.5, "batch": 0.1, "tier": 0.1, "reuse": 0.0, "repeat": 0.3, "trim": 0.1, "hit": 0.8}
# Of what errors and retries cost, the part that pausing before a retry and fixing bad requests would spare.
AVOIDABLE = 0.5
# OpenAI and Anthropic cache no shorter prompts.
MIN_CACHED_PROMPT = 1024
# A change of model has to be worth its testing, and the list of models short enough to read.
WORTH_MOVING = 2 / 3
TIER_STEP = 0.5
SAME_COST = 0.75
OTHER_VENDORS = 4


def compare_models(line: Line, asked: list[str]) -> list[Candidate]:
    """The same tokens on other models: the `asked` ones, steps down at the same vendor, one each of other vendors."""
    prompt = line["prompt_tokens"]
    window = prompt if prompt is not None else line["price"]["context_window"] or 0
    worth = [
        candidate
        for candidate in (_candidate(line, price) for price in cheaper_candidates(line["price"], window, prompt))
        if candidate["monthly_cost"] <= line["monthly_spend"] * WORTH_MOVING
    ]
    chosen = [_candidate(line, price_lookup(model, prompt), True) for model in asked if model != line["price"]["model"]]
    by_vendor: dict[str, list[Candidate]] = {vendor: [] for vendor in (line["price"]["vendor"], *VENDORS)}
    for candidate in worth:
        if candidate["price"]["model"] not in asked:
            by_vendor[candidate["price"]["vendor"]].append(candidate)
    same, *others = by_vendor.values()
    ceiling = line["monthly_spend"]
    while step := _dearest(same, ceiling):
        chosen.append(step)
        ceiling = step["monthly_cost"] * TIER_STEP
    alternatives = [_dearest(other, line["monthly_spend"] / 2) for other in others]
    return chosen + [one for one in alternatives if one][:OTHER_VENDORS]


def _dearest(candidates: list[Candidate], ceiling: float) -> Candidate | None:
    """The dearest under the ceiling; of those at about its cost the one with the widest context, then the latest."""
    below = [one for one in candidates if one["monthly_cost"] <= ceiling]
    if not below:
        return None
    top = max(one["monthly_cost"] for one in below)
    alike = [one for one in below if one["monthly_cost"] >= top * SAME_COST]
    return max(alike, key=lambda one: (one["price"]["context_window"] or 0, one["monthly_cost"], one["price"]["model"]))


def _candidate(line: Line, price: Price, asked: bool = False) -> Candidate:
    # A discount is one vendor's: elsewhere the list price counts. Another currency carries over with the ratio.
    scale = line["scale"] if price["vendor"] == line["price"]["vendor"] else max(line["scale"], line["elsewhere"])
    cost = line["input_mtok"] * blended_input(price, line["cached_share"]) + line["output_mtok"] * price["output"]
    saving = line["monthly_spend"] - cost * scale
    return {"price": price, "monthly_cost": cost * scale, "monthly_saving": saving, "asked": asked, "scale": scale}


def savings_plan(
    line: Line,
    candidates: list[Candidate],
    shares: Shares,
    goal_saving: float | None,
    levers: list[Lever] | None = None,
) -> Plan:
    """The levers, or only these, together, each on what those before it leave: never below 0, never above the bill.

    The target is the model that was asked for, if it is cheaper. Else it is the vendor's dearest step down that reaches
    the goal, or without a goal the dearest that halves the cost: price is the only sign of ability that the list has.
    """
    targets = _targets(line, candidates)
    target = None
    for target in targets:
        enough = line["monthly_spend"] / 2 if goal_saving is None else goal_saving
        saved = target["monthly_saving"] if goal_saving is None else _saving(line, target, shares)
        if target["asked"] or saved >= enough:
            break
    price = target["price"] if target else None
    savings = _savings(line, target, shares, levers)
    saving = sum(step["saving"] for step in savings)
    missed = goal_saving is not None and saving < goal_saving * (1 - 1e-9)
    return {
        "model": line["price"]["model"],
        "target": price["model"] if price else None,
        "savings": savings,
        "shares": shares,
        "monthly_spend": line["monthly_spend"],
        "monthly_saving": min(saving, line["monthly_spend"]),
        "goal_saving": goal_saving,
        "need": _need(line, targets, shares, goal_saving) if missed and goal_saving is not None else None,
    }


def _targets(line: Line, candidates: list[Candidate]) -> list[Candidate]:
    # Dearer on one side could cost more for another mix of tokens than the assumed one.
    cheaper = [
        candidate
        for candidate in candidates
        if candidate["monthly_saving"] > 0
        and candidate["price"]["output"] * candidate["scale"] <= line["price"]["output"] * line["scale"]
        and blended_input(candidate["price"], line["cached_share"]) * candidate["scale"]
        <= blended_input(line["price"], line["cached_share"]) * line["scale"]
    ]
    same = [candidate for candidate in cheaper if candidate["price"]["vendor"] == line["price"]["vendor"]]
    return [candidate for candidate in cheaper if candidate["asked"]] or same or cheaper


def _savings(line: Line, target: Candidate | None, shares: Shares, levers: list[Lever] | None = None) -> list[Saving]:
    spend = line["monthly_spend"]
    alone = {lever: max(0.0, spend - _cost(line, target, shares, {lever})) for lever in levers or get_args(Lever)}
    order = sorted(
        (lever for lever in alone if alone[lever] > spend * 1e-12),
        key=lambda lever: (-worth(lever, alone[lever]), lever),
    )
    savings: list[Saving] = []
    pulled: set[Lever] = set()
    left = spend
    for lever in order:
        pulled.add(lever)
        cost = min(left, max(0.0, _cost(line, target, shares, pulled)))
        savings.append({"lever": lever, "alone": alone[lever], "saving": left - cost})
        left = cost
    return savings


def _saving(line: Line, target: Candidate | None, shares: Shares) -> float:
    return sum(step["saving"] for step in _savings(line, target, shares))


def _cost(line: Line, target: Candidate | None, shares: Shares, levers: set[Lever]) -> float:
    """Dollars a month with these levers pulled. Caching, batch and tier count only on the traffic that stays."""
    price, cached = line["price"], line["cached_share"]
    move = shares["move"] if "move" in levers and target else 0.0
    batch = shares["batch"] if "batch" in levers and price["batch_input"] is not None else 0.0
    repeat = shares["repeat"] if "cache" in levers else 0.0
    trim = shares["trim"] if "trim" in levers else 0.0
    tier = shares["tier"] if "tier" in levers else 0.0
    reuse = shares["reuse"] if "reuse" in levers else 0.0

    now = blended_input(price, cached)
    live_input = now - repeat * (1 - cached) * _cache_gain(price, shares["hit"])
    batch_input, batch_output = now, price["output"]
    if price["batch_input"] is not None and price["batch_output"] is not None:
        batch_input = now - (1 - cached) * (price["input"] - price["batch_input"])
        batch_output = price["batch_output"]
    live_output = price["output"]
    if price["flex_input"] is not None and price["flex_output"] is not None:
        live_input *= 1 - tier * (1 - price["flex_input"] / price["input"])
        live_output *= 1 - tier * (1 - price["flex_output"] / price["output"])
    stay_input = (1 - batch) * live_input + batch * batch_input
    stay_output = (1 - batch) * live_output + batch * batch_output
    # What is paid for a dollar of the list on the target, against the same on this model.
    ratio = target["scale"] / line["scale"] if target else 0.0
    moved_input = blended_input(target["price"], cached) * ratio if target else 0.0
    moved_output = target["price"]["output"] * ratio if target else 0.0
    inputs = line["input_mtok"] * (1 - trim) * ((1 - move) * stay_input + move * moved_input)
    outputs = line["output_mtok"] * ((1 - move) * stay_output + move * moved_output)
    spared = line["wasted_share"] * AVOIDABLE if "retries" in levers else 0.0
    return (inputs + outputs) * line["scale"] * (1 - spared) * (1 - reuse)


def _cache_gain(price: Price, hit: float) -> float:
    """Dollars per million repeated input tokens, after paying for the writes to the cache that miss."""
    if price["cache_read"] is None:
        return 0.0
    missed = price["input"] if price["cache_write"] is None else price["cache_write"]
    return max(0.0, price["input"] - hit * price["cache_read"] - (1 - hit) * missed)


def _need(line: Line, targets: list[Candidate], shares: Shares, goal_saving: float) -> Need | None:
    """The least step down that reaches the goal with more of the traffic moved; None where not even all of it would."""
    for target in targets:
        least = _saving(line, target, {**shares, "move": 0.0})
        most = _saving(line, target, {**shares, "move": 1.0})
        if most >= goal_saving > least:
            # The cost is a straight line in the share that moves.
            return {"model": target["price"]["model"], "move": min(1.0, (goal_saving - least) / (most - least))}
    return None


def reuse_bounds(
    monthly_spend: float,
    cache_saving: float,
    goal_saving: float | None,
    repeated_spend: float | None,
    repeated_share: float | None,
) -> Reuse:
    """What semantic caching could save at most, and how much of it the goal would take beside prompt caching."""
    left = monthly_spend - cache_saving
    needed = None
    if goal_saving is not None and 0 < goal_saving < monthly_spend:
        needed = max(0.0, 1 - (monthly_spend - goal_saving) / left) if left > 0 else 0.0
    return {
        "tenth": monthly_spend / 10,
        "most": None if repeated_spend is None else min(max(0.0, repeated_spend), monthly_spend),
        "most_share": repeated_share,
        "needed_share": needed,
    }


async def optimization(turn: Turn, case: Case) -> None:
    case.goal_saving = goal_saving(case)
    levers: list[Lever] | None = ["move"] if case.question["scenario"] else None

    async def one(line: Line) -> tuple[list[Candidate], Plan]:
        await turn.think(f"Comparing what the tokens of {line['price']['model']} would cost elsewhere")
        candidates = await turn.call(compare_models, line=line, asked=case.figures["asked"])
        part = line["monthly_spend"] / case.spend if case.spend else 0.0
        plan = await turn.call(
            savings_plan,
            line=line,
            candidates=candidates,
            shares=shares_of(case, line),
            # The goal is one for the whole bill, of which a scenario moves a part.
            goal_saving=None if case.goal_saving is None or levers else case.goal_saving * part,
            levers=levers,
        )
        return candidates, plan

    found = await side_by_side(one(line) for line in case.lines)
    case.candidates, case.plans = [candidates for candidates, _ in found], [plan for _, plan in found]
    if not case.question["scenario"] and "reuse" not in _given(case):
        repeats = [use.repeats for use in case.uses if use.repeats]
        rows = sum(one["of_rows"] for one in repeats)
        spent = sum(amount(one["amounts"], case.currency) for one in repeats) * per_month(case)
        cached = [saving for plan in case.plans for saving in plan["savings"] if saving["lever"] == "cache"]
        case.reuse = await turn.call(
            reuse_bounds,
            monthly_spend=case.spend,
            cache_saving=sum(saving["alone"] for saving in cached),
            goal_saving=case.goal_saving,
            repeated_spend=spent if rows else None,
            repeated_share=sum(one["rows"] for one in repeats) / rows if rows else None,
        )
    case.assumptions += explain(case)
    turn.summary = f"{sum(len(plan['savings']) for plan in case.plans)} ways to save."


def goal_saving(case: Case) -> float | None:
    """US dollars a month that the goal asks for, a negative ceiling excess as 0; None without a goal."""
    goal = case.figures["goal"]
    if goal is None or (case.percent and goal["kind"] != "percent"):
        return None
    if goal["kind"] == "percent":
        return case.base * goal["value"]
    return max(0.0, case.base - goal["value"]) if goal["kind"] == "ceiling" else goal["value"]


def shares_of(case: Case, line: Line) -> Shares:
    """The message's shares, and assumed ones for the rest."""
    given = _given(case)
    shares: Shares = {**ASSUMED}
    if "simple" in given or "workload" in given:
        shares["move"] = (given.get("simple") or given["workload"])["share"]
    elif case.question["scenario"]:
        shares["move"] = 1.0
    for lever in ("batch", "tier", "reuse"):
        if lever in given:
            shares[lever] = given[lever]["share"]
    prompt = line["prompt_tokens"]
    if "repeated" in given:
        shares["repeat"] = given["repeated"]["share"]
    elif "cached" in given or (prompt and prompt < MIN_CACHED_PROMPT):
        shares["repeat"] = 0.0
    elif line["cached_known"]:
        # What is read from the cache today is a part of what is assumed to repeat.
        cached = line["cached_share"]
        shares["repeat"] = (ASSUMED["repeat"] - cached) / (1 - cached) if cached < ASSUMED["repeat"] else 0.0
    return shares


def _given(case: Case) -> dict[str, Share]:
    return {share["kind"]: share for share in reversed(case.figures["shares"])}


def explain(case: Case) -> Iterator[str]:
    """What the plans rest on that neither message nor file said, and why a lever is not in them."""
    given = _given(case)
    levers = {saving["lever"] for plan in case.plans for saving in plan["savings"]}
    if "move" in levers:
        named = given.get("simple") or given.get("workload")
        if named:
            yield f"The {named['share']:.0%} that you name (“{named['label']}”) can move to a cheaper model."
        elif case.question["scenario"]:
            yield "All of this traffic moves, and nothing else changes."
        else:
            yield f"{ASSUMED['move']:.0%} of the traffic is simple enough for a cheaper model (assumed)."
    if case.question["scenario"]:
        return
    if "batch" in levers and "batch" not in given:
        yield f"{ASSUMED['batch']:.0%} of the traffic can wait for a batch (assumed)."
    if "tier" in levers and "tier" not in given:
        yield f"{ASSUMED['tier']:.0%} of what is no batch may take minutes, so the flex tier will do (assumed)."
    yield from _explain_caching(case, given, "cache" in levers)
    if "trim" in levers:
        yield f"{ASSUMED['trim']:.0%} of the input tokens can be cut without loss (assumed)."
    if "retries" in levers:
        yield f"{AVOIDABLE:.0%} of what errors and retries cost can be avoided (assumed)."


def left_out(case: Case) -> Iterator[str]:
    """The levers that are in no sum, and why."""
    if case.question["scenario"]:
        return
    levers = {saving["lever"] for plan in case.plans for saving in plan["savings"]}
    models = [line["price"]["model"] for line in case.lines]
    if "cache" not in levers:
        yield "Prompt caching: see the assumptions for what is cached already, too short or without a price."
    if "tier" not in levers:
        yield f"Flex tier: the price list has no flex price for {', '.join(models)}."
    if "retries" not in levers and case.uses:
        known = any(use.waste and use.waste["error_rows"] is not None for use in case.uses)
        yield "Retry hygiene: " + (
            "no money went into failed requests." if known else "the file does not tell failed requests apart."
        )
    elif "retries" not in levers:
        yield "Retry hygiene: a message does not say what failed requests cost; a usage file with a status does."
    for line in case.lines:
        price = line["price"]
        if price["batch_input"] is None:
            yield f"Batch processing: the price list has no batch price for {price['model']}."
    for plan in case.plans:
        if not plan["target"]:
            yield f"Cheaper model: the price list has none for {plan['model']} that is cheaper for input and output."


def _explain_caching(case: Case, given: dict[str, Share], counted: bool) -> Iterator[str]:
    known = [line for line in case.lines if line["cached_known"]]
    if counted:
        if known and "repeated" not in given:
            shares = ", ".join(f"{line['cached_share']:.1%} of {line['price']['model']}" for line in known)
            yield (
                f"{ASSUMED['repeat']:.0%} of the input tokens repeat (assumed); the file says how much of it is cached "
                f"already ({shares}), and only the rest is counted."
            )
        elif "repeated" not in given:
            yield f"{ASSUMED['repeat']:.0%} of the input tokens repeat and are not cached yet (assumed)."
        yield f"{ASSUMED['hit']:.0%} of the repeats are found in the cache (assumed)."
        return
    if "cached" in given:
        yield f"{given['cached']['share']:.0%} of the input is cached already; more caching is not counted."
        return
    short = [line for line in case.lines if line["prompt_tokens"] and line["prompt_tokens"] < MIN_CACHED_PROMPT]
    for line in case.lines:
        prompt, model = line["prompt_tokens"], line["price"]["model"]
        if line in short:
            of = f" of {model}" if len(case.lines) > 1 else ""
            yield (
                f"Prompts{of} of {prompt:,.0f} tokens are too short to be cached (usually {MIN_CACHED_PROMPT:,} at "
                "least)."
            )
        elif line["price"]["cache_read"] is None:
            yield f"The price list has no price of cached input for {model}, so caching is not counted."
    cached = [
        f"{line['cached_share']:.1%} of {line['price']['model']}"
        for line in case.lines
        if line not in short and line["cached_known"] and line["cached_share"] >= ASSUMED["repeat"]
    ]
    if cached:
        yield f"Of the input is cached already: {', '.join(cached)}; more is not counted."
