"""Costs of a `Workload`: figures from list prices and from amounts that the user states. Nothing is assumed."""

from dataclasses import dataclass, replace

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import TEXTS, Workload, a_period, noun_of, period_title, short
from agents.usage.figures import Answer, Figure, chart, numeral
from agents.usage.prices import Price, listed, noted, price_lookup
from chat.translation import t, tc

_PRICES: dict[str, str] = TEXTS["prices"]


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
                label = t("{0}, not cached or batched", figure.label)
                plain = replace(figure, id=f"plain_{figure.id}", label=label)
                made.figures[plain.id] = plain
                made.notes.append(t("Without cache and batch: {0}.", figure.text))
    if request.tokens_per == "request" and request.requests_per not in ("", "once", "month"):
        made.notes.append(t("A month is a twelfth of 365 days."))
    if request.output_tokens == 0:
        made.notes.append(t("Input only: the answers come on top."))
    if request.saving:
        made.notes.append(t("For the saving, attach a usage file: it shows what can be cached, batched or moved."))
    used = (cost.price for cost in costs if cost.price)
    made.details += [t("Price of {0} ({1}).", listed(price), price["source"]) for price in used]


def _figures_of(made: Answer, request: Workload, cost: Cost, end: str, currency: str) -> None:
    times, period = calls_in(request)
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    prices, name = ((noted(cost.price),), tc("model", " on {0}", cost.model)) if cost.model and cost.price else ((), "")
    of_list = t("input tokens × input price + output tokens × output price")
    basis = of_list if cost.price else t("amount × its price")
    counts = t("{0} model calls", short(times)) if request.requests is not None else t("the amounts given")
    formula = f"{basis}, × {counts}" + (a_period(period) if period != "once" else "")

    def add(id: str, label: str, value: float, how: str = formula) -> None:
        made.figures.add(f"{id}{end}", f"{label}{name}", value, currency, how, prices=prices)

    if request.tokens_per == "request" or request.unit == "request":
        add("each", t("Each {0}", noun_of(request)), cost.total * (request.calls or 1.0) * factor, basis)
    if period == "request":
        return
    whole = cost.total * times * factor
    if period == "once":
        add("once", t("All of it"), whole)
    else:
        for wanted in dict.fromkeys((*request.periods, period, "day", "month", "year")):
            add(wanted, period_title(wanted), whole * PER_YEAR[period] / PER_YEAR[wanted])
    if "user" in request.things and request.users:
        for wanted in request.periods or (("month",) if period != "once" else ()):
            value = whole * PER_YEAR[period] / PER_YEAR[wanted] / request.users
            add("user", t("Each user,{0}", a_period(wanted)), value, t("{0} / users", formula))
        if period == "once":
            add("user", t("Each user"), whole / request.users)


def _say_cost(made: Answer, request: Workload, costs: list[Cost]) -> None:
    figures, wanted, subject, period = made.figures, request.periods, noun_of(request), calls_in(request)[1]
    usual = request.requests_per if request.requests_per in ("quarter", "year") else "month"
    first = {"request": "each", "once": "once"}.get(period, (wanted or [usual])[0])
    first = "each" if "request" in request.things else "user" if "user" in request.things else first
    ends = [f"_{index}" for index in range(1, len(costs) + 1)] if len(costs) > 1 else [""]
    of_user = a_period(wanted[0] if wanted else "month" if period != "once" else "")
    spans = {"each": t("for each {0}", subject), "user": t("for each user{0}", of_user)}
    about = spans.get(first) or a_period(first).strip()
    if len(costs) == 1:
        name, value = tc("model", " on {0}", costs[0].model) if costs[0].model else "", figures[first].value
        also = [one for one in (*wanted, "month", "once") if one != first and one in figures]
        if len(wanted) < 2 or first not in wanted:
            also = also[:1] if first in ("each", "user") else []
        else:
            also = [one for one in wanted if one != first]
        more = f" ({', '.join(f'{figures[one].text}{a_period(one)}' for one in also)})" if also else ""
        each = t(" ({0} each)", figures["each"].text) if first == "once" and "each" in figures else ""
        large = t(" (about {0} thousand)", numeral(f"{value / 1e3:,.0f}")) if 1e5 <= value < 1e6 else ""
        text = t("This costs **{0}**{1} {2}{3}{4}{5}.")
        made.headline = text.format(figures[first].text, large, about, name, more, each)
    else:
        order = sorted(zip(costs, ends, strict=True), key=lambda one: figures[f"{first}{one[1]}"].value)
        low, high = figures[f"{first}{order[0][1]}"], figures[f"{first}{order[-1][1]}"]
        parts = ", ".join(f"{cost.model} **{figures[f'{first}{end}'].text}**" for cost, end in order)
        gap = ""
        if len(order) == 2 and low.text != high.text:
            value, formula = high.value - low.value, t("dearer − cheaper")
            saved = figures.add("difference", t("Difference"), value, high.unit, formula)
            gap = t(": a difference of {0} {1}", saved.text, about)
        order_text = t("Equal, {0}: {1}{2}.") if low.text == high.text else t("Cheapest first, {0}: {1}{2}.")
        made.headline = order_text.format(about, parts, gap)
        values = {t("Cost"): [figures[f"{first}{end}"].value for end in ends]}
        made.chart = chart("bar", t("Cost {0}", about), [cost.model for cost in costs], values, "USD")
    shown = [one for one in ("each", "once", "user", "day", "month", "year") if f"{one}{ends[0]}" in figures]
    header = {"each": t("Each {0}", subject), "user": t("Each user")}
    made.table = [["", *(header.get(one) or period_title(one) for one in shown)]]
    for cost, end in zip(costs, ends, strict=True):
        made.table.append([cost.model or t("At your price"), *(figures[f"{one}{end}"].text for one in shown)])


