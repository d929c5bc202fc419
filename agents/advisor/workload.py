"""Costs of a `Workload`: figures from list prices and from amounts that the user states. Nothing is assumed."""

from dataclasses import dataclass, replace

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import Workload, noun_of, short
from agents.usage.figures import Answer, Figure, chart
from agents.usage.prices import Price, price_lookup


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call of a model, its input and its output. `price` is None for prices that the user gave."""

    model: str
    price: Price | None
    input: float
    output: float

    @property
    def total(self) -> float:
        return self.input + self.output


def answer(request: Workload) -> Answer:
    """Work the request out. It is complete: `Reading.certain`, or a filled form."""
    made = {
        "cost": _cost,
        "price": _prices,
        "saving": _saving,
        "change": _change,
        "bill": _bill,
        "seats": _seats,
    }[request.goal or "price"](request)
    if request.move_to and request.spend is not None:
        _move(made, request)
    return converted(made, request)


def listed(price: Price) -> str:
    """Name a list price with its date."""
    return f"{price['model']}: ${price['input']:g} in, ${price['output']:g} out per million tokens, {price['as_of']}"


def token_cost(request: Workload, model: str) -> Cost:
    """Cost of the request's tokens, in dollars: of one call where they are per request, else of one `tokens_per`."""
    prompt = int(request.input_tokens or 0) if request.tokens_per == "request" else None
    price = price_lookup(model, prompt)
    cached, batched = (request.cached or 0) / 100, (request.batched or 0) / 100
    read = price["input"] if price["cache_read"] is None else price["cache_read"]
    batch_in = price["input"] if price["batch_input"] is None else price["batch_input"]
    batch_out = price["output"] if price["batch_output"] is None else price["batch_output"]
    plain = price["input"] * (1 - cached) + read * cached
    batch_read = read if price["batch_cache_read"] is None else price["batch_cache_read"]
    batch = batch_in * (1 - cached) + min(batch_in, batch_read) * cached
    inputs = (request.input_tokens or 0) / 1e6 * (plain * (1 - batched) + batch * batched)
    outputs = (request.output_tokens or 0) / 1e6 * (price["output"] * (1 - batched) + batch_out * batched)
    return Cost(model, price, inputs, outputs)


def _own_price(request: Workload) -> Cost:
    """The cost at prices that the user gave."""
    if request.unit == "million":
        whole = request.all_tokens or (request.input_tokens or 0) + (request.output_tokens or 0)
        return Cost("", None, whole / 1e6 * (request.unit_price or 0), 0)
    if request.unit in ("minute", "hour"):
        factor = {"hourminute": 60, "minutehour": 1 / 60}.get(request.amount_unit + request.unit, 1)
        return Cost("", None, (request.amount or 0) * factor * (request.unit_price or 0), 0)
    if request.unit == "request":
        return Cost("", None, request.unit_price or 0, 0)
    inputs = (request.input_tokens or 0) / 1e6 * (request.input_price or 0)
    return Cost("", None, inputs, (request.output_tokens or 0) / 1e6 * (request.output_price or 0))


def calls_in(request: Workload) -> tuple[float, str]:
    """Return how often the unit of cost falls due, and in which period; `once` where there is none."""
    if request.amount is not None:
        return 1.0, request.amount_per or "once"
    if request.tokens_per not in ("request", "") and request.unit != "request":
        return 1.0, request.tokens_per
    count = (request.requests or 1.0) * (request.calls or 1.0)
    if request.requests_by == "user":
        count *= request.users or 1.0
    return count, request.requests_per if request.requests is not None else "request"


