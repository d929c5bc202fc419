"""Data: today's prices of the models that are used, and what the bill says about the tokens behind it."""

from agents.advisor.bills import read_files
from agents.advisor.case import Capacity, Case, Line
from agents.advisor.figures import INPUT_PER_OUTPUT, Figures
from agents.advisor.prices import blended_input, price_lookup
from agents.agent import AgentError, Turn

SECONDS_IN_MONTH = 365 * 86_400 / 12


def cost_breakdown(
    model: str,
    monthly_spend: float | None,
    input_mtok: float | None,
    output_mtok: float | None,
    input_per_output: float,
    cached_share: float,
    prompt_tokens: int | None,
) -> Line:
    """A month on a model: its tokens from the bill and their mix, or the bill from the tokens (millions a month).

    `cached_share` of the input is charged as cached already. `prompt_tokens` a request choose the rate.
    """
    price = price_lookup(model, prompt_tokens)
    input_rate, output_rate = blended_input(price, cached_share), price["output"]
    tokens_usd = None
    if input_mtok is not None or output_mtok is not None:
        inputs, outputs = input_mtok or 0.0, output_mtok or 0.0
        tokens_usd = inputs * input_rate + outputs * output_rate
        if monthly_spend is not None and tokens_usd > 0:
            scale = monthly_spend / tokens_usd
            inputs, outputs = inputs * scale, outputs * scale
    elif monthly_spend is not None:
        outputs = monthly_spend / (input_per_output * input_rate + output_rate)
        inputs = input_per_output * outputs
    else:
        raise AgentError("There is neither a bill nor a number of tokens to work from.")
    return {
        "price": price,
        "monthly_spend": inputs * input_rate + outputs * output_rate,
        "input_mtok": inputs,
        "output_mtok": outputs,
        "input_usd": inputs * input_rate,
        "output_usd": outputs * output_rate,
        "cached_share": cached_share,
        "prompt_tokens": prompt_tokens,
        "tokens_usd": tokens_usd if monthly_spend is not None else None,
        "scale": 1.0,
        "elsewhere": 1.0,
        "wasted_share": 0.0,
        "cached_known": False,
    }


def capacity(
    requests_per_month: float | None,
    latency: float | None,
    latency_goal: float | None,
    output_tokens: float | None,
    growth: float,
) -> Capacity:
    """What follows from a rate and a time (seconds): averages over the month, peaks are higher.

    Requests in flight are rate times time (Little's law). `answer_tokens_at_goal` is how long an answer can be if every
    token keeps taking the time it takes now.
    """
    rate = requests_per_month / SECONDS_IN_MONTH if requests_per_month else None
    flying = rate * latency if rate and latency else None
    speed = output_tokens / latency if output_tokens and latency else None
    return {
        "requests_per_second": rate,
        "in_flight": flying,
        "in_flight_after_growth": flying * growth if flying and growth != 1 else None,
        "tokens_per_second": speed,
        "latency_cut": 1 - latency_goal / latency if latency and latency_goal and latency_goal < latency else None,
        "answer_tokens_at_goal": speed * latency_goal if speed and latency_goal else None,
    }


async def data(turn: Turn, case: Case) -> None:
    figures = case.figures
    if any(one["usage"] for one in case.recognitions):
        await read_files(turn, case)
    await turn.think("Looking up the prices of the models that were named")
    if case.lines:
        # Of a file's models the bill is known: others that are named are what the traffic could go to.
        used = {line["price"]["model"] for line in case.lines}
        named = [model for model in figures["current"] if model not in used]
        figures["asked"] = list(dict.fromkeys([*named, *figures["asked"]]))
        if named:
            figures["notes"].append(f"In no row of the files, so only compared: {', '.join(named)}.")
    for model in dict.fromkeys(figures["current"] + figures["asked"]):
        case.prices.append(await turn.call(price_lookup, model=model, prompt_tokens=prompt_tokens(figures)))
    bills = [] if case.uses else split_bill(case)
    if bills:
        await turn.think("Working out the tokens behind the bill")
    inputs, outputs = monthly_mtok(case) if len(bills) == 1 else (None, None)
    for model, spend in bills:
        line = await turn.call(
            cost_breakdown,
            model=model,
            monthly_spend=spend,
            input_mtok=inputs,
            output_mtok=outputs,
            input_per_output=mix(case),
            cached_share=cached_share(figures),
            prompt_tokens=prompt_tokens(figures),
        )
        case.lines.append(line)
    if figures["latency"] or figures["requests_per_month"]:
        case.capacity = await turn.call(
            capacity,
            requests_per_month=figures["requests_per_month"],
            latency=figures["latency"],
            latency_goal=figures["latency_goal"],
            output_tokens=figures["output_per_request"],
            growth=figures["growth"] or 1.0,
        )
    turn.summary = f"Prices of {len(case.prices)} and bills of {len(case.lines)} models."
    if case.uses:
        rows = sum(use.whole["rows_read"] for use in case.uses)
        turn.summary = f"Read {rows:,} rows of usage; bills of {len(case.lines)} models."