def _prices(made: Answer, request: Workload) -> None:
    prices = [price_lookup(name) for name in request.names]
    made.table = [[t("Per million tokens"), *map(t, _PRICES.values())]]
    for index, price in enumerate(prices, 1):
        cells = {}
        for key, title in _PRICES.items():
            value: float | None = price[key]  # type: ignore[literal-required]
            if value is not None:
                label, of_list = f"{price['model']}: {t(title)}", (noted(price),)
                figure = made.figures.add(f"{key}_{index}", label, value, "USD", t("price list"), prices=of_list)
            cells[key] = "–" if value is None else figure.text
        made.table.append([price["model"], *cells.values()])
        made.details.append(t("Price of {0} ({1}).", listed(price), price["source"]))
    texts = [(row[0], row[1], row[3]) for row in made.table[1:]]
    each = ", ".join(f"{model} {inputs} / {outputs}" for model, inputs, outputs in texts[:4])
    made.headline = t("Input / output per million tokens: {0}.", each)
    if len(texts) == 1:
        text = t("{0} costs **{1}** per million input tokens and **{2}** per million output tokens.")
        made.headline = text.format(*texts[0])
    lower = [1 - price["cache_read"] / price["input"] for price in prices if price["cache_read"] is not None]
    if lower:
        label, formula = t("Cached input is cheaper by"), t("1 − cached / input price")
        low, high = (
            made.figures.add(f"cached_{end}", label, part * 100, "%", formula)
            for end, part in (("least", min(lower)), ("most", max(lower)))
        )
        span = low.text if low.text == high.text else t("{0} to {1}", low.text, high.text)
        cheaper = t("Cached input tokens cost {0} less than other input tokens of the same model.", span)
        if request.answer_per == "cached":
            made.headline, cheaper = cheaper.replace(span, f"**{span}**"), made.headline
        made.notes.append(cheaper)


def _spend(made: Answer, request: Workload) -> tuple[Figure, str]:
    per = a_period(request.spend_per)
    return made.figures.add("spend", t("Paid{0}", per), request.spend or 0.0, request.currency, t("as stated")), per


def _saving(made: Answer, request: Workload) -> None:
    (paid, per), code = _spend(made, request), request.currency
    saved, formula = paid.value * (request.saving or 0) / 100, t("paid × saving wanted")
    if request.ceiling is not None:
        saved, formula = paid.value - request.ceiling, t("paid − amount wanted")
    off = made.figures.add("saving", t("Saving{0}", per), saved, code, formula)
    rest = made.figures.add("rest", t("Left{0}", per), paid.value - saved, code, t("paid − saving"))
    part = saved / paid.value * 100 if paid.value else 0
    share = made.figures.add("share", t("Saving of what is paid"), part, "%", t("saving / paid"))
    headline = t("**{0}**{1} has to go to get from {2} to {3}: {4} of it.")
    made.headline = headline.format(off.text, per, paid.text, rest.text, share.text)
    if saved <= 0:
        label, formula = t("Left of it{0}", per), t("amount wanted − paid")
        left = made.figures.add("left", label, abs(saved), code, formula)
        headline = t("**{0}**{1} is left: {2} of {3}. Nothing has to go.")
        made.headline = headline.format(left.text, per, paid.text, rest.text)
    elif request.spend_per and request.spend_per != "year":
        value, formula = saved * PER_YEAR[request.spend_per], t("saving × periods of a year")
        year = made.figures.add("year", t("Saving a year"), value, code, formula)
        made.notes.append(t("The saving is {0} a year.", year.text))


