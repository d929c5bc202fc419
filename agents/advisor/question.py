"""A `Query` out of a question to usage files, by the names in the files and a table of words."""

import re
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Quantity, Read, quarter_at
from agents.advisor.language.lexer import tokens
from agents.advisor.language.phrases import read
from agents.advisor.request import Understood, checked, said
from agents.usage.asked import Query, calendar_period
from agents.usage.figures import escaped
from chat.translation import t

_EACH_REQUEST = re.compile(r"\b(?:per|each|one|a|pro|par|por)\s+(request|call|message|query|anfrage|requete)\b")
_PARTS = {"cached", "input_tokens", "output_tokens", "latency", "users"}


def understand_question(text: str, about: dict[str, Any]) -> Understood:
    """Return the query of a message to usage files. `about`: as `query.names_of` tells it.

    Every word of the message has to be known: a name of the file, a model, or a word of the table.
    """
    return _Question(text, about).understood()


class _Question:
    def __init__(self, text: str, about: dict[str, Any]) -> None:
        self._names: dict[str, list[str]] = about["names"]
        self._priced: dict[str, list[str]] = about["priced"]
        self._first, self._last, self._today = about["first"], about["last"], date.fromisoformat(about["today"])
        self._query: dict[str, Any] = {}
        self._metrics, self._by, self._weak = list[str](), list[str](), list[str]()
        self._unknown, self._supposed, self._unplaced = list[str](), list[str](), list[str]()
        self._uses = list[str]()
        self._text = self._without_periods(self._without_names(text))

    def understood(self) -> Understood:
        plain = read(self._text)
        self._take_quantities(plain)
        taken = [(one.start, one.end) for one in plain.quantities]
        for piece in tokens(self._text):
            known = piece.kind in ("word", "unknown", "model", "product")
            if known and not any(start <= piece.start < end for start, end in taken):
                self._take_word(piece.text, piece.kind)
        query = self._finished()
        doubts = tuple(t("“{0}”", escaped(word)) for word in dict.fromkeys(self._unknown))
        return checked(query, doubts, tuple(map(escaped, self._unplaced)))

    def _set(self, **values: Any) -> bool:
        """Set fields that are not set yet."""
        if {*values} & {*self._query}:
            return False
        self._query |= values
        return True

    def _without_names(self, text: str) -> str:
        """Take out the names of the file, the longest first, and choose rows by them."""
        found: dict[str, list[str]] = {}
        every = [(name, column) for column, names in self._names.items() for name in names if len(name) > 1]
        lowered = _spaced(text)
        for name, column in sorted(every, key=lambda one: -len(one[0])):
            at = lowered.find(_spaced(name))
            # `gpt-4o` is no name in `gpt-4o-mini`.
            whole = at >= 0 and not re.match(r"\w|[-.:]\w", text[at + len(name) : at + len(name) + 2])
            if whole and not re.match(r"\w", lowered[at - 1 : at]) and words.folded(name) not in words.QUERY:
                found.setdefault(column, []).append(name)
                text = text[:at] + " " * len(name) + text[at + len(name) :]
                lowered = _spaced(text)
        self._query |= {f"{column}s": "|".join(chosen) for column, chosen in found.items()}
        self._by += [column for column, chosen in found.items() if len(chosen) > 1]
        return text

    def _without_periods(self, text: str) -> str:
        """Take out “Q3”, “last month” and the like, and choose rows by its days, if the file has any of them."""
        every = tokens(text)
        for at, piece in enumerate(every):
            if (quarter := quarter_at(every, at)) and "since" not in self._query:
                end = every[quarter.end - 1].end
                self._take_span(quarter.number * 3 - 2, 3, quarter.year, text[piece.start : end])
                return text[: piece.start] + " " * (end - piece.start) + text[end:]
        for one, other in pairwise(piece for piece in every if piece.kind in ("word", "unknown")):
            apart = text[one.end : other.start].strip(" -")  # `last 4 month` is not last month
            for near, named in () if apart else ((one, other), (other, one)):
                away, period = words.RELATIVE.get(words.folded(near.text)), words.meaning(named.text, "period")
                if away is None or period not in ("week", "month", "quarter", "year") or named.text in words.SEVERAL:
                    continue
                since, until = (day.isoformat() for day in calendar_period(self._today, period, away))
                if not (self._first and self._last) or since > self._last or until < self._first:
                    self._unknown.append(f"{one.text} {other.text}")
                elif self._set(since=since, until=until):
                    return text[: one.start] + " " * (other.end - one.start) + text[other.end :]
        return text

    def _take_quantities(self, plain: Read) -> None:
        for one in plain.quantities:
            if not self._take_quantity(one):
                self._unplaced.append(one.text)
        self._unknown += [one for one in plain.doubts if one in (t("a range"), t("more numbers than I read"))]

    def _take_quantity(self, one: Quantity) -> bool:
        if one.unit == "percent" and one.role == "save":
            self._metrics.append("saving")
            return self._set(saving=one.value)
        if one.unit == "money" and one.role == "budget" and not one.per:
            return self._set(budget=one.value)
        rows = int(one.value) if one.value is not None and one.value == int(one.value) else 0
        if one.unit in ("", "user", "request") and not one.per and rows > 0 and self._is_top(one.start):
            self._by += [one.unit] if one.unit == "user" and "top" not in self._query else []
            return self._set(top=rows)
        if one.unit == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", one.text):
            if self._set(since=one.text, until=one.text):
                return True
            if one.text > self._query["since"]:
                self._query["until"] = one.text
                return True
        return False

    def _is_top(self, start: int) -> bool:
        before, after = re.findall(r"\w+", self._text[:start].lower()), re.findall(r"\w+", self._text[start:].lower())
        near = [*before[-1:], *after[1:2]]
        return any(one.kind == "order" for word in near for one in words.QUERY.get(words.folded(word), []))

    def _take_word(self, word: str, kind: str) -> None:
        if kind == "model":
            field, names = ("models", self._priced[word]) if self._priced.get(word) else ("on_model", [word])
            self._by += ["model"] if field == "models" and self._query.get(field) else []
            self._query[field] = "|".join([*filter(None, [self._query.get(field)]), *names])
            return
        if kind == "unknown" or (kind == "word" and word in words.VENDOR_NAMES):
            family = [name for name in self._names.get("model", []) if word.casefold() in name.casefold()]
            held = self._query.get("models", "")
            if family:
                self._query["models"] = "|".join(dict.fromkeys([*filter(None, held.split("|")), *family]))
            self._by += ["model"] if family and held else []
            self._unknown += [] if family else [word]
            return
        meanings, month = words.QUERY.get(word, []), words.MONTHS.get(word)
        self._uses += [word] if word in words.USES else []
        if month and word != "may" and not meanings:
            self._take_span(month, 1, None, word)
        elif not meanings:
            (self._supposed if word in words.SUPPOSED else self._unknown).append(word)
        for _, value in (one for one in meanings if one.kind == "metric"):
            if word in ("p50", "p90", "p95", "p99", "median"):
                self._query["statistic"] = "p50" if word == "median" else word
            # "median cost", "over time": words that are of the latency only where nothing else is.
            (self._weak if word in words.WEAK else self._metrics).append(value)
        self._by += [one.value for one in meanings if one.kind == "by"]
        for _, value in (one for one in meanings if one.kind == "order"):
            self._query["order"] = value
            self._metrics += ["cost"] if word in ("expensive", "dearest", "cheapest", "teuerste") else []
        self._query |= {"mean": True} if any(one.kind == "mean" for one in meanings) else {}

    def _take_span(self, month: int, months: int, year: int | None, word: str) -> None:
        """Choose the rows of so many months, if the file has some of them in one year, or in the one that is said."""
        first, last, end = (self._first or "")[:7], (self._last or "")[:7], month + months - 1
        years = range(int(first[:4]), int(last[:4]) + 1) if first and last else range(0)
        inside = [one for one in years if f"{one}-{end:02d}" >= first and f"{one}-{month:02d}" <= last]
        inside = [one for one in inside if year in (None, one)]
        after = date(inside[0] + end // 12, end % 12 + 1, 1) if inside else self._today
        until = (after - timedelta(days=1)).isoformat()
        if len(inside) != 1 or not self._set(since=date(inside[0], month, 1).isoformat(), until=until):
            self._unknown.append(word)

    def _finished(self) -> Query:
        found, unknown = list(dict.fromkeys(self._metrics or self._weak)), self._unknown
        if self._weak and "latency" not in found and "statistic" not in self._query:
            unknown.append("time")
        if bool(self._supposed) != ("on_model" in self._query):
            unknown += self._supposed or [t("at the prices of {0}", self._query["on_model"])]
        if "order" in self._query and not found:  # most used: by requests, tokens or cost
            unknown += self._uses
        mean, by = self._query.pop("mean", False), list(dict.fromkeys(self._by))
        by = ["hour"] if by == ["hour", "day"] else by
        if "users" in found and "user" in by:  # the users, or a figure of each of them
            (found if len(found) > 1 else by).remove("users" if len(found) > 1 else "user")
        each = _EACH_REQUEST.search(words.folded(self._text))
        if "requests" in found and each and ("cost" in found or len(found) == 1):
            found = ["unit_cost", *(one for one in found if one not in ("requests", "cost"))]
        if mean and found == ["cost"] and not by:
            found = ["unit_cost"]
        for wider, narrow in (("tokens", {"cached", "input_tokens", "output_tokens"}), ("input_tokens", {"cached"})):
            if wider in found and narrow & {*found}:
                found.remove(wider)
        strong = [one for one in found if one != "cost"]
        metrics = strong if strong and (len(found) == 1 or strong[0] not in ("requests", "tokens")) else found
        metrics = ["saving"] if "saving" in metrics else metrics
        if "batched" in metrics and len(metrics) > 1:
            metrics = [one for one in metrics if one != "cost"]
        if _PARTS & {*metrics} and "cost" in found and "cost" not in metrics:
            unknown.append(t("the cost of a part"))
        if mean and not {*metrics} & {"unit_cost", "latency"}:
            unknown.append(t("average"))
        if len(metrics) > 2 or len(by) > 1:
            unknown.append(t("more than two figures at once"))
        metric, also, *_ = [*metrics, "", ""]
        return Query(metric=metric, also=also, by=by[0] if by else "", **self._query)  # type: ignore[arg-type]


def _spaced(text: str) -> str:
    """A text of the same length in which the marks inside of names are spaces: `support-chat` is `support chat`."""
    return re.sub(r"[-_/.:]", " ", text.lower() if len(text.lower()) == len(text) else text)


def followed(now: Understood, earlier: Understood | None) -> Understood:
    """Return a query with what it leaves out taken from the one before it."""
    if earlier is None or not isinstance(now.request, Query) or not isinstance(earlier.request, Query) or now.form:
        return now
    held = said(now.request)
    return now if "metric" in held or not held else replace(now, request=replace(earlier.request, **held))