def split_bill(case: Case) -> list[tuple[str, float | None]]:
    """Each model that is used with its dollars a month; None: to be worked out from the tokens."""
    figures, models = case.figures, case.figures["current"]
    spends = [spend["usd_per_month"] for spend in figures["spends"]]
    if case.percent:
        spends = [100.0]
    for spend in figures["spends"][:1] if len(models) > 1 else figures["spends"]:
        if not spend["period_given"]:
            case.assumptions.append(f"{spend['quote']} is a month's bill: the message names no period.")
    if not models:
        return []
    if not spends and figures["usd_per_request"] and figures["requests_per_month"]:
        spends = [figures["usd_per_request"] * figures["requests_per_month"]]
    if not spends:
        return [(models[0], None)] if monthly_mtok(case) != (None, None) else []
    if len(spends) == 1 and len(models) > 1:
        parts = _model_parts(case, models)
        return [(model, spends[0] * part) for model, part in zip(models, parts, strict=True) if part > 0]
    if len(spends) > len(models):
        case.assumptions.append(
            f"The message names {len(spends)} amounts but {len(models)} known "
            f"model{'s' if len(models) > 1 else ''}: the last {len(spends) - len(models)} were left out."
        )
    return list(zip(models, spends, strict=False))


def _model_parts(case: Case, models: list[str]) -> list[float]:
    given = {share["label"]: share["share"] for share in case.figures["shares"] if share["kind"] == "model"}
    rest = 1 - sum(given.get(model, 0) for model in models)
    open_models = [model for model in models if model not in given]
    if given and rest >= -1e-9 and (open_models or abs(rest) < 0.005):
        return [given.get(model, max(0.0, rest) / max(1, len(open_models))) for model in models]
    if given and not open_models:
        case.assumptions.append("The models' shares do not add up to 100 %, so they were scaled to it.")
        return [given[model] / sum(given.values()) for model in models]
    case.assumptions.append(f"The bill is split evenly between {', '.join(models)}: the message gives no split.")
    return [1 / len(models)] * len(models)


def monthly_mtok(case: Case) -> tuple[float | None, float | None]:
    """Million input and output tokens a month, as far as the message says."""
    figures = case.figures
    inputs, outputs = figures["input_per_month"], figures["output_per_month"]
    total = figures["tokens_per_month"]
    if inputs is None and outputs is None and figures["requests_per_month"]:
        requests = figures["requests_per_month"]
        inputs = requests * figures["input_per_request"] if figures["input_per_request"] else None
        outputs = requests * figures["output_per_request"] if figures["output_per_request"] else None
        total = requests * figures["tokens_per_request"] if figures["tokens_per_request"] else total
    if inputs is None and outputs is None and total is not None:
        ratio = mix(case)
        inputs, outputs = total * ratio / (1 + ratio), total / (1 + ratio)
    if inputs is not None and outputs is None:
        outputs = inputs / mix(case)
    elif outputs is not None and inputs is None:
        inputs = outputs * mix(case)
    return (None if inputs is None else inputs / 1e6, None if outputs is None else outputs / 1e6)


def mix(case: Case) -> float:
    """Input tokens per output token: the message's, or the assumed one, which is noted."""
    figures = case.figures
    for inputs, outputs in (
        (figures["input_per_request"], figures["output_per_request"]),
        (figures["input_per_month"], figures["output_per_month"]),
    ):
        if inputs and outputs:
            return inputs / outputs
    if figures["input_per_output"]:
        return figures["input_per_output"]
    assumption = f"{INPUT_PER_OUTPUT:g} input tokens for each output token: the message gives no token counts."
    if assumption not in case.assumptions:
        case.assumptions.append(assumption)
    return INPUT_PER_OUTPUT


def cached_share(figures: Figures) -> float:
    return next((share["share"] for share in figures["shares"] if share["kind"] == "cached"), 0.0)


def prompt_tokens(figures: Figures) -> int | None:
    return int(figures["input_per_request"]) if figures["input_per_request"] else None
