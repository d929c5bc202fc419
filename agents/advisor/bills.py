"""Bills: from usage files to one line of the bill for each model, with the file's truth instead of assumptions."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

from agents.advisor import room
from agents.advisor.answers import Amounts, Dimension, Group, Meant, Only, Summary
from agents.advisor.case import Case, FileUse, Line
from agents.advisor.figures import INPUT_PER_OUTPUT
from agents.advisor.loaded import shown
from agents.advisor.markdown import escaped
from agents.advisor.prices import blended_input, find_model, price_lookup
from agents.advisor.question import asked_period, continues
from agents.advisor.rates import LONGEST
from agents.agent import AgentError, Turn

MAX_FILES = room.MAX_OPEN
MAX_LINES = 12
TOP_MODELS = 30
DAYS_AS_DAYS = 92
MAX_TEXT = 2_000

Result = TypeVar("Result")


def usage_line(
    model: str,
    monthly_spend: float,
    input_mtok: float,
    output_mtok: float,
    cached_share: float | None,
    prompt_tokens: int | None,
    wasted_share: float,
    currency: str,
) -> Line:
    """A month on a model as a file has it: what was spent is the bill, the tokens (millions) are counted.

    Spend over the list price of the same tokens is the line's `scale`. `cached_share` is None where the file does not
    tell. Without tokens they follow from the bill, three in for each one out.
    """
    price = price_lookup(model, prompt_tokens)
    cached = cached_share or 0.0
    input_rate, output_rate = blended_input(price, cached), price["output"]
    listed = input_mtok * input_rate + output_mtok * output_rate
    if listed <= 0:
        output_mtok = monthly_spend / (INPUT_PER_OUTPUT * input_rate + output_rate)
        input_mtok = INPUT_PER_OUTPUT * output_mtok
        listed = monthly_spend
    scale = monthly_spend / listed
    return {
        "price": price,
        "monthly_spend": monthly_spend,
        "input_mtok": input_mtok,
        "output_mtok": output_mtok,
        "input_usd": input_mtok * input_rate * scale,
        "output_usd": output_mtok * output_rate * scale,
        "cached_share": cached,
        "prompt_tokens": prompt_tokens,
        "tokens_usd": None,
        "scale": scale,
        "elsewhere": 1.0 if currency == "USD" else 0.0,
        "wasted_share": min(1.0, max(0.0, wasted_share)),
        "cached_known": cached_share is not None,
    }


def amount(amounts: Amounts, currency: str) -> float:
    """What was spent in this currency; dollars include list prices for rows without a cost."""
    if currency == "USD":
        return amounts["usd"]
    return sum(paid["amount"] for paid in amounts["paid"] if paid["currency"] == currency)


def per_month(case: Case) -> float:
    """What a month is of the files' days."""
    return 365 / 12 / case.days if case.days else 1.0


async def read_files(turn: Turn, case: Case) -> None:
    """What the usage files say, and the lines of the bill from it. A file that cannot be read is named."""
    names = [one["file"] for one in case.recognitions if one["usage"]]
    if len(names) > MAX_FILES:
        case.problems.append(f"Only the first {MAX_FILES} of {len(names)} files were read.")
    files = case.files
    await files.make_room(turn, len(names[:MAX_FILES]))
    await turn.think(f"Reading {', '.join(names[:MAX_FILES])}")
    found = await side_by_side(
        _tried(turn, case, name, files.usage_summary, attachment=name) for name in names[:MAX_FILES]
    )
    uses = _without_copies(case, [FileUse(name, summary, {}) for name, summary in found if summary])
    if not uses:
        return
    said = [one[:MAX_TEXT] for one in case.earlier]
    meant = await side_by_side(
        _tried(turn, case, use.name, files.rows_meant, attachment=use.name, text=case.text[:MAX_TEXT], earlier=said)
        for use in uses
    )
    figures = case.figures
    for use, (_, one) in zip(uses, meant, strict=True):
        if one:
            named = one["targets"] or one["absent"] or one["unknown"] or _names_rows(one)
            if (continues(case.question) or case.question["kind"] == "show") and not named:
                one["only"] = {**one["only"], **await case.talk.rows(turn, one, use.whole, case.text, said)}
            use.only = one["only"]
            targets = [model for model in map(find_model, one["targets"]) if model]
            figures["asked"] = list(dict.fromkeys([*figures["asked"], *targets]))
            figures["current"] = [model for model in figures["current"] if model not in targets]
            case.meant.append(one)
    case.not_there = _not_there(case, uses)
    if case.not_there:
        return
    if any(use.only for use in uses):
        uses = [use for use in uses if use.only]
    case.uses = uses
    _choose_currency(case)
    case.days = _days(uses)
    await turn.think("Adding up spend, trend, errors and latency of the rows that were asked about")
    for use in uses:
        await _figures_of(turn, case, use)
    await _lines(turn, case)
    _measured(case)


