"""Roles of quantities: what a percentage, a factor or an amount is of, by the words around it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from agents.advisor.language.grammar import Quantity, Read
from agents.advisor.language.lexer import Token
from agents.advisor.language.vocabulary import ONES, is_more, means


def shared(found: Sequence[Quantity], text: str) -> list[Quantity]:
    """Input and output beside each other are for the same: `1M input and 200k output tokens a day`, `$3/$15 per M`."""
    made = list(found)
    for at in range(len(made) - 1):
        one, other = made[at], made[at + 1]
        slash = text[one.end : other.start].strip() == "/"
        if slash and one.unit == other.unit == "money" and not one.per and other.per == ("million",):
            made[at : at + 2] = replace(one, per=other.per, direction="in"), replace(other, direction="out")
        pair = one.unit == other.unit == "token" and {one.direction, other.direction} == {"in", "out"}
        if pair and one.sentence == other.sentence and bool(one.per) != bool(other.per):
            per, noun = one.per or other.per, one.noun or other.noun
            made[at : at + 2] = replace(one, per=per, noun=noun), replace(other, per=per, noun=noun)
    return made


def placed(tokens: list[Token], found: Read, both: list[Quantity], prefixes: list[str]) -> list[Quantity]:
    """Return the quantities with their roles. `prefixes`: what the sentence of each says that it is for."""
    calls = any(one.unit == "request" for one in both)
    prefixed = [_prefixed(one, prefix, calls) for one, prefix in zip(both, prefixes, strict=True)]
    return [_Roles(tokens, found, one).placed() for one in prefixed]


def _prefixed(one: Quantity, prefix: str, calls: bool) -> Quantity:
    """`Each run takes 12 calls`: the quantities of the sentence are for one run, but for its number of runs."""
    kind, _, noun = prefix.partition(":")
    if not kind or one.things or one.unit not in ("token", "request", "money", "character", "word", "page"):
        return one
    if (one.unit == kind and one.noun in (noun, "", "them", "denen")) or (one.unit == "money" and kind != "user"):
        return one
    if one.unit == "token" and kind == "user" and calls:
        return one
    return replace(one, per=(*one.per, kind), noun=one.noun or (f"/{noun}" if noun else ""))


class _Roles:
    """One quantity among the tokens of its message. They are in order, so a place is found by bisection."""

    def __init__(self, tokens: list[Token], found: Read, one: Quantity) -> None:
        end = bisect_right(tokens, one.start, key=attrgetter("end"))
        start, after = (bisect_left(tokens, place, key=attrgetter("start")) for place in (one.start, one.end))
        self._one, self._before = one, [token.text for token in tokens[:end][-20:]]
        self._inside, self._after = (
            [token.text for token in part] for part in (tokens[start:after], tokens[after:][:2])
        )
        self._said = {(kind, value) for kind, value, sentence in found.words if sentence == one.sentence}

    def placed(self) -> Quantity:
        """The role of a percentage, a factor or an amount, by the classes of words in its sentence."""
        one, near = self._one, {kind for kind, _ in self._said}
        if one.role or one.unit not in ("percent", "factor", "money", ""):
            return one
        role = ""
        to = bool(self._before) and means(self._before[-1], "to")
        if not one.unit:
            role = "paid" if one.per and self._is_paid() else ""
        elif one.unit == "money":
            close = [*self._before[-3:], *self._inside, *self._after]
            budget = any(means(text, "budget") for text in close)
            role = "goal" if to and "save" in near else "budget" if budget else ""
        elif to:
            return one
        elif one.unit == "percent" and self._after and means(self._after[0], "cached", "batched"):
            role = "cached" if means(self._after[0], "cached") else "batched"
        elif one.unit == "percent" and one.periods:
            role = "compound" if len(one.per) == 1 and self._grows() else ""
        elif one.unit == "factor":
            role = "rise" if "price" in near else "grow" if "grow" in near else ""
        else:
            parts = ("save", "cached", "batched")
            roles: list[str] = [kind for kind in parts if kind in near]
            roles += ["grow"] if "grow" in near else ["rise"] if "rise" in near else []
            role = roles[0] if len(roles) == 1 and (roles != ["grow"] or "rise" in near) else ""
            role = "" if role == "save" and not self._is_saved() else role
        return replace(one, role=role) if role else one

    def _grows(self) -> bool:
        """Tell if a percentage for each period is one of growth: `20 % more each month`, `growing 20 % a month`."""
        parts = ("cached", "batched", "share", "token", "input", "output")  # of the cost
        if {("save", "save"), ("more", "less")} & self._said or any(kind in parts for kind, _ in self._said):
            return False
        named = any(map(is_more, self._inside))
        return named or bool({("grow", "grow"), ("rise", "rise"), ("turn", "growing")} & self._said)

    def _is_saved(self) -> bool:
        """Tell if a saving of so many percent is wanted: in `save if 30 % runs on another model` it is a part."""
        last = self._before[-1] if self._before else ""
        before = next((text for text in reversed(self._before) if not means(text, "fill") and text not in ONES), "")
        wanted = any(means(text, "save") for text in [before, *self._after])
        return wanted or means(last, "by") or last in ("de", "di")

    def _is_paid(self) -> bool:
        """Tell if a word for paying stands right before the number: `we pay about 6k a month`, `our bill is 6k`."""
        before = next((text for text in reversed(self._before) if not means(text, "fill", "is")), "")
        return means(before, "pay")
