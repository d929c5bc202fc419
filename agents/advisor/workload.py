"""Costs of a `Workload`: figures from list prices and from amounts that the user states. Nothing is assumed."""

from dataclasses import dataclass, replace

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import Workload, a_period, noun_of, short
from agents.usage.figures import Answer, Figure, chart
from agents.usage.prices import Price, price_lookup

_OWN_OR_LIST = "input tokens × input price + output tokens × output price"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call of a model, its input and its output. `price` is None for prices that the user gave."""

    model: str
    price: Price | None
    total: float


def answer(request: Workload) -> Answer:
    """Work the request out. It is complete: `Reading.certain`, or a filled form."""
    made = Answer()
    workers = {"cost": _cost, "price": _prices, "saving": _saving, "change": _change, "bill": _bill, "seats": _seats}
    workers[request.goal or "price"](made, request)
    if request.move_to and request.spend is not None:
        _move(made, request)
    return converted(made, request)


def listed(price: Price) -> str:
    """Name a list price with its date."""
    return f"{price['model']}: ${price['input']:g} in, ${price['output']:g} out per million tokens, {price['as_of']}"


def token_cost(request: Workload, model: str) -> Cost:
    """Cost of the request's tokens, in dollars: of one call where they are per request, else of one `tokens_per`."""
    price = price_lookup(model, int(request.input_tokens or 0) if request.tokens_per == "request" else None)
    cached, batched = (request.cached or 0) / 100, (request.batched or 0) / 100

    def known(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    read, batch_in = known(price["cache_read"], price["input"]), known(price["batch_input"], price["input"])
    batch_read = min(batch_in, known(price["batch_cache_read"], read))
    plain, batch = (a * (1 - cached) + b * cached for a, b in ((price["input"], read), (batch_in, batch_read)))
    output = price["output"] * (1 - batched) + known(price["batch_output"], price["output"]) * batched
    inputs = (request.input_tokens or 0) / 1e6 * (plain * (1 - batched) + batch * batched)
    return Cost(model, price, inputs + (request.output_tokens or 0) / 1e6 * output)


def _own_price(request: Workload) -> Cost:
    """The cost at prices that the user gave."""
    inputs, outputs, price = request.input_tokens or 0, request.output_tokens or 0, request.unit_price or 0
    factor = {"hourminute": 60, "minutehour": 1 / 60}.get(request.amount_unit + request.unit, 1)
    amounts = {"million": (request.all_tokens or inputs + outputs) / 1e6, "request": 1}
    amounts |= dict.fromkeys(("minute", "hour"), (request.amount or 0) * factor)
    if request.unit in amounts:
        return Cost("", None, amounts[request.unit] * price)
    return Cost("", None, (inputs * (request.input_price or 0) + outputs * (request.output_price or 0)) / 1e6)


def calls_in(request: Workload) -> tuple[float, str]:
    """Return how often the unit of cost falls due, and in which period; `once` where there is none."""
    if request.amount is not None:
        return 1.0, request.amount_per or "once"
    if request.tokens_per not in ("request", "") and request.unit != "request":
        return 1.0, request.tokens_per
    users = (request.users or 1.0) if request.requests_by == "user" else 1.0
    count = (request.requests or 1.0) * (request.calls or 1.0) * users
    return count, request.requests_per if request.requests is not None else "request"


def _cost(made: Answer, request: Workload) -> None:
    own = request.unit_price is not None or request.input_price is not None
    costs = [token_cost(request, name) for name in ([] if own else request.names)] or [_own_price(request)]
    for index, cost in enumerate(costs, 1):
        end, currency = f"_{index}" if len(costs) > 1 else "", request.currency if own else "USD"
        _figures_of(made, request, cost, end, currency)
    _say_cost(made, request, costs)
    if request.cached or request.batched:
        before = Answer()
        _cost(before, replace(request, cached=None, batched=None))
        for figure in before.figures.values():
            if f"**{figure.text}**" in before.headline:
                label = f"{figure.label}, not cached or batched"
                plain = replace(figure, id=f"plain_{figure.id}", label=label)
                made.figures[plain.id] = plain
                made.notes.append(f"Without cache and batch: {figure.text}.")
    if request.tokens_per == "request" and request.requests_per not in ("", "once", "month"):
        made.notes.append("A month is a twelfth of 365 days.")
    if request.output_tokens == 0:
        made.notes.append("Input only: the answers come on top.")
    if request.saving:
        made.notes.append("For the saving, attach a usage file: it shows what can be cached, batched or moved.")
    made.details += [f"Price of {listed(cost.price)} ({cost.price['source']})." for cost in costs if cost.price]


def _figures_of(made: Answer, request: Workload, cost: Cost, end: str, currency: str) -> None:
    times, period = calls_in(request)
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    prices, name = ((listed(cost.price),), f" on {cost.model}") if cost.model and cost.price else ((), "")
    basis = _OWN_OR_LIST if cost.price else "amount × its price"
    counts = f"{short(times)} model calls" if request.requests is not None else "the amounts given"
    formula = f"{basis}, × {counts}" + (f" each {period}" if period != "once" else "")

    def add(id: str, label: str, value: float, how: str = formula) -> None:
        made.figures.add(f"{id}{end}", f"{label}{name}", value, currency, how, prices=prices)

    if request.tokens_per == "request" or request.unit == "request":
        add("each", f"Each {noun_of(request)}", cost.total * (request.calls or 1.0) * factor, basis)
    if period == "request":
        return
    whole = cost.total * times * factor
    if period == "once":
        add("once", "All of it", whole)
    else:
        for wanted in dict.fromkeys((*request.periods, period, "day", "month", "year")):
            add(wanted, f"A {wanted}", whole * PER_YEAR[period] / PER_YEAR[wanted])
    if "user" in request.things and request.users:
        for wanted in request.periods or (("month",) if period != "once" else ()):
            value = whole * PER_YEAR[period] / PER_YEAR[wanted] / request.users
            add("user", f"Each user, a {wanted}", value, f"{formula} / users")
        if period == "once":
            add("user", "Each user", whole / request.users)


def _say_cost(made: Answer, request: Workload, costs: list[Cost]) -> None:
    figures, wanted, subject, period = made.figures, request.periods, noun_of(request), calls_in(request)[1]
    usual = request.requests_per if request.requests_per in ("quarter", "year") else "month"
    first = {"request": "each", "once": "once"}.get(period, (wanted or [usual])[0])
    first = "each" if "request" in request.things else "user" if "user" in request.things else first
    ends = [f"_{index}" for index in range(1, len(costs) + 1)] if len(costs) > 1 else [""]
    of_user = a_period(wanted[0] if wanted else "month" if period != "once" else "")
    spans = {"each": f"for each {subject}", "once": "in all", "user": f"for each user{of_user}"}
    about = spans.get(first, f"a {first}")
    if len(costs) == 1:
        name, value = f" on {costs[0].model}" if costs[0].model else "", figures[first].value
        also = [one for one in (*wanted, "month", "once") if one != first and one in figures]
        if len(wanted) < 2 or first not in wanted:
            also = also[:1] if first in ("each", "user") else []
        else:
            also = [one for one in wanted if one != first]
        more = f" ({', '.join(f'{figures[one].text}{a_period(one)}' for one in also)})" if also else ""
        each = f" ({figures['each'].text} each)" if first == "once" and "each" in figures else ""
        large = f" (about {value / 1e3:,.0f} thousand)" if 1e5 <= value < 1e6 else ""
        made.headline = f"This costs **{figures[first].text}**{large} {about}{name}{more}{each}."
    else:
        order = sorted(zip(costs, ends, strict=True), key=lambda one: figures[f"{first}{one[1]}"].value)
        low, high = figures[f"{first}{order[0][1]}"], figures[f"{first}{order[-1][1]}"]
        parts = ", ".join(f"{cost.model} **{figures[f'{first}{end}'].text}**" for cost, end in order)
        gap = ""
        if len(order) == 2 and low.text != high.text:
            saved = figures.add("difference", "Difference", high.value - low.value, high.unit, "dearer − cheaper")
            gap = f": a difference of {saved.text} {about}"
        made.headline = f"{'Equal' if low.text == high.text else 'Cheapest first'}, {about}: {parts}{gap}."
        values = {"Cost": [figures[f"{first}{end}"].value for end in ends]}
        made.chart = chart("bar", f"Cost {about}", [cost.model for cost in costs], values, "USD")
    shown = [one for one in ("each", "once", "user", "day", "month", "year") if f"{one}{ends[0]}" in figures]
    header = {"each": f"Each {subject}", "once": "In all", "user": "Each user"}
    made.table = [["", *(header.get(one, f"A {one}") for one in shown)]]
    for cost, end in zip(costs, ends, strict=True):
        made.table.append([cost.model or "At your price", *(figures[f"{one}{end}"].text for one in shown)])


def _prices(made: Answer, request: Workload) -> None:
    prices = [price_lookup(name) for name in request.names]
    made.table = [["Per million tokens", "Input", "Cached input", "Output", "Batch input", "Batch output"]]
    for index, price in enumerate(prices, 1):
        cells = {}
        for key in ("input", "cache_read", "output", "batch_input", "batch_output"):
            value: float | None = price[key]
            if value is not None:
                label, of_list = f"{price['model']}: {key}", (listed(price),)
                figure = made.figures.add(f"{key}_{index}", label, value, "USD", "price list", prices=of_list)
            cells[key] = "–" if value is None else figure.text
        made.table.append([price["model"], *cells.values()])
        made.details.append(f"Price of {listed(price)} ({price['source']}).")
    texts = [(row[0], row[1], row[3]) for row in made.table[1:]]
    made.headline = f"Input / output per million tokens: {', '.join(f'{m} {i} / {o}' for m, i, o in texts[:4])}."
    if len(texts) == 1:
        model, inputs, outputs = texts[0]
        made.headline = (
            f"{model} costs **{inputs}** per million input tokens and **{outputs}** per million output tokens."
        )
    lower = [1 - price["cache_read"] / price["input"] for price in prices if price["cache_read"] is not None]
    if lower:
        low, high = (
            made.figures.add(f"cached_{end}", "Cached input is cheaper by", part * 100, "%", "1 − cached / input price")
            for end, part in (("least", min(lower)), ("most", max(lower)))
        )
        span = low.text if low.text == high.text else f"{low.text} to {high.text}"
        cheaper = f"Cached input tokens cost {span} less than other input tokens of the same model."
        if request.answer_per == "cached":
            made.headline, cheaper = cheaper.replace(span, f"**{span}**"), made.headline
        made.notes.append(cheaper)


def _spend(made: Answer, request: Workload) -> tuple[Figure, str]:
    per = a_period(request.spend_per)
    return made.figures.add("spend", f"Paid{per}", request.spend or 0.0, request.currency, "as stated"), per


def _saving(made: Answer, request: Workload) -> None:
    (paid, per), code = _spend(made, request), request.currency
    saved, formula = paid.value * (request.saving or 0) / 100, "paid × saving wanted"
    if request.ceiling is not None:
        saved, formula = paid.value - request.ceiling, "paid − amount wanted"
    off = made.figures.add("saving", f"Saving{per}", saved, code, formula)
    rest = made.figures.add("rest", f"Left{per}", paid.value - saved, code, "paid − saving")
    part = saved / paid.value * 100 if paid.value else 0
    share = made.figures.add("share", "Saving of what is paid", part, "%", "saving / paid")
    made.headline = f"**{off.text}**{per} has to go to get from {paid.text} to {rest.text}: {share.text} of it."
    if saved <= 0:
        left = made.figures.add("left", f"Left of it{per}", abs(saved), code, "amount wanted − paid")
        made.headline = f"**{left.text}**{per} is left: {paid.text} of {rest.text}. Nothing has to go."
    elif request.spend_per and request.spend_per != "year":
        value = saved * PER_YEAR[request.spend_per]
        year = made.figures.add("year", "Saving a year", value, code, "saving × periods of a year")
        made.notes.append(f"The saving is {year.text} a year.")


def _change(made: Answer, request: Workload) -> None:
    (paid, per), code = _spend(made, request), request.currency
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    after = made.figures.add("after", f"After it{per}", paid.value * factor, code, "paid × factor")
    more = made.figures.add("more", f"Difference{per}", after.value - paid.value, code, "after − before")
    made.headline = f"It becomes **{after.text}**{per}, {more.text} more than the {paid.text} of today."
    made.notes.append("Cost follows traffic and prices in proportion; tiers, minimum charges and rate limits do not.")


def _bill(made: Answer, request: Workload) -> None:
    (paid, per), period, code = _spend(made, request), request.spend_per, request.currency
    texts = [f"**{paid.text}**{per}"]
    for wanted in request.periods or ["year"]:
        if period and wanted != period:
            value, formula = (
                paid.value * PER_YEAR[period] / PER_YEAR[wanted],
                f"paid a {period} × {period}s in a {wanted}",
            )
            figure = made.figures.add(wanted, f"A {wanted}", value, code, formula)
            texts.insert(0 if request.periods else len(texts), f"**{figure.text}** a {wanted}")
    for thing in request.things:
        count = (request.users if thing == "user" else request.requests) or 1
        if thing == "request" and request.requests_per in PER_YEAR and period:
            count *= PER_YEAR[request.requests_per] / PER_YEAR[period]
        figure = made.figures.add(f"per_{thing}", f"Each {thing}", paid.value / count, code, f"paid / {thing}s")
        texts.insert(0, f"**{figure.text}** for each {noun_of(request) if thing == 'request' else 'user'}")
    made.headline = f"You pay {', '.join(texts)}."


def _seats(made: Answer, request: Workload) -> None:
    period, users, code = request.unit_per or "month", request.users or 0, request.currency
    seat = made.figures.add("seat", f"A seat, a {period}", request.unit_price or 0, code, "as stated")
    formula = "seats × price of a seat"
    whole = made.figures.add("seats", f"All seats, a {period}", seat.value * users, code, formula)
    year = made.figures.add("year", "All seats, a year", whole.value * PER_YEAR[period], code, "× periods of a year")
    parts = [(whole, period), (year, "year")]
    (first, span), (other, its) = parts[::-1] if "year" in request.periods and period != "year" else parts
    made.headline = f"The seats cost **{first.text}** a {span} ({other.text} a {its})."
    made.notes.append(f"Paying by use is cheaper below {seat.text} a {period} for each seat.")
    known = request.input_tokens is not None and request.output_tokens is not None and code == "USD"
    for index, name in enumerate(request.names if known else [], 1):
        cost = token_cost(replace(request, tokens_per="request"), name)
        if cost.total > 0 and cost.price:
            value, unit = seat.value / (cost.total * (request.calls or 1.0)), f"{noun_of(request)}s"
            label, how = f"Break-even on {name}", "price of a seat / cost of one"
            many = made.figures.add(f"even_{index}", label, value, unit, how, prices=(listed(cost.price),))
            made.notes.append(f"On {name} that is {many.text} a {period} for each seat.")


def ratios_of(request: Workload) -> dict[str, float]:
    """Return what each model of `move_to` costs for one unit of what the bill's model costs, for the same tokens.

    Empty if that depends on how many of the tokens are input and output, and the request does not say it.
    """
    found: dict[str, float] = {}
    if len(request.names) != 1:
        return {}
    here, tokens = price_lookup(request.names[0]), (request.input_tokens, request.output_tokens)
    for there in map(price_lookup, request.targets):
        inputs, outputs = there["input"] / here["input"], there["output"] / here["output"]
        if abs(inputs - outputs) > 1e-9 * outputs:
            if tokens[0] is None or tokens[1] is None:
                return {}
            paid = tokens[0] * here["input"] + tokens[1] * here["output"]
            share = tokens[0] * here["input"] / paid if paid else 0.0
            inputs = inputs * share + outputs * (1 - share)
        found[there["model"]] = inputs
    return found


def _move(made: Answer, request: Workload) -> None:
    """Say what the bill is on other models, first if that is all that was asked."""
    base = made.figures.get("after") or made.figures["spend"]
    per, here, parts = a_period(request.spend_per), price_lookup(request.models), []
    for number, (name, ratio) in enumerate(ratios_of(request).items(), 1):
        formula, prices = f"{base.label.lower()} × ratio of the list prices", (listed(here), listed(price_lookup(name)))
        value, unit = base.value * ratio, base.unit
        there = made.figures.add(f"there_{number}", f"On {name}{per}", value, unit, formula, prices=prices)
        gap = made.figures.add(f"gap_{number}", f"Difference on {name}{per}", base.value - value, unit, "here − there")
        size = f"{gap.text} less" if gap.value >= 0 else f"{gap.text.removeprefix('-')} more"
        parts.append(f"on {name} the same tokens cost **{there.text}**{per}, {size}")
    text = f"O{'; '.join(parts)[1:]}."
    made.headline = f"{text} {made.headline}" if request.goal == "bill" else f"{made.headline} {text}"
    made.details.append("Another model may count more or fewer tokens of the same text; cache and batch are not in it.")


def converted(made: Answer, request: Workload) -> Answer:
    """Say the first figure in another currency too, at the rate that the user gave."""
    amounts = [one for one in made.figures.values() if len(one.unit) == 3 and f"**{one.text}**" in made.headline]
    if amounts and request.convert_to and request.rate:
        label, value = f"{amounts[0].label} in {request.convert_to}", amounts[0].value * request.rate
        formula = f"× {request.rate:g}, the rate given"
        other = made.figures.add("converted", label, value, request.convert_to, formula)
        made.headline = f"**{other.text}** at your rate. {made.headline}"
    return made
