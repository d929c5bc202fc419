"""Roles of quantities: what a percentage, a factor or an amount is of, by the words around it."""

from bisect import bisect_left, bisect_right
from dataclasses import replace
from operator import attrgetter

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read, Token


class Roles:
    """The tokens of a message and what was found in them."""

    def __init__(self, tokens: list[Token], found: Read) -> None:
        self._tokens, self._found = tokens, found

    def prefixed(self, one: Quantity, prefix: str) -> Quantity:
        """`Each run takes 12 calls`: the quantities of the sentence are for one run, but for its number of runs."""
        kind, _, noun = prefix.partition(":")
        things = [per for per in one.per if per in ("request", "user")]
        if not kind or things or one.unit not in ("token", "request", "money", "character", "word", "page"):
            return one
        if (one.unit == kind and one.noun in (noun, "", "them", "denen")) or (one.unit == "money" and kind != "user"):
            return one
        if one.unit == "token" and kind == "user" and any(other.unit == "request" for other in self._found.quantities):
            return one
        return replace(one, per=(*one.per, kind), noun=one.noun or (f"/{noun}" if noun else ""))

    def placed(self, one: Quantity) -> Quantity:
        """The role of a percentage, a factor or an amount, by the classes of words in its sentence."""
        if one.role or one.unit not in ("percent", "factor", "money", ""):
            return one
        if not one.unit:
            return replace(one, role="paid") if one.per and self._is_paid(one) else one
        near = {kind for kind, _, sentence in self._found.words if sentence == one.sentence}
        if one.unit == "money":
            goal = "save" in near and self._follows(one, "to")
            return replace(one, role="goal" if goal else "budget" if self._beside(one, "budget") else "")
        if self._follows(one, "to"):
            return one
        after = next((token.text for token in self._tokens if token.start >= one.end), "")
        if one.unit == "percent" and (beside := [kind for kind in ("cached", "batched") if words.meaning(after, kind)]):
            return replace(one, role=beside[0])
        if one.unit == "percent" and set(one.per) & set(words.PERIODS):
            return replace(one, role="compound") if len(one.per) == 1 and self._grows(one) else one
        roles = [kind for kind in ("save", "cached", "batched", "rise", "grow") if kind in near]
        if "rise" in roles and "grow" in roles:
            roles.remove("rise")
        if roles == ["grow"] and one.unit == "percent" and "rise" not in near:
            roles = []
        if one.unit == "factor":
            roles = ["rise"] if "price" in near else ["grow"] if "grow" in near else []
        return replace(one, role=roles[0]) if len(roles) == 1 else one

    def _grows(self, one: Quantity) -> bool:
        """Tell if a percentage for each period is one of growth: `20 % more each month`, `growing 20 % a month`."""
        said = {(kind, value) for kind, value, sentence in self._found.words if sentence == one.sentence}
        inside = [token.text for token in self._tokens if one.start <= token.start < one.end]
        parts = ("cached", "batched", "share", "token", "input", "output")  # of the cost
        if ("save", "save") in said or ("more", "less") in said or any(kind in parts for kind, _ in said):
            return False
        named = [words.meaning(word, kind) == kind for word in inside for kind in ("more", "grow", "rise")]
        return any(named) or bool({("grow", "grow"), ("rise", "rise"), ("turn", "growing")} & said)

    def _is_paid(self, one: Quantity) -> bool:
        """Tell if a word for paying stands right before the number: `we pay about 6k a month`, `our bill is 6k`."""
        before = [token.text for token in self._tokens if token.end <= one.start]
        while before and (words.meaning(before[-1], "fill") or words.meaning(before[-1], "is")):
            before.pop()
        return bool(before and words.meaning(before[-1], "pay"))

    def _beside(self, one: Quantity, kind: str) -> bool:
        """Return whether a word of the class stands within two words of the quantity."""
        after = bisect_left(self._tokens, one.end, key=attrgetter("start"))
        inside = bisect_left(self._tokens, one.start, key=attrgetter("start"))
        near = [*self._before(one, 3), *self._tokens[inside : after + 2]]
        return any(words.meaning(token.text, kind) for token in near)

    def _follows(self, one: Quantity, kind: str) -> bool:
        return any(words.meaning(token.text, kind) for token in self._before(one, 1))

    def _before(self, one: Quantity, count: int) -> list[Token]:
        """Return up to this many tokens before the quantity. Tokens are in order, so the search is a bisection."""
        end = bisect_right(self._tokens, one.start, key=attrgetter("end"))
        return self._tokens[max(0, end - count) : end]
