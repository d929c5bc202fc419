"""Quantities in a message: numbers with unit, direction, denominators and role, and the models that it names.

The grammar knows words by a table (`vocabulary`) and neighbourhood, in any order of sentences. It does not understand
language: a number whose neighbours are in no table stays without unit, and the caller asks what it is.
"""

from dataclasses import replace

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Number, Pieces, Quantity, Read, quarter_at, singular
from agents.advisor.language.lexer import Token, number, values_first
from agents.advisor.language.roles import placed, shared
from agents.advisor.language.vocabulary import is_more, meaning, means
from agents.usage.figures import numeral
from chat.translation import t

MAX_TEXT = 20_000  # characters of a message that are read
MAX_NUMBERS = 200
_ENDS = (".", "?", "!", ";", "\n", "。", "？", "！", "；")
_SHORT_PERIODS = {"s": "second", "d": "day", "y": "year", "w": "week", "q": "quarter"}
_IN = ("in", "im", "for", "during", "en", "au", "nel", "no")
_EACH = ("each", "every", "jede", "jeder", "jedes", "jeden", "chaque", "cada", "ogni", "每")
_PER_WORDS = ("per", "pro", "par", "por", "/", "je", "one")
_DASHES = ("-", "–", "—", "~", "～", "〜")
_SIDES = {"input": "in", "output": "out"}
# What a unit usually belongs to.
_OWNERS = {"token": "request", "search": "request", "request": "user", "money": "user"}
_MAX_SKIPPED = 3


def read(text: str) -> Read:
    """Return the quantities, models and known words of a message."""
    found = _Phrases(values_first(text[:MAX_TEXT])).read()
    if len(text) > MAX_TEXT:
        found.doubts.append(t("only the first {0} characters were read", numeral(f"{MAX_TEXT:,}")))
    return found


