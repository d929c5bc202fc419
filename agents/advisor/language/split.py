"""Messages that give amounts for each of several models, as one message a model."""

import re
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read
from agents.advisor.language.lexer import Token, tokens

_TOKENS = ("token", *words.TOKENS_OF)
# What may stand between the amounts: anything else may relate them in another way.
_BETWEEN = (
    "per", "period", "every", "request", "and", "fill", "each", "token", "input", "output", "side", "is", "cost", "pay",
)  # fmt: skip
_BREAKS = (",", ";", ".", ":", "(", "\n", "–", "—")


def split(read: Read) -> list[Read]:
    """Return the message of each model. Empty if the amounts are not given model by model, or in doubt."""
    every = tokens(read.text)
    models, amounts = [one for one in every if one.kind in ("model", "unknown")], _amounts(read.quantities)
    related = any(read.has(kind) for kind in ("compare", "switch", "save")) or {"request", "user"} & {*read.asked_per}
    if len({one.text for one in models}) < 2 or not len(models) == len({one.text for one in models}) == len(amounts):
        return []
    if related or words.ALTERNATIVES & {one.text for one in every} or not _is_plain(every, read, models, amounts):
        return []
    order = [kind for _, kind in sorted([*((one.start, 0) for one in amounts), *((one.start, 1) for one in models)])]
    if any(one == other for one, other in pairwise(order)):
        return []
    if not all(_is_beside(every, read.quantities, *pair) for pair in zip(amounts, models, strict=True)):
        return []
    starts = [one.start for one in (amounts if order[0] == 0 else models)]
    sized = [one for one in read.quantities if one.unit in _TOKENS]
    own = [[one for one in sized if start <= one.start < end] for start, end in pairwise([*starts, len(read.text)])]
    if any(own[:-1]) and not all(own):
        return []
    if not any(own[:-1]):
        if own[-1] and not _stand_apart(every, max(amounts[-1].end, models[-1].end)):
            return []
        own = [[] for _ in models]
    apart = {one.start for part in (amounts, *own) for one in part}
    common, said = (
        [one for one in read.quantities if one.start not in apart],
        [w for w in read.words if w[0] != "total"],
    )
    return [
        replace(
            read, words=said, quantities=sorted([*common, amount, *mine], key=attrgetter("start")),
            models=[model.text] if model.kind == "model" else [],
            unknown_models=[model.text] if model.kind == "unknown" else [],
        )
        for model, amount, mine in zip(models, amounts, own, strict=True)
    ]  # fmt: skip


def _amounts(quantities: list[Quantity]) -> list[Quantity]:
    """Requests or money for a period. A number by itself is one too, like those beside it."""
    requests = [one for one in quantities if one.unit == "request" and not one.things]
    full = requests or [one for one in quantities if one.unit == "money" and not {*one.things, "million"} & {*one.per}]
    bare = [one for one in quantities if not one.unit and not one.per and not one.role and one.value is not None]
    years = any(re.fullmatch(r"(?:19|20)\d\d", one.text) for one in bare)
    if not full or years or any((one.per, one.currency) != (full[0].per, full[0].currency) for one in full):
        return []
    like = [replace(full[0], value=one.value, text=one.text, start=one.start, end=one.end) for one in bare]
    return sorted([*full, *like], key=attrgetter("start"))


def _is_beside(every: list[Token], quantities: list[Quantity], amount: Quantity, model: Token) -> bool:
    """Tell if a number without a unit stands beside its model: in `top 3: gpt-4o` the 3 is of something else."""
    if any(one.unit for one in quantities if one.start == amount.start):
        return True
    before = amount.start < model.start
    start, end = (amount.end, model.start) if before else (model.end, amount.start)
    if before and not any(one.unit and one.end <= start for one in quantities):
        return False
    marks = {one.text for one in every if start <= one.start < end and one.kind == "sign"}
    return marks <= ({"("} if before else {"(", ":", "=", "-", "–"})


def _is_plain(every: list[Token], read: Read, models: list[Token], amounts: list[Quantity]) -> bool:
    """Tell if nothing but joints stands between the first and the last amount or model."""
    places = [*((one.start, one.end) for one in amounts), *((one.start, one.end) for one in models)]
    first, last, spans = min(places)[0], max(places)[1], [(one.start, one.end) for one in read.quantities]
    return all(
        token.kind in ("sign", "model", "unknown")
        or any(start <= token.start < end for start, end in spans)
        or token.text in words.JOINTS
        or words.means(token.text, *_BETWEEN)
        for token in every
        if first <= token.start < last
    )


def _stand_apart(every: list[Token], end: int) -> bool:
    """Tell if what follows the last amount is set apart from it, or said to be of each."""
    after = [one for one in every if one.start >= end]
    return bool(after) and (after[0].text in _BREAKS or any(words.means(one.text, "each") for one in after))