def _names_rows(meant: Meant) -> bool:
    return any(key not in meant["carried"] for key in meant["only"])


def _not_there(case: Case, uses: list[FileUse]) -> list[str]:
    """What the message asks about and no file has; nothing where one file has it."""
    words: list[str] = []
    wholes = {use.name: use.whole for use in uses}
    for meant in case.meant:
        whole, name = wholes[meant["file"]], escaped(meant["file"])
        chosen = [key for key in meant["only"] if key not in meant["carried"]]
        if "since" in chosen or (chosen and not meant["absent"]):
            return []
        if meant["absent"]:
            words.append(
                f"{name} has no rows of {', '.join(meant['absent'])}: it goes from {whole['first']} to {whole['last']}."
            )
        elif meant["unknown"] and meant["features"]:
            asked = ", ".join(f"“{escaped(one)}”" for one in meant["unknown"])
            have = ", ".join(escaped(one) for one in meant["features"])
            words.append(f"{name} has no feature {asked}. What it has: {have}.")
        elif meant["unknown"]:
            case.assumptions.append(
                f"{name} has no column for features, so the part of {escaped(meant['unknown'][0])} cannot be told "
                "apart: the figures are of all rows."
            )
            return []
        else:
            return []
    return words


def _without_copies(case: Case, uses: list[FileUse]) -> list[FileUse]:
    kept: list[FileUse] = []
    for use in uses:
        copy = next((other for other in kept if _alike(other.whole, use.whole)), None)
        if copy:
            case.assumptions.append(
                f"{escaped(use.name)} holds the same as {escaped(copy.name)}, so it is counted once."
            )
        else:
            kept.append(use)
    for number, use in enumerate(kept):
        for other in kept[:number]:
            if set(_calendar(use)) & set(_calendar(other)):
                case.assumptions.append(
                    f"{escaped(other.name)} and {escaped(use.name)} are of the same days: both are counted, as "
                    "requests of their own."
                )
    return kept


def _alike(one: Summary, other: Summary) -> bool:
    return all(one[key] == other[key] for key in ("rows", "first", "last", "total"))


def _choose_currency(case: Case) -> None:
    """Amounts in different currencies are never added: the one with most rows is worked on."""
    rows: dict[str, int] = {}
    for use in case.uses:
        amounts = use.whole["total"]["amounts"]
        others = [paid for paid in amounts["paid"] if paid["currency"] != "USD"]
        for paid in others:
            rows[paid["currency"]] = rows.get(paid["currency"], 0) + paid["rows"]
        dollars = use.whole["total"]["rows"] - amounts["unpriced_rows"] - sum(paid["rows"] for paid in others)
        if dollars > 0:
            rows["USD"] = rows.get("USD", 0) + dollars
    if not rows:
        return
    case.currency = max(rows, key=lambda code: (rows[code], code == "USD", code))
    if set(rows) == {"USD"}:
        return
    for use in case.uses:
        use.only = {**use.only, "currency": case.currency}
    if len(rows) > 1:
        case.assumptions.append(
            f"Only rows in {escaped(case.currency)} ({rows[case.currency]:,} of {sum(rows.values()):,}) are in these "
            "figures: without an exchange rate currencies are not added up."
        )


def _days(uses: list[FileUse]) -> int | None:
    """How many calendar days the chosen rows can be of: files of the same days count these once."""
    return len({day for use in uses for day in _calendar(use)}) or None


def _calendar(use: FileUse) -> list[date]:
    whole, only = use.whole, use.only
    if not whole["first"] or not whole["last"]:
        return []
    first = max(whole["first"], only.get("since", whole["first"]))
    last = min(whole["last"], only.get("until", whole["last"]))
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=ahead) for ahead in range((end - start).days + 1)]