def _cost(request: Workload) -> Answer:
    made = Answer()
    own = request.unit_price is not None or request.input_price is not None
    names = [] if own else [name.strip() for name in request.models.split(",") if name.strip()]
    costs = [token_cost(request, name) for name in names] or [_own_price(request)]
    currency = request.currency if own else "USD"
    times, period = calls_in(request)
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    for index, cost in enumerate(costs):
        _figures_of(made, request, cost, f"_{index + 1}" if len(costs) > 1 else "", times, period, currency, factor)
    _say_cost(made, request, costs, period)
    if request.cached or request.batched:
        before = _cost(replace(request, cached=None, batched=None))
        for figure in list(before.figures.values()):
            if f"**{figure.text}**" in before.headline:
                made.figures.add(
                    f"plain_{figure.id}",
                    f"{figure.label}, not cached or batched",
                    figure.value,
                    figure.unit,
                    figure.formula,
                    prices=figure.prices,
                )
                made.notes.append(f"Without cache and batch: {figure.text}.")
    made.notes += _cost_notes(request)
    for cost in costs:
        if cost.price:
            made.details.append(f"Price of {listed(cost.price)} ({cost.price['source']}).")
    return made


def _figures_of(
    made: Answer, request: Workload, cost: Cost, end: str, times: float, period: str, currency: str, factor: float
) -> None:
    prices = (listed(cost.price),) if cost.price else ()
    name = f" on {cost.model}" if cost.model else ""
    rows = ["input tokens × input price + output tokens × output price"] if cost.price else ["amount × its price"]
    counts = f"{short(times)} model calls" if request.requests is not None else "the amounts given"
    one = (
        cost.total * (request.calls or 1.0) * factor
        if request.tokens_per == "request" or request.unit == "request"
        else None
    )
    if one is not None:
        made.figures.add(f"each{end}", f"Each {noun_of(request)}{name}", one, currency, rows[0], prices=prices)
    if period == "request":
        return
    whole = cost.total * times * factor
    formula = f"{rows[0]}, × {counts} each {period}" if period != "once" else f"{rows[0]}, × {counts}"
    if period == "once":
        made.figures.add(f"once{end}", f"All of it{name}", whole, currency, formula, prices=prices)
    else:
        for wanted in dict.fromkeys((*periods_of(request), period, "day", "month", "year")):
            value = whole * PER_YEAR[period] / PER_YEAR[wanted]
            made.figures.add(f"{wanted}{end}", f"A {wanted}{name}", value, currency, formula, prices=prices)
    if "user" in request.answer_per and request.users:
        for wanted in periods_of(request) or (("month",) if period != "once" else ()):
            value = whole * PER_YEAR[period] / PER_YEAR[wanted] / request.users
            made.figures.add(
                f"user{end}", f"Each user, a {wanted}{name}", value, currency, f"{formula} / users", prices=prices
            )
        if period == "once":
            made.figures.add(f"user{end}", f"Each user{name}", whole / request.users, currency, formula, prices=prices)


