"""Quantities out of tokens: each number with the words around it that say what it counts, for what and of what."""

from dataclasses import replace

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import (
    MAX_NUMBERS,
    MAX_TEXT,
    Number,
    Pieces,
    Quantity,
    Read,
    Token,
    counting,
    per_each,
    per_unit,
    shared,
    signed,
    singular,
    values_first,
)
from agents.advisor.language.periods import quarter_at
from agents.advisor.language.roles import Roles

_ENDS = (".", "?", "!", ";", "\n", "。", "？", "！", "；")
_SHORT_PERIODS = {"s": "second", "d": "day", "y": "year", "w": "week", "q": "quarter"}
_IN = ("in", "im", "for", "during", "en", "au", "nel", "no")
_EACH = ("each", "every", "jede", "jeder", "jedes", "jeden", "chaque", "cada", "ogni", "每")
_PER_WORDS = ("per", "pro", "par", "por", "/", "je", "one")
_MAX_SKIPPED = 3


def read(text: str) -> Read:
    """Return the quantities, models and known words of a message."""
    found = _Phrases(values_first(text[:MAX_TEXT])).read()
    if len(text) > MAX_TEXT:
        found.doubts.append(f"only the first {MAX_TEXT:,} characters were read")
    return found


def _is_more(word: str) -> bool:
    return any(words.meaning(word, kind) == kind for kind in ("more", "grow", "rise"))