async def _figures_of(turn: Turn, case: Case, use: FileUse) -> None:
    """All that can be asked about one file, side by side."""
    files, name, have = case.files, use.name, use.whole["dimensions"]
    only: Only | None = use.only or None
    wanted: list[Dimension] = [one for one in ("model", "feature", "user") if one in have]
    if "day" in have:
        usual: Dimension = "day" if len(_calendar(use)) <= DAYS_AS_DAYS else "month"
        wanted.append((case.question["kind"] == "show" and asked_period(case.text)) or usual)

    async def spend_by(dimension: Dimension) -> None:
        top = TOP_MODELS if dimension == "model" else 10
        _, found = await _tried(
            turn, case, name, files.spend_by, attachment=name, dimension=dimension, only=only, top=top
        )
        if found:
            use.by[dimension] = found

    async def trend() -> None:
        _, use.trend = await _tried(turn, case, name, files.spend_trend, attachment=name, only=only)

    async def waste() -> None:
        _, use.waste = await _tried(turn, case, name, files.paid_for_nothing, attachment=name, only=only)

    async def latency() -> None:
        _, use.latency = await _tried(
            turn, case, name, files.latency_percentiles, attachment=name, dimension=wanted[0], only=only
        )

    work = [spend_by(dimension) for dimension in wanted] + [waste()]
    if "day" in have:
        work.append(trend())

    async def goal(seconds: float) -> None:
        _, use.goal = await _tried(
            turn, case, name, files.latency_goal, attachment=name, goal_ms=seconds * 1000, only=only
        )

    async def load() -> None:
        _, use.load = await _tried(turn, case, name, files.load_peaks, attachment=name, only=only)

    async def repeats() -> None:
        _, use.repeats = await _tried(turn, case, name, files.repeated_requests, attachment=name, only=only)

    roles = {role for one in case.recognitions if one["file"] == name for role in one["roles"]}
    if wanted and roles & {"latency_ms", "ended"}:
        work.append(latency())
        if case.figures["latency_goal"]:
            work.append(goal(case.figures["latency_goal"]))
    if "day" in have and use.whole["single_requests"]:
        if "capacity" in case.question["topics"]:
            work.append(load())
        if case.question["kind"] == "advice" and roles & {"input_tokens", "uncached_tokens"}:
            work.append(repeats())
    await side_by_side(work)


@dataclass
class _Part:
    """What a file has of one model of the price list."""

    use: FileUse
    model: str
    amount: float = 0.0
    input: int = 0
    output: int = 0
    cached: float | None = None
    requests: int | None = 0
    listed: bool = False
    then_usd: float = 0.0
    today_usd: float = 0.0

    @property
    def drift(self) -> float:
        """What today's list price of the same tokens is to that of their days."""
        return self.today_usd / self.then_usd if self.then_usd > 0 else 1.0

    def add(self, group: Group, currency: str) -> None:
        tokens = group["tokens"]
        self.amount += amount(group["amounts"], currency)
        self.input += tokens["input"]
        self.output += tokens["output"]
        if tokens["cached_share"] is not None:
            self.cached = (self.cached or 0.0) + tokens["cached"]
        requests = group["requests"]
        self.requests = None if requests is None or self.requests is None else self.requests + requests
        self.then_usd += group["amounts"]["list_usd"]
        self.today_usd += group["amounts"]["today_usd"]
        self.listed = self.listed or group["amounts"]["basis"] in ("list", "mixed")


def _prompt(part: _Part) -> int | None:
    """Input tokens of the average request, None where the file does not say: a row can be a sum of many."""
    average = int(part.input / part.requests) if part.requests else 0
    return average if 0 < average <= LONGEST else None