def _say_cost(made: Answer, request: Workload, costs: list[Cost], period: str) -> None:
    figures, wanted = made.figures, periods_of(request)
    usual = request.requests_per if request.requests_per in ("quarter", "year") else "month"
    first = "each" if period == "request" else "once" if period == "once" else (wanted or (usual,))[0]
    if "request" in request.answer_per:
        first = "each"
    elif "user" in request.answer_per:
        first = "user"
    ends = [f"_{index + 1}" if len(costs) > 1 else "" for index in range(len(costs))]
    subject = noun_of(request)
    about = {
        "each": f"for each {subject}", "once": "in all",
        "user": "for each user" + (f" a {wanted[0]}" if wanted else " a month" if period != "once" else ""),
    }.get(first, f"a {first}")  # fmt: skip
    if len(costs) == 1:
        name = f" on {costs[0].model}" if costs[0].model else ""
        also = [
            figures[one]
            for one in (*(p for p in wanted if p != first), "month", "once")
            if one in figures and one != first
        ]
        more = (
            f" ({also[0].text} {'in all' if also[0].id == 'once' else 'a ' + also[0].id})"
            if also and first in ("each", "user")
            else ""
        )
        if len(wanted) > 1 and first in wanted:
            more = " (" + ", ".join(f"{figures[one].text} a {one}" for one in wanted if one != first) + ")"
        each = f" ({figures['each'].text} each)" if first == "once" and "each" in figures else ""
        value = figures[first].value
        large = f" (about {value / 1e3:,.0f} thousand)" if 1e5 <= value < 1e6 else ""
        made.headline = f"This costs **{figures[first].text}**{large} {about}{name}{more}{each}."
    else:
        order = sorted(zip(costs, ends, strict=True), key=lambda one: figures[f"{first}{one[1]}"].value)
        parts = [f"{cost.model} **{figures[f'{first}{end}'].text}**" for cost, end in order]
        same = figures[f"{first}{order[0][1]}"].text == figures[f"{first}{order[-1][1]}"].text
        made.headline = f"{'Equal' if same else 'Cheapest first'}, {about}: {', '.join(parts)}."
        if len(order) == 2 and not same:
            low, high = figures[f"{first}{order[0][1]}"], figures[f"{first}{order[1][1]}"]
            saved = made.figures.add("difference", "Difference", high.value - low.value, high.unit, "dearer − cheaper")
            made.headline = f"{made.headline[:-1]}: a difference of {saved.text} {about}."
    shown = [one for one in ("each", "once", "user", "day", "month", "year") if f"{one}{ends[0]}" in figures]
    header = {"each": f"Each {subject}", "once": "In all", "user": "Each user"}
    made.table = [["", *(header.get(one, f"A {one}") for one in shown)]]
    for cost, end in zip(costs, ends, strict=True):
        made.table.append([cost.model or "At your price", *(figures[f"{one}{end}"].text for one in shown)])
    if len(costs) > 1:
        values = {"Cost": [figures[f"{first}{end}"].value for end in ends]}
        made.chart = chart("bar", f"Cost {about}", [cost.model for cost in costs], values, "USD")


def _cost_notes(request: Workload) -> list[str]:
    notes = []
    if request.tokens_per == "request" and request.requests_per not in ("", "once", "month"):
        notes.append("A month is a twelfth of 365 days.")
    if request.output_tokens == 0:
        notes.append("Input only: the answers come on top.")
    if request.saving:
        notes.append("For the saving, attach a usage file: it shows what can be cached, batched or moved.")
    return notes


def _prices(request: Workload) -> Answer:
    made = Answer()
    prices = [price_lookup(name.strip()) for name in request.models.split(",") if name.strip()]
    made.table = [["Per million tokens", "Input", "Cached input", "Output", "Batch input", "Batch output"]]
    for index, price in enumerate(prices, 1):
        cells = []
        for key in ("input", "cache_read", "output", "batch_input", "batch_output"):
            value = price[key]
            if value is None:
                cells.append("–")
                continue
            figure = made.figures.add(
                f"{key}_{index}", f"{price['model']}: {key}", value, "USD", "price list", prices=(listed(price),)
            )
            cells.append(figure.text)
        made.table.append([price["model"], *cells])
        made.details.append(f"Price of {listed(price)} ({price['source']}).")
    figures = made.figures
    if len(prices) == 1:
        texts = figures["input_1"].text, figures["output_1"].text
        per = f"**{texts[0]}** per million input tokens and **{texts[1]}** per million output tokens"
        made.headline = f"{prices[0]['model']} costs {per}."
    else:
        parts = [
            f"{price['model']} {figures[f'input_{n}'].text} / {figures[f'output_{n}'].text}"
            for n, price in enumerate(prices[:4], 1)
        ]
        made.headline = f"Input / output per million tokens: {', '.join(parts)}."
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
    return made


def _spend(made: Answer, request: Workload) -> Figure:
    period = f" a {request.spend_per}" if request.spend_per else ""
    return made.figures.add("spend", f"Paid{period}", request.spend or 0.0, request.currency, "as stated")