class _Phrases(Pieces):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._found = Read(text)
        self._sentence = 0
        self._prefix = ""
        self._prefixes: list[str] = []
        self._times: Quantity | None = None
        self._used = 0
        self._day = ""

    def read(self) -> Read:
        at, found = 0, self._found
        found.models = [token.text for token in self._tokens if token.kind == "model"]
        found.products = [words.folded(token.text) for token in self._tokens if token.kind == "product"]
        found.unknown_models = [token.text for token in self._tokens if token.kind == "unknown"]
        while at < len(self._tokens):
            at = self._step(at)
        if self._day and found.quantities:
            found.doubts.append(f"“{self._day}”: of which amount")
        both = shared(found.quantities, found.text)
        roles = Roles(self._tokens, found)
        prefixed = [roles.prefixed(one, prefix) for one, prefix in zip(both, self._prefixes, strict=True)]
        found.quantities = [roles.placed(one) for one in prefixed]
        if any(one.role == "compound" for one in found.quantities):
            found.doubts = [one for one in found.doubts if one != "“growing”"]
        return found

    def _step(self, at: int) -> int:
        token = self._tokens[at]
        if named := self._quarter(at):
            self._day = "quarter"
            return named
        if token.kind == "sign" and token.text in _ENDS:
            self._sentence, self._prefix = self._sentence + 1, ""
            return at + 1
        if token.kind in ("model", "product", "unknown"):
            return at + 1
        if token.kind == "date":
            self._add(Quantity(None, token.text, token.start, token.end, "date"))
        elif (found := self._number(at)) and len(self._found.quantities) < MAX_NUMBERS:
            return self._quantity(found)
        elif token.kind == "number":
            self._found.doubts.append("more numbers than I read")
        else:
            return self._word(at)
        return at + 1

    def _quantity(self, found: Number) -> int:
        before, token = self._at(found.at - 1), self._tokens[found.at]
        one = Quantity(found.value, "", token.start, 0, sentence=self._sentence)
        at = found.end
        if token.text in words.FACTORS and found.end == found.at + 1:
            one = replace(one, unit="factor")
        elif before.text in words.CURRENCIES and before.kind in ("word", "sign"):
            one = replace(one, unit="money", currency=words.CURRENCIES[before.text], start=before.start)
            if words.CURRENCIES.get(self._at(at).text) == one.currency:
                at += 1
        elif self._at(at).text in words.CURRENCIES:
            one = replace(one, unit="money", currency=words.CURRENCIES[self._at(at).text])
            at += 1
        elif self._at(at).text in words.CENTS:
            one = replace(one, unit="money", value=None if one.value is None else one.value / 100)
            at += 1
        elif self._at(at).text in words.PERCENTS:
            one = replace(one, unit="percent")
            at += 1
        elif self._is_split(found):
            return self._split(found)
        elif self._at(at).text in words.PRODUCT_SIGNS and self._at(at).glued and not self._number(at + 1):
            one = replace(one, unit="factor")
            at += 1
        elif side := self._side_before(found.at, at):
            one = replace(one, unit="token", direction=side)  # type: ignore[arg-type]
            at += 1 if words.meaning(self._at(at).text, "token") else 0
        else:
            one, at = self._counted(one, at)
        if one.unit == "period" and one.value == 1 and ord(self._at(found.end).text[:1] or " ") > 0x2E7F:
            # 1日1000件: a day.
            self._day = one.noun
            return at
        if self._is_range(found, at) and not (one.unit == "period" and before.text == "over"):
            self._found.doubts.append("a range")
        one, at = self._denominators(one, at)
        if self._day:
            one, self._day = per_unit(one, self._day), ""
        every = words.meaning(before.text, "every") if before.kind == "word" else None
        every = every or (words.meaning(self._at(found.at - 2).text, "every") if one.unit == "money" else None)
        if every and not set(one.per) & set(words.PERIODS):
            one = per_unit(one, every)
            if every in self._found.asked_per:
                self._found.asked_per.remove(every)
        one = signed(counting(one, token, found.scale), self._found.text)
        one = replace(one, end=self._tokens[at - 1].end, text=self._found.text[one.start : self._tokens[at - 1].end])
        # An amount that is paid has no sign in many messages, and no other unit beside it either.
        if self._times:
            thing = "user" if self._times.unit == "user" else "request"
            one = replace(one, per=tuple(dict.fromkeys((*one.per, thing))))
        self._times = one if self._at(at).text in words.PRODUCT_SIGNS and self._number(at + 1) else None
        self._add(one)
        self._used = at
        return at + 1 if self._times else at

    def _is_range(self, found: Number, end: int) -> bool:
        sign, after = self._at(found.end), self._number(found.end + 1)
        if sign.text in ("-", "–", "—", "~", "～", "〜") and after:
            return True
        joined = any(words.meaning(self._at(at).text, "to") for at in (found.end, end))
        if joined and (self._number(found.end + 1) or self._number(end + 1)):
            return True
        if self._at(end).text in ("or", "oder", "ou", "o") and self._number(end + 1):
            return True
        if words.meaning(self._at(found.at - 1).text, "to") and self._at(found.at - 2).text == "up":
            return True
        if words.meaning(self._at(found.at - 1).text, "than"):
            return words.meaning(self._at(found.at - 2).text, "more") is not None
        return any(words.meaning(self._at(found.at - back).text, "range") for back in (1, 2, 3) if found.at >= back)

    def _is_split(self, found: Number) -> bool:
        """`80/20 input output`: two parts of a hundred."""
        second = self._number(found.end + 1) if self._at(found.end).text in ("/", ":", "-") else None
        if not second or found.value is None or second.value is None or found.value + second.value != 100:
            return False
        near = self._tokens[second.end : second.end + 4]
        sides = [side for token in near for side in ("input", "output") if words.meaning(token.text, side)]
        return sides[:2] == ["input", "output"]

    def _split(self, found: Number) -> int:
        second = self._number(found.end + 1)
        assert second is not None
        for one, side in ((found, "in"), (second, "out")):
            token = self._tokens[one.at]
            share = Quantity(one.value, token.text, token.start, token.end, "percent", role=f"{side} share")
            self._add(share)
        return second.end

    # Units

    def _counted(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        """The noun after a number. Known adjectives and names are passed over; an unknown word ends the search."""
        here, period = at, ""
        for _ in range(_MAX_SKIPPED + 1):
            token = self._at(here)
            every = words.meaning(token.text, "every") if token.kind == "word" else None
            if every and here == at:
                here, period = here + 1, every
                continue
            of_search = words.meaning(token.text, "search") and words.meaning(self._at(here + 1).text, "request")
            passed = token.kind in ("model", "product") or words.meaning(token.text, "fill") or of_search
            if passed or token.text in ("-", "–"):
                here += 1
                continue
            if token.kind != "word":
                break
            if (found := self._unit(one, here)) is not None:
                named, end = found
                # Of `monthly active users` the month says nothing about how many there are.
                return (per_unit(named, period) if period and named.unit != "user" else named), end
            break
        return one, at

    def _unit(self, one: Quantity, at: int) -> tuple[Quantity, int] | None:
        text, after = self._at(at).text, self._at(at + 1)
        if words.meaning(text, "side") and self._is_side(at):
            return replace(one, unit="token", direction="in" if text == "in" else "out"), at + 1
        for side in ("input", "output"):
            value = words.meaning(text, side)
            if value == "prompt" and not words.meaning(after.text, "token"):
                return replace(one, unit="request", noun="prompt"), at + 1
            if value:
                return self._directed(one, at, "in" if side == "input" else "out")
        if words.meaning(text, "token"):
            return self._tokens_of(one, at)
        for kind in ("request", "user", "text", "period", "search"):
            value = words.meaning(text, kind)
            if value:
                noun = singular(text) if kind in ("request", "user") else value
                unit = value if kind == "text" else kind
                return replace(one, unit=unit, noun=noun), at + 1  # type: ignore[arg-type]
        return None

    def _is_side(self, at: int) -> bool:
        """`in` is a preposition before a word, and a side before anything else."""
        after = self._at(at + 1)
        if self._at(at).text == "out" or after.kind != "word":
            return True
        return bool(
            self._number(at + 1)
            or any(words.meaning(after.text, kind) for kind in ("and", "every"))
            or after.text in ("per", "each")
        )

    def _directed(self, one: Quantity, at: int, side: str) -> tuple[Quantity, int]:
        at += 1
        both = (self._at(at).text == "-" and 1) or 0
        if words.meaning(self._at(at + both).text, "and"):
            following = self._at(at + both + 1).text
            if words.meaning(following, "output") or words.meaning(following, "input"):
                at += both + 2
                side = ""
        if self._at(at).text == "-":
            at += 1
        if words.meaning(self._at(at).text, "token"):
            at += 1
        return replace(one, unit="token", direction=side), at  # type: ignore[arg-type]

    def _side_before(self, at: int, end: int) -> str:
        """The side that stands before the number at `at` as its label: `input: 2000`, `answers are 400 tokens`."""
        after = self._at(end)
        kinds = ("token", "input", "output", "and", "per", "every", "each", "side")
        if after.kind != "sign" and not any(words.meaning(after.text, kind) for kind in kinds):
            return ""
        back = at - 1
        while words.meaning(self._at(back).text, "fill") and self._at(back).text not in ("of", "de"):
            back -= 1
        linked = words.meaning(self._at(back).text, "is") or self._at(back).text in ("of", "von", "de")
        back -= 1 if linked else 0
        back -= 1 if words.meaning(self._at(back).text, "token") else 0
        if back < self._used or self._at(back).kind != "word":
            return ""
        sides = [side for side in ("input", "output") if words.meaning(self._at(back).text, side)]
        return {"input": "in", "output": "out"}[sides[0]] if len(sides) == 1 else ""

    def _tokens_of(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        """`tokens`, `tokens in`, `tokens de entrada`, `token system prompt`, `tokens of output`."""
        one, at = replace(one, unit="token"), at + 1
        here = at
        while words.meaning(self._at(here).text, "fill"):
            here += 1
        text = self._at(here).text
        if words.meaning(text, "system"):
            prompt = words.meaning(self._at(here + 1).text, "input")
            return replace(one, direction="in", system=True), here + (2 if prompt else 1)
        if here == at and words.meaning(text, "side") and self._is_side(here):
            return replace(one, direction="in" if text == "in" else "out"), here + 1
        if words.meaning(text, "input"):
            return replace(one, direction="in"), here + 1
        if words.meaning(text, "output"):
            return replace(one, direction="out"), here + 1
        return one, at

    def _denominators(self, one: Quantity, at: int) -> tuple[Quantity, int]:
        while True:
            here = at
            for _ in range(2):
                token = self._at(here)
                passed = any(words.meaning(token.text, kind) for kind in ("audio", "budget")) or (
                    token.text in ("of", "in", "de") and one.unit != ""
                )
                passed = passed or (one.unit == "percent" and _is_more(token.text))
                if passed and token.kind == "word":
                    here += 1
            token, after = self._at(here), self._at(here + 1)
            if named := self._quarter(here) or (self._quarter(here + 1) if token.text in _IN else None):
                one, at = per_unit(one, "quarter"), named
                continue
            every = words.meaning(token.text, "every")
            if every:
                one, at = per_unit(one, every), here + 1
            elif words.meaning(token.text, "when") and (period := words.meaning(after.text, "period")):
                one, at = per_unit(one, period), here + 2
            elif words.meaning(token.text, "each"):
                period = words.meaning(after.text, "period")
                one, at = (per_unit(one, period), here + 2) if period else (per_each(one), here + 1)
            elif words.meaning(token.text, "per"):
                found = self._per_what(one, token, here + 1)
                if not found:
                    return one, at
                one, at = found
            else:
                return one, at

    def _quarter(self, at: int) -> int | None:
        """The end of a quarter's name that begins here."""
        while words.meaning(self._at(at).text, "fill"):
            at += 1
        named = quarter_at(self._tokens, at)
        if named:
            self._found.periods.append(self._found.text[self._tokens[at].start : self._tokens[named.end - 1].end])
        return named.end if named else None

    def _per_what(self, one: Quantity, per: Token, at: int) -> tuple[Quantity, int] | None:
        if one.unit == "money" and (found := self._per_many(one, at)):
            return found
        if per.text == "/" and self._number(at):
            return None
        while words.meaning(self._at(at).text, "fill") or self._at(at).kind in ("model", "product"):
            at += 1
        text = self._at(at).text
        period = words.meaning(text, "period") or (_SHORT_PERIODS.get(text) if per.text == "/" else None)
        if period:
            return per_unit(one, period), at + 1
        if words.meaning(text, "token") and one.unit == "money":
            return replace(per_unit(one, "million"), value=None if one.value is None else one.value * 1e6), at + 1
        if words.meaning(text, "search") and one.unit == "money":
            return per_unit(one, "search"), at + 1
        for kind in ("request", "user"):
            if words.meaning(text, kind):
                return replace(per_unit(one, kind), noun=one.noun or f"/{singular(text)}"), at + 1
        if words.meaning(text, "input") == "prompt":
            return replace(per_unit(one, "request"), noun=one.noun or "/prompt"), at + 1
        if per.text in _EACH and one.unit in ("token", "request"):
            return per_each(one), at + 1
        return None

    def _per_many(self, one: Quantity, at: int) -> tuple[Quantity, int] | None:
        """`per 1M tokens`, `per million`, `/M`, `per 1,000 requests`: how much of it an amount buys."""
        many = self._number(at)
        if not many and self._at(at).kind == "word" and self._at(at).text in words.SCALES:
            text = self._at(at).text
            if text in ("k", "m", "b") and not self._written(self._at(at)).isupper() and text != "k":
                return None
            many = Number(at, at + 1, words.SCALES[text])
        if not many or not many.value or one.value is None or self._at(many.end).text in words.CURRENCIES:
            return None
        end = many.end
        counted, end = self._counted(Quantity(None, "", 0, 0), end)
        if counted.unit in ("token", ""):
            side = counted.direction
            return replace(per_unit(one, "million"), value=one.value / many.value * 1e6, direction=side), end
        if counted.unit in ("request", "user", "search"):
            return replace(per_unit(one, counted.unit), value=one.value / many.value), end
        return None

    # Words outside of quantities

    def _word(self, at: int) -> int:
        token = self._tokens[at]
        text = token.text
        meanings = words.MEANINGS.get(text, []) if token.kind in ("word", "sign") else []
        kinds = {one.kind for one in meanings}
        if token.kind == "word" and text in words.VENDOR_NAMES:
            self._found.vendors.append(words.VENDOR_NAMES[text])
        if token.kind == "word" and text in words.CURRENCIES:
            self._found.currencies.append(words.CURRENCIES[text])
        if "per" in kinds and (found := self._asked_per(at)):
            return found
        if "every" in kinds:
            self._found.asked_per.append(next(one.value for one in meanings if one.kind == "every"))
        if "vague" in kinds and (self._is_scale(at + 1, 2) or text.endswith(("s", "数"))):
            self._found.doubts.append(f"“{text}”: how many")
        if kinds & {"turn", "outside"}:
            self._found.doubts.append(f"“{text}”")
        for one in meanings:
            self._found.words.append((one.kind, one.value, self._sentence))
        if token.kind == "word" and not meanings and not self._is_plain(token):
            self._found.unknown_words.append(text)
            if any(letter.isdigit() for letter in text):
                self._found.doubts.append(f"“{text}”")
        if text in words.SCALES and token.kind == "word" and len(text) > 2 and not kinds:
            self._found.doubts.append(f"“{text}”: how many")
        return at + 1

    def _is_plain(self, token: Token) -> bool:
        return token.text in words.VENDOR_NAMES or token.text in words.CURRENCIES

    def _asked_per(self, at: int) -> int | None:
        """`per PR`, `a month`, without a number: what an answer is wanted for, or what the numbers after it are for."""
        here = at + 1
        while words.meaning(self._at(here).text, "fill") or self._at(here).kind in ("model", "product"):
            here += 1
        text, per = self._at(here).text, self._tokens[at].text
        period = words.meaning(text, "period")
        if period and per != "one":
            self._found.asked_per.append(period)
            return here + 1
        for kind in ("request", "user"):
            if words.meaning(text, kind):
                self._prefix = f"{kind}:{singular(text)}"
                if per in _PER_WORDS:
                    self._found.asked_per.append(kind)
                return here + 1
        if per in _EACH:
            self._prefix = "user:"
        return None

    def _add(self, one: Quantity) -> None:
        self._found.quantities.append(replace(one, sentence=self._sentence))
        self._prefixes.append(self._prefix)