async def _lines(turn: Turn, case: Case) -> None:
    parts: list[_Part] = []
    for use in case.uses:
        if "model" in use.by:
            parts += _parts(use, case.currency)
    parts = sorted((part for part in parts if part.amount > 0), key=lambda part: -part.amount)
    if len(parts) > MAX_LINES:
        case.assumptions.append(f"Savings are worked out for the {MAX_LINES} models that cost most.")
    month = per_month(case)

    async def line(part: _Part) -> Line:
        wasted = await _wasted(turn, case, part)
        return await turn.call(
            usage_line,
            model=part.model,
            monthly_spend=part.amount * part.drift * month,
            input_mtok=part.input * month / 1e6,
            output_mtok=part.output * month / 1e6,
            cached_share=None if part.cached is None or not part.input else part.cached / part.input,
            prompt_tokens=_prompt(part),
            wasted_share=wasted / part.amount,
            currency=case.currency,
        )

    case.lines += await side_by_side(line(part) for part in parts[:MAX_LINES])
    if not parts:
        return
    if case.days:
        case.assumptions.append(
            f"A month is the sum of the rows × 365 / 12 / {case.days:,}: so many calendar days they are of."
        )
    else:
        case.assumptions.append("The file has no days, so all of it is taken for one month.")
    for part in parts[:MAX_LINES]:
        if abs(part.drift - 1) > 0.001:
            case.assumptions.append(
                f"The list price of {part.model} has changed since: at today's prices the same tokens cost "
                f"{part.drift:.1%} of what they cost then, and the monthly bill and the savings go by today's."
            )
    if any(part.listed for part in parts):
        case.assumptions.append("A row without a cost is charged at list prices, a failed one too.")
    if any(not part.input and not part.output for part in parts):
        case.assumptions.append(
            f"Where the file has no tokens: {INPUT_PER_OUTPUT:g} input tokens for each output token, at list prices."
        )
    if case.currency == "USD":
        if any(line["scale"] < 0.995 for line in case.lines):
            case.assumptions.append("What you pay below list prices is a discount of that vendor, not of the others.")
    else:
        case.assumptions.append(
            f"What you pay in {escaped(case.currency)} stands to list prices in dollars as it would on other models."
        )


def _parts(use: FileUse, currency: str) -> Iterable[_Part]:
    """The groups by model under the names of the price list."""
    breakdown = use.by["model"]
    named = {shown(price["named"]): price["model"] for price in breakdown["source"]["prices"]}
    parts: dict[str, _Part] = {}
    for group in breakdown["groups"]:
        model = named.get(group["label"]) or find_model(group["label"])
        if model:
            parts.setdefault(model, _Part(use, model)).add(group, currency)
    return parts.values()


async def _wasted(turn: Turn, case: Case, part: _Part) -> float:
    """What this model's failed requests cost; where the file has no outcome, what its retries cost."""
    waste = part.use.waste
    if not waste or not (waste["error_rows"] or (waste["error_rows"] is None and waste["retry_rows"])):
        return 0.0
    only: Only = {**part.use.only, "model": part.model}
    name = part.use.name
    _, found = await _tried(turn, case, name, case.files.paid_for_nothing, attachment=name, only=only)
    # A retry that works is the request that was wanted: what failed before it is what gave nothing.
    amounts = (found["retries"] if found["errors"] is None else found["errors"]) if found else None
    return amount(amounts, case.currency) if amounts else 0.0


def _measured(case: Case) -> None:
    """Requests, sizes and times that the files have, where the message does not say them."""
    figures = case.figures
    totals = [next(iter(use.by.values()))["total"] for use in case.uses if use.by]
    requests = sum(total["requests"] or 0 for total in totals)
    if requests and case.days and not figures["requests_per_month"]:
        figures["requests_per_month"] = requests * per_month(case)
    if requests and not figures["output_per_request"]:
        figures["output_per_request"] = sum(total["tokens"]["output"] for total in totals) / requests
    times = [use.latency["all"] for use in case.uses if use.latency]
    rows = sum(one["rows"] for one in times)
    if rows:
        mean = round(sum(one["mean"] * one["rows"] for one in times) / rows / 1000, 3)
        if figures["latency"]:
            figures["notes"].append(
                f"You say {figures['latency']:g} s; a request in the files takes {mean:g} s on average."
            )
        figures["latency"] = figures["latency"] or mean


async def _tried(
    turn: Turn, case: Case, name: str, tool: Callable[..., Result], **parameters: Any
) -> tuple[str, Result | None]:
    """The tool's result; what it says that it cannot do is a problem of this file and no more."""
    try:
        async with case.free:
            return name, await turn.call(tool, **parameters)
    except AgentError as error:
        case.problems.append(f"{escaped(name)}: {escaped(error.message, 300)}")
        return name, None


async def side_by_side(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """All results, in the order of the work."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