def _saving(request: Workload) -> Answer:
    made = Answer()
    paid, per = _spend(made, request), f" a {request.spend_per}" if request.spend_per else ""
    if request.ceiling is not None:
        saved, formula = paid.value - request.ceiling, "paid − amount wanted"
    else:
        saved, formula = paid.value * (request.saving or 0) / 100, "paid × saving wanted"
    off = made.figures.add("saving", f"Saving{per}", saved, request.currency, formula)
    rest = made.figures.add("rest", f"Left{per}", paid.value - saved, request.currency, "paid − saving")
    share = made.figures.add(
        "share", "Saving of what is paid", saved / paid.value * 100 if paid.value else 0, "%", "saving / paid"
    )
    made.headline = f"**{off.text}**{per} has to go to get from {paid.text} to {rest.text}: {share.text} of it."
    if saved <= 0:
        left = made.figures.add("left", f"Left of it{per}", abs(saved), request.currency, "amount wanted − paid")
        made.headline = f"**{left.text}**{per} is left: {paid.text} of {rest.text}. Nothing has to go."
    elif request.spend_per and request.spend_per != "year":
        year = made.figures.add(
            "year", "Saving a year", saved * PER_YEAR[request.spend_per], request.currency, "saving × periods of a year"
        )
        made.notes.append(f"The saving is {year.text} a year.")
    return made


def _change(request: Workload) -> Answer:
    made = Answer()
    paid, per = _spend(made, request), f" a {request.spend_per}" if request.spend_per else ""
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    after = made.figures.add("after", f"After it{per}", paid.value * factor, request.currency, "paid × factor")
    more = made.figures.add("more", f"Difference{per}", after.value - paid.value, request.currency, "after − before")
    made.headline = f"It becomes **{after.text}**{per}, {more.text} more than the {paid.text} of today."
    made.notes.append("Cost follows traffic and prices in proportion; tiers, minimum charges and rate limits do not.")
    return made


def _bill(request: Workload) -> Answer:
    made = Answer()
    paid, period = _spend(made, request), request.spend_per
    things = [one for one in request.answer_per.split(", ") if one in ("request", "user")]
    texts = [f"**{paid.text}**" + (f" a {period}" if period else "")]
    for wanted in periods_of(request) or ("year",):
        if wanted == period or not period:
            continue
        value = paid.value * PER_YEAR[period] / PER_YEAR[wanted]
        figure = made.figures.add(
            wanted, f"A {wanted}", value, request.currency, f"paid a {period} × {period}s in a {wanted}"
        )
        texts.insert(0 if periods_of(request) else len(texts), f"**{figure.text}** a {wanted}")
    for thing in things:
        count = request.users if thing == "user" else (request.requests or 1)
        scale = 1.0
        if thing == "request" and request.requests_per in PER_YEAR and period:
            scale = PER_YEAR[request.requests_per] / PER_YEAR[period]
        figure = made.figures.add(
            f"per_{thing}", f"Each {thing}", paid.value / (count or 1) / scale, request.currency, f"paid / {thing}s"
        )
        texts.insert(0, f"**{figure.text}** for each {noun_of(request) if thing == 'request' else 'user'}")
    made.headline = f"You pay {', '.join(texts)}."
    return made