def _change(made: Answer, request: Workload) -> None:
    (paid, per), code = _spend(made, request), request.currency
    factor = (request.growth or 1.0) * (request.price_change or 1.0)
    after = made.figures.add("after", t("After it{0}", per), paid.value * factor, code, t("paid × factor"))
    value, formula = after.value - paid.value, t("after − before")
    more = made.figures.add("more", t("Difference{0}", per), value, code, formula)
    parts = after.text, per, more.text, paid.text
    made.headline = t("It becomes **{0}**{1}, {2} more than the {3} of today.", *parts)
    made.notes.append(
        t("Cost follows traffic and prices in proportion; tiers, minimum charges and rate limits do not.")
    )


def _bill(made: Answer, request: Workload) -> None:
    (paid, per), period, code = _spend(made, request), request.spend_per, request.currency
    texts = [f"**{paid.text}**{per}"]
    for wanted in request.periods or ["year"]:
        if period and wanted != period:
            value = paid.value * PER_YEAR[period] / PER_YEAR[wanted]
            formula = t("paid a {0} × {0}s in a {1}", t(period), t(wanted))
            figure = made.figures.add(wanted, period_title(wanted), value, code, formula)
            texts.insert(0 if request.periods else len(texts), f"**{figure.text}**{a_period(wanted)}")
    for thing in request.things:
        count = (request.users if thing == "user" else request.requests) or 1
        if thing == "request" and request.requests_per in PER_YEAR and period:
            count *= PER_YEAR[request.requests_per] / PER_YEAR[period]
        many, noun = f"{thing}s", noun_of(request) if thing == "request" else t("user")
        label, formula = t("Each {0}", t(thing)), t("paid / {0}", t(many))
        figure = made.figures.add(f"per_{thing}", label, paid.value / count, code, formula)
        texts.insert(0, " ".join([f"**{figure.text}**", t("for each {0}", noun)]))
    made.headline = t("You pay {0}.", ", ".join(texts))


def _seats(made: Answer, request: Workload) -> None:
    period, users, code = request.unit_per or "month", request.users or 0, request.currency
    per, add = a_period(period), made.figures.add
    seat = add("seat", t("A seat,{0}", per), request.unit_price or 0, code, t("as stated"))
    whole = add("seats", t("All seats,{0}", per), seat.value * users, code, t("seats × price of a seat"))
    label, formula = t("All seats,{0}", a_period("year")), t("× periods of a year")
    year = add("year", label, whole.value * PER_YEAR[period], code, formula)
    parts = [whole.text, per, year.text, a_period("year")]
    parts = parts[2:] + parts[:2] if "year" in request.periods and period != "year" else parts
    made.headline = t("The seats cost **{0}**{1} ({2}{3}).", *parts)
    made.notes.append(t("Paying by use is cheaper below {0}{1} for each seat.", seat.text, per))
    known = request.input_tokens is not None and request.output_tokens is not None and code == "USD"
    for index, name in enumerate(request.names if known else [], 1):
        cost = token_cost(replace(request, tokens_per="request"), name)
        if cost.total > 0 and cost.price:
            value, unit = seat.value / (cost.total * (request.calls or 1.0)), f"{noun_of(request)}s"
            label, how = t("Break-even on {0}", name), t("price of a seat / cost of one")
            many = made.figures.add(f"even_{index}", label, value, unit, how, prices=(noted(cost.price),))
            made.notes.append(t("On {0} that is {1}{2} for each seat.", name, many.text, per))


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
        formula, prices = t("{0} × ratio of the list prices", base.label), (noted(here), noted(price_lookup(name)))
        value, unit, label = base.value * ratio, base.unit, t("On {0}{1}", name, per)
        there = made.figures.add(f"there_{number}", label, value, unit, formula, prices=prices)
        value, label, formula = base.value - value, t("Difference on {0}{1}", name, per), t("here − there")
        gap = made.figures.add(f"gap_{number}", label, value, unit, formula)
        size = t("{0} less", gap.text) if gap.value >= 0 else t("{0} more", gap.text.removeprefix("-"))
        parts.append(t("on {0} the same tokens cost **{1}**{2}, {3}", name, there.text, per, size))
    text = f"{'; '.join(parts)}."
    text = text[:1].upper() + text[1:]
    made.headline = f"{text} {made.headline}" if request.goal == "bill" else f"{made.headline} {text}"
    made.details.append(
        t("Another model may count more or fewer tokens of the same text; cache and batch are not in it.")
    )


def converted(made: Answer, request: Workload) -> Answer:
    """Say the first figure in another currency too, at the rate that the user gave."""
    amounts = [one for one in made.figures.values() if len(one.unit) == 3 and f"**{one.text}**" in made.headline]
    if amounts and request.convert_to and request.rate:
        label, value = t("{0} in {1}", amounts[0].label, request.convert_to), amounts[0].value * request.rate
        formula = t("× {0}, the rate given", numeral(f"{request.rate:g}"))
        other = made.figures.add("converted", label, value, request.convert_to, formula)
        made.headline = t("**{0}** at your rate. {1}", other.text, made.headline)
    return made
