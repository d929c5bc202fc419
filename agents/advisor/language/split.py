"""Messages that give amounts for each of several models, as one message a model."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read, Token, tokens

_TOKENS = ("token", *words.TOKENS_OF)
# What may stand between the amounts: anything else may relate them in another way.
_BETWEEN = ("per", "period", "every", "request", "and", "fill", "each", "token", "input", "output", "side", "is",
            "cost", "pay")  # fmt: skip
_BREAKS = (",", ";", ".", ":", "(", "\n", "–", "—")


def split(read: Read) -> list[Read]:
    """Return the message of each model. Empty if the amounts are not given model by model, or in doubt."""
    every = tokens(read.text)
    models = [one for one in every if one.kind in ("model", "unknown")]
    if len(models) < 2 or len({one.text for one in models}) != len(models) or {"request", "user"} & {*read.asked_per}:
        return []
    if any(read.has(kind) for kind in ("compare", "switch", "save")) or words.ALTERNATIVES & {
        one.text for one in every
    }:
        return []
    amounts = _amounts(read.quantities)
    if len(amounts) != len(models) or not _is_plain(every, read.quantities, models, amounts):
        return []
    first = amounts if amounts[0].start < models[0].start else models
    beside = all(map(_is_beside, itertools.repeat(every), itertools.repeat(read.quantities), amounts, models))
    starts = [one.start for one in first] if beside and _alternate(amounts, models) else []
    sized = [one for one in read.quantities if one.unit in _TOKENS]
    inside = [
        [one for one in sized if start <= one.start < end]
        for start, end in itertools.pairwise([*starts, len(read.text)])
    ]
    if not starts or (any(inside[:-1]) and not all(inside)):
        return []
    if not any(inside[:-1]) and inside[-1] and not _stand_apart(every, max(amounts[-1].end, models[-1].end)):
        return []
    own = inside if any(inside[:-1]) else [[] for _ in models]
    apart = {one.start for part in (amounts, *own) for one in part}
    common = [one for one in read.quantities if one.start not in apart]
    said = [one for one in read.words if one[0] != "total"]
    return [
        replace(
            read, models=[model.text] if model.kind == "model" else [], words=said,
            unknown_models=[model.text] if model.kind == "unknown" else [],
            quantities=sorted([*common, amount, *mine], key=_start),
        )
        for model, amount, mine in zip(models, amounts, own, strict=True)
    ]  # fmt: skip


def _start(one: Quantity) -> int:
    return one.start


def _amounts(quantities: Sequence[Quantity]) -> list[Quantity]:
    """Requests or money for a period. A number by itself is one too, like those beside it."""
    requests = [one for one in quantities if one.unit == "request" and not {"request", "user"} & {*one.per}]
    money = [one for one in quantities if one.unit == "money" and not {"request", "user", "million"} & {*one.per}]
    full = requests or money
    if not full or any((one.per, one.currency) != (full[0].per, full[0].currency) for one in full):
        return []
    bare = [one for one in quantities if not one.unit and not one.per and not one.role and one.value is not None]
    if any(re.fullmatch(r"(?:19|20)\d\d", one.text) for one in bare):  # a year
        return []
    like = [replace(full[0], value=one.value, text=one.text, start=one.start, end=one.end) for one in bare]
    return sorted([*full, *like], key=_start)


def _alternate(amounts: Sequence[Quantity], models: Sequence[Token]) -> bool:
    kinds = [kind for _, kind in sorted([*((one.start, 0) for one in amounts), *((one.start, 1) for one in models)])]
    return all(one != other for one, other in itertools.pairwise(kinds))


def _is_beside(every: Sequence[Token], quantities: Sequence[Quantity], amount: Quantity, model: Token) -> bool:
    """Tell if a number without a unit stands beside its model: in `top 3: gpt-4o` the 3 is of something else."""
    if any(one.unit for one in quantities if one.start == amount.start):
        return True
    start, end = (amount.end, model.start) if amount.start < model.start else (model.end, amount.start)
    if amount.start < model.start and not any(one.unit and one.end <= start for one in quantities):
        return False
    marks = {one.text for one in every if start <= one.start < end and one.kind == "sign"}
    return marks <= ({"("} if amount.start < model.start else {"(", ":", "=", "-", "–"})


def _is_plain(
    every: Sequence[Token], quantities: Sequence[Quantity], models: Sequence[Token], amounts: Sequence[Quantity]
) -> bool:
    """Tell if nothing but joints stands between the first and the last amount or model."""
    places = sorted([*((one.start, one.end) for one in amounts), *((one.start, one.end) for one in models)])
    spans = [(one.start, one.end) for one in quantities]
    return all(
        token.kind in ("sign", "model", "unknown")
        or any(start <= token.start < end for start, end in spans)
        or token.text in words.JOINTS
        or any(words.meaning(token.text, kind) for kind in _BETWEEN)
        for token in every
        if places[0][0] <= token.start < places[-1][1]
    )


def _stand_apart(every: Sequence[Token], end: int) -> bool:
    """Tell if what follows the last amount is set apart from it, or said to be of each."""
    after = [one for one in every if one.start >= end]
    return bool(after) and (after[0].text in _BREAKS or any(words.meaning(one.text, "each") for one in after))