def _seats(request: Workload) -> Answer:
    made = Answer()
    period, users = request.unit_per or "month", request.users or 0
    seat = made.figures.add("seat", f"A seat, a {period}", request.unit_price or 0, request.currency, "as stated")
    whole = made.figures.add(
        "seats", f"All seats, a {period}", seat.value * users, request.currency, "seats × price of a seat"
    )
    year = made.figures.add(
        "year", "All seats, a year", whole.value * PER_YEAR[period], request.currency, "× periods of a year"
    )
    first, other = (year, whole) if "year" in periods_of(request) and period != "year" else (whole, year)
    spans = {whole.id: period, year.id: "year"}
    made.headline = f"The seats cost **{first.text}** a {spans[first.id]} ({other.text} a {spans[other.id]})."
    made.notes.append(f"Paying by use is cheaper below {seat.text} a {period} for each seat.")
    names = [name.strip() for name in request.models.split(",") if name.strip()]
    if names and request.input_tokens is not None and request.output_tokens is not None and request.currency == "USD":
        for index, name in enumerate(names, 1):
            cost = token_cost(replace(request, tokens_per="request"), name)
            if cost.total > 0 and cost.price:
                many = made.figures.add(
                    f"even_{index}",
                    f"Break-even on {name}",
                    seat.value / (cost.total * (request.calls or 1)),
                    f"{noun_of(request)}s",
                    "price of a seat / cost of one",
                    prices=(listed(cost.price),),
                )
                made.notes.append(f"On {name} that is {many.text} a {period} for each seat.")
    return made


def ratios_of(request: Workload) -> dict[str, float]:
    """Return what each model of `move_to` costs for one unit of what the bill's model costs, for the same tokens.

    Empty if that depends on how many of the tokens are input and output, and the request does not say it.
    """
    found: dict[str, float] = {}
    prices = [price_lookup(one.strip()) for one in request.models.split(",") if one.strip()]
    for name in (one.strip() for one in request.move_to.split(",") if one.strip()):
        if len(prices) != 1:
            return {}
        here, there = prices[0], price_lookup(name)
        inputs, outputs = there["input"] / here["input"], there["output"] / here["output"]
        if abs(inputs - outputs) > 1e-9 * outputs:
            if request.input_tokens is None or request.output_tokens is None:
                return {}
            paid = request.input_tokens * here["input"] + request.output_tokens * here["output"]
            share = request.input_tokens * here["input"] / paid if paid else 0.0
            inputs = inputs * share + outputs * (1 - share)
        found[there["model"]] = inputs
    return found


def _move(made: Answer, request: Workload) -> None:
    """Say what the bill is on other models, first if that is all that was asked."""
    base = made.figures.get("after") or made.figures["spend"]
    per, here, parts = f" a {request.spend_per}" if request.spend_per else "", price_lookup(request.models), []
    for number, (name, ratio) in enumerate(ratios_of(request).items(), 1):
        formula = f"{base.label.lower()} × ratio of the list prices"
        prices = (listed(here), listed(price_lookup(name)))
        there = made.figures.add(
            f"there_{number}", f"On {name}{per}", base.value * ratio, base.unit, formula, prices=prices
        )
        gap = made.figures.add(
            f"gap_{number}", f"Difference on {name}{per}", base.value - there.value, base.unit, "here − there"
        )
        word, size = ("less", gap.text) if gap.value >= 0 else ("more", gap.text.removeprefix("-"))
        parts.append(f"on {name} the same tokens cost **{there.text}**{per}, {size} {word}")
    text = f"O{'; '.join(parts)[1:]}."
    made.headline = f"{text} {made.headline}" if request.goal == "bill" else f"{made.headline} {text}"
    made.details.append("Another model may count more or fewer tokens of the same text; cache and batch are not in it.")


def converted(made: Answer, request: Workload) -> Answer:
    """Say the first figure in another currency too, at the rate that the user gave."""
    first = next(
        (one for one in made.figures.values() if len(one.unit) == 3 and f"**{one.text}**" in made.headline), None
    )
    if first and request.convert_to and request.rate:
        other = made.figures.add(
            "converted",
            f"{first.label} in {request.convert_to}",
            first.value * request.rate,
            request.convert_to,
            f"× {request.rate:g}, the rate given",
        )
        made.headline = f"**{other.text}** at your rate. {made.headline}"
    return made


def periods_of(request: Workload) -> tuple[str, ...]:
    """Return the periods that the cost is wanted for."""
    return tuple(one for one in request.answer_per.split(", ") if one in PER_YEAR)