class _Phrases(Pieces):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._sentence = self._used = 0
        self._prefix = self._day = ""
        self._prefixes: list[str] = []
        self._times: Quantity | None = None

    def read(self) -> Read:
        at, found = 0, self.found
        found.models = [token.text for token in self.tokens if token.kind == "model"]
        found.products = [words.folded(token.text) for token in self.tokens if token.kind == "product"]
        found.unknown_models = [token.text for token in self.tokens if token.kind == "unknown"]
        while at < len(self.tokens):
            at = self._step(at)
        if self._day and found.quantities:
            found.doubts.append(t("“{0}”: of which amount", self._day))
        found.quantities = placed(self.tokens, found, shared(found.quantities, found.text), self._prefixes)
        if any(one.role == "compound" for one in found.quantities):
            found.doubts = [one for one in found.doubts if one != t("“{0}”", "growing")]
        return found

    def _step(self, at: int) -> int:
        token = self.tokens[at]
        if named := self._quarter(at):
            self._day = "quarter"
            return named
        if token.kind == "sign" and token.text in _ENDS:
            self._sentence, self._prefix = self._sentence + 1, ""
        elif token.kind == "date":
            self._add(Quantity(None, token.text, token.start, token.end, "date"))
        elif token.kind in ("number", "word", "sign"):
            if (found := self._number(at)) and len(self.found.quantities) < MAX_NUMBERS:
                return self._quantity(found)
            if token.kind != "number":
                return self._word(at)
            self.found.doubts.append(t("more numbers than I read"))
        return at + 1

    def _quantity(self, found: Number) -> int:
        before, token, after, at = self._at(found.at - 1), self.tokens[found.at], self._at(found.end), found.end
        one = Quantity(found.value, "", token.start, 0, sentence=self._sentence)
        if token.text in words.FACTORS and at == found.at + 1:
            one = replace(one, unit="factor")
        elif before.text in words.CURRENCIES and before.kind in ("word", "sign"):
            one = replace(one, unit="money", currency=words.CURRENCIES[before.text], start=before.start)
            at += words.CURRENCIES.get(after.text) == one.currency
        elif after.text in words.CURRENCIES:
            one, at = replace(one, unit="money", currency=words.CURRENCIES[after.text]), at + 1
        elif after.text in words.CENTS:
            one, at = replace(one, unit="money", value=None if one.value is None else one.value / 100), at + 1
        elif after.text in words.PERCENTS:
            one, at = replace(one, unit="percent"), at + 1
            if side := next((side for word, side in _SIDES.items() if meaning(self._at(at).text, word)), ""):
                one, at = replace(one, role=f"{side} share"), at + 1 + self._means(at + 1, "token")
        elif split := self._split(found):
            return split
        elif after.text in words.PRODUCT_SIGNS and after.glued and not self._number(at + 1):
            one, at = replace(one, unit="factor"), at + 1
        elif side := self._side_before(found.at, at):
            one, at = replace(one, unit="token", direction=side), at + self._means(at, "token")  # type: ignore[arg-type]
        else:
            one, at = self._counted(one, at)
        if one.unit == "period" and one.value == 1 and ord(after.text[:1] or " ") > 0x2E7F:  # 1日1000件: a day
            self._day = one.noun
            return at
        if self._is_range(found, at) and not (one.unit == "period" and before.text == "over"):
            self.found.doubts.append(t("a range"))
        one, at = self._denominators(one, at)
        if self._day:
            one, self._day = one.of_each(self._day), ""
        every = meaning(before.text, "every") if before.kind == "word" else None
        every = every or (meaning(self._at(found.at - 2).text, "every") if one.unit == "money" else None)
        if every and not one.periods:
            one = one.of_each(every)
            if every in self.found.asked_per:
                self.found.asked_per.remove(every)
        one = self._signed(one, token, found.scale)
        one = replace(one, end=self.tokens[at - 1].end, text=self.found.text[one.start : self.tokens[at - 1].end])
        if self._times:
            one = one.of_each("user" if self._times.unit == "user" else "request")
        self._times = one if self._at(at).text in words.PRODUCT_SIGNS and self._number(at + 1) else None
        self._add(one)
        self._used = at
        return at + 1 if self._times else at

    def _signed(self, one: Quantity, token: Token, scale: float) -> Quantity:
        """Read 50.000 of things as a whole number, and leave one below zero without a value: it counts nothing here."""
        things = one.unit in ("request", "user", "token", "character", "word")
        if things and one.value is None and token.kind == "number" and scale == 1.0:
            one = replace(one, value=number(token.text, whole=True))
        before = self.found.text[max(0, one.start - 2) : one.start]
        negative = before[-1:] in ("-", "−") and not before[:-1].strip()
        return replace(one, value=None, start=one.start - 1) if negative else one

    def _is_range(self, found: Number, end: int) -> bool:
        at, after = found.at, self._number(found.end + 1)
        if self._at(found.end).text in _DASHES and after:
            return True
        if (self._means(found.end, "to") or self._means(end, "to")) and (after or self._number(end + 1)):
            return True
        if self._at(end).text in ("or", "oder", "ou", "o") and self._number(end + 1):
            return True
        if self._means(at - 1, "to") and self._at(at - 2).text == "up":
            return True
        if self._means(at - 1, "than"):
            return self._means(at - 2, "more")
        return any(self._means(at - back, "range") for back in (1, 2, 3) if at >= back)

    def _split(self, found: Number) -> int:
        """Add the two parts of a hundred in `80/20 input output`. Returns where they end, 0 for anything else."""
        second = self._number(found.end + 1) if self._at(found.end).text in ("/", ":", "-") else None
        if not second or found.value is None or second.value is None or found.value + second.value != 100:
            return 0
        near = self.tokens[second.end : second.end + 4]
        if [side for token in near for side in _SIDES if means(token.text, side)][:2] != ["input", "output"]:
            return 0
        for one, side in ((found, "in"), (second, "out")):
            token = self.tokens[one.at]
            self._add(Quantity(one.value, token.text, token.start, token.end, "percent", role=f"{side} share"))
        return second.end

    # Units

    def _counted(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        """The noun after a number. Known adjectives and names are passed over; an unknown word ends the search."""
        here, period = at, ""
        for _ in range(_MAX_SKIPPED + 1):
            token = self._at(here)
            every = meaning(token.text, "every") if token.kind == "word" and here == at else None
            passed = token.kind in ("model", "product") or means(token.text, "fill") or token.text in ("-", "–")
            if every:
                period = every
            elif not passed and not (self._means(here, "search") and self._means(here + 1, "request")):
                found = self._unit(one, here) if token.kind == "word" else None
                if not found:
                    break
                # Of `monthly active users` the month says nothing about how many there are.
                return (found[0].of_each(period) if period and found[0].unit != "user" else found[0]), found[1]
            here += 1
        return one, at

    def _unit(self, one: Quantity, at: int) -> tuple[Quantity, int] | None:
        text = self._at(at).text
        if means(text, "side") and self._is_side(at):
            return replace(one, unit="token", direction=text), at + 1  # type: ignore[arg-type]
        for side, direction in _SIDES.items():
            value = meaning(text, side)
            if value == "prompt" and not self._means(at + 1, "token"):
                return replace(one, unit="request", noun="prompt"), at + 1
            if value:
                return self._directed(one, at + 1, direction)
        if means(text, "token"):
            return self._tokens_of(one, at + 1)
        for kind in ("request", "user", "text", "period", "search"):
            if value := meaning(text, kind):
                noun = singular(text) if kind in ("request", "user") else value
                return replace(one, unit=value if kind == "text" else kind, noun=noun), at + 1  # type: ignore[arg-type]
        return None

    def _is_side(self, at: int) -> bool:
        """`in` is a preposition before a word, and a side before anything else."""
        after = self._at(at + 1)
        aside = self._number(at + 1) or self._means(at + 1, "and", "every") or after.text in ("per", "each")
        return self._at(at).text == "out" or after.kind != "word" or bool(aside)

    def _directed(self, one: Quantity, at: int, side: str) -> tuple[Quantity, int]:
        both = at + (self._at(at).text == "-")
        if self._means(both, "and") and self._means(both + 1, "output", "input"):
            at, side = both + 2, ""
        at += self._at(at).text == "-"
        return replace(one, unit="token", direction=side), at + self._means(at, "token")  # type: ignore[arg-type]

    def _side_before(self, at: int, end: int) -> str:
        """The side that stands before the number at `at` as its label: `input: 2000`, `answers are 400 tokens`."""
        plain = ("token", "input", "output", "and", "per", "every", "each", "side")
        if self._at(end).kind != "sign" and not self._means(end, *plain):
            return ""
        back = at - 1
        while self._means(back, "fill") and self._at(back).text not in ("of", "de"):
            back -= 1
        back -= self._means(back, "is") or self._at(back).text in ("of", "von", "de")
        back -= self._means(back, "token")
        if back < self._used or self._at(back).kind != "word":
            return ""
        sides = [direction for side, direction in _SIDES.items() if self._means(back, side)]
        return sides[0] if len(sides) == 1 else ""

    def _tokens_of(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        """`tokens`, `tokens in`, `tokens de entrada`, `token system prompt`, `tokens of output`."""
        one, here = replace(one, unit="token"), at
        while self._means(here, "fill"):
            here += 1
        text = self._at(here).text
        if means(text, "system"):
            return replace(one, direction="in", system=True), here + 1 + self._means(here + 1, "input")
        if here == at and means(text, "side") and self._is_side(here):
            return replace(one, direction=text), here + 1  # type: ignore[arg-type]
        side = next((direction for side, direction in _SIDES.items() if means(text, side)), "")
        return (replace(one, direction=side), here + 1) if side else (one, at)  # type: ignore[arg-type]

    def _denominators(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        while True:
            here = at
            for _ in range(2):
                token = self._at(here)
                passed = means(token.text, "audio", "budget") or (token.text in ("of", "in", "de") and one.unit != "")
                passed = passed or (one.unit == "percent" and is_more(token.text))
                here += passed and token.kind == "word"
            token, period = self._at(here), meaning(self._at(here + 1).text, "period")
            if one.periods and (period or meaning(token.text, "every")):
                return one, at  # 5 a day per month: a figure for a month is asked for
            if named := self._quarter(here) or (self._quarter(here + 1) if token.text in _IN else None):
                one, at = one.of_each("quarter"), named
            elif every := meaning(token.text, "every"):
                one, at = one.of_each(every), here + 1
            elif period and means(token.text, "when", "each"):
                one, at = one.of_each(period), here + 2
            elif means(token.text, "each"):
                one, at = self._of_owner(one), here + 1
            elif means(token.text, "per") and (found := self._per_what(one, token, here + 1)):
                one, at = found
            else:
                return one, at

    def _of_owner(self, one: Quantity) -> Quantity:
        return one.of_each(_OWNERS[one.unit]) if one.unit in _OWNERS else one

    def _quarter(self, at: int) -> int | None:
        """The end of a quarter's name that begins here."""
        while self._means(at, "fill"):
            at += 1
        named = quarter_at(self.tokens, at)
        if named:
            self.found.periods.append(self.found.text[self.tokens[at].start : self.tokens[named.end - 1].end])
        return named.end if named else None

    def _per_what(self, one: Quantity, per: Token, at: int) -> tuple[Quantity, int] | None:
        if one.unit == "money" and (found := self._per_many(one, at)):
            return found
        if per.text == "/" and self._number(at):
            return None
        while self._means(at, "fill") or self._at(at).kind in ("model", "product"):
            at += 1
        text = self._at(at).text
        if period := meaning(text, "period") or (_SHORT_PERIODS.get(text) if per.text == "/" else None):
            return one.of_each(period), at + 1
        if one.unit == "money" and means(text, "token"):
            return replace(one.of_each("million"), value=None if one.value is None else one.value * 1e6), at + 1
        if one.unit == "money" and means(text, "search"):
            return one.of_each("search"), at + 1
        prompt = meaning(text, "input") == "prompt"
        if thing := "request" if prompt or means(text, "request") else "user" if means(text, "user") else "":
            return replace(one.of_each(thing), noun=one.noun or f"/{singular(text)}"), at + 1
        return (self._of_owner(one), at) if per.text in _EACH and one.unit in ("token", "request") else None

    def _per_many(self, one: Quantity, at: int) -> tuple[Quantity, int] | None:
        """`per 1M tokens`, `per million`, `/M`, `per 1,000 requests`: how much of it an amount buys."""
        many, token = self._number(at), self._at(at)
        if not many and token.kind == "word" and token.text in words.SCALES:
            if token.text in ("m", "b") and not self._written(token).isupper():
                return None
            many = Number(at, at + 1, words.SCALES[token.text])
        if not many or not many.value or one.value is None or self._at(many.end).text in words.CURRENCIES:
            return None
        counted, end = self._counted(Quantity(None, "", 0, 0), many.end)
        if counted.unit in ("token", ""):
            value = one.value / many.value * 1e6
            return replace(one.of_each("million"), value=value, direction=counted.direction), end
        known = counted.unit in ("request", "user", "search")
        return (replace(one.of_each(counted.unit), value=one.value / many.value), end) if known else None

    # Words outside of quantities

    def _word(self, at: int) -> int:
        token, found, text = self.tokens[at], self.found, self.tokens[at].text
        meanings, is_word = words.MEANINGS.get(text, []), token.kind == "word"
        kinds = {one.kind for one in meanings}
        if is_word and text in words.VENDOR_NAMES:
            found.vendors.append(words.VENDOR_NAMES[text])
        if is_word and text in words.CURRENCIES:
            found.currencies.append(words.CURRENCIES[text])
        if "per" in kinds and (end := self._asked_per(at)):
            return end
        found.asked_per += [one.value for one in meanings if one.kind == "every"][:1]
        counts = "vague" in kinds and (self._is_scale(at + 1, 2) or text.endswith(("s", "数")))
        if counts or (is_word and text in words.SCALES and len(text) > 2 and not kinds):
            found.doubts.append(t("“{0}”: how many", text))
        found.words += [(one.kind, one.value, self._sentence) for one in meanings]
        unknown = is_word and not meanings and text not in words.VENDOR_NAMES and text not in words.CURRENCIES
        found.unknown_words += [text] if unknown else []
        if kinds & {"turn", "outside"} or (unknown and any(letter.isdigit() for letter in text)):
            found.doubts.append(t("“{0}”", text))
        return at + 1

    def _asked_per(self, at: int) -> int | None:
        """`per PR`, `a month`, without a number: what an answer is wanted for, or what the numbers after it are for."""
        here = at + 1
        while self._means(here, "fill") or self._at(here).kind in ("model", "product"):
            here += 1
        text, per = self._at(here).text, self.tokens[at].text
        period = meaning(text, "period") if per != "one" else None
        thing = next((kind for kind in ("request", "user") if means(text, kind)), "")
        if period or thing:
            if not period:
                self._prefix = f"{thing}:{singular(text)}"
            self.found.asked_per += [period or thing] if period or per in _PER_WORDS else []
            return here + 1
        if per in _EACH:
            self._prefix = "user:"
        return None

    def _add(self, one: Quantity) -> None:
        self.found.quantities.append(replace(one, sentence=self._sentence))
        self._prefixes.append(self._prefix)
