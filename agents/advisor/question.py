"""A `Query` out of a question to usage files, by the names in the files and a table of words."""

import re
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Read, quarter_at
from agents.advisor.language.lexer import tokens
from agents.advisor.language.phrases import read
from agents.advisor.request import Understood, checked, said
from agents.usage.asked import Query, calendar_period
from agents.usage.figures import escaped


def understand_question(text: str, about: dict[str, Any]) -> Understood:
    """Return the query of a message to usage files. `about`: as `query.names_of` tells it.

    Every word of the message has to be known: a name of the file, a model, or a word of the table.
    """
    return _Question(text, about).read()


class _Question:
    def __init__(self, text: str, about: dict[str, Any]) -> None:
        self._names: dict[str, list[str]] = about["names"]
        self._priced: dict[str, list[str]] = about["priced"]
        self._first, self._last, self._today = about["first"], about["last"], date.fromisoformat(about["today"])
        self._query: dict[str, Any] = {}
        self._metrics: list[str] = []
        self._by: list[str] = []
        self._unknown: list[str] = []
        self._supposed: list[str] = []
        self._weak: list[str] = []
        self._text = self._without_periods(self._without_names(text))

    def read(self) -> Understood:
        plain = read(self._text)
        self._take_quantities(plain)
        pieces = [one for one in tokens(self._text) if one.kind in ("word", "unknown", "model", "product")]
        taken = [(one.start, one.end) for one in plain.quantities]
        for index, piece in enumerate(pieces):
            if not any(start <= piece.start < end for start, end in taken):
                before = pieces[index - 1].text if index else ""
                self._take_word(piece.text, piece.kind, before)
        query = self._finished()
        doubts = tuple(f"“{escaped(word)}”" for word in dict.fromkeys(self._unknown))
        unused = tuple(escaped(one.text) for one in plain.quantities if one.text in self._unplaced)
        return checked(query, doubts, unused)

    def _without_names(self, text: str) -> str:
        """Take out the names of the file, the longest first, and choose rows by them."""
        found: dict[str, list[str]] = {}
        lowered = _spaced(text)
        every = [(name, column) for column, names in self._names.items() for name in names if len(name) > 1]
        for name, column in sorted(every, key=lambda one: -len(one[0])):
            at = lowered.find(_spaced(name))
            # `gpt-4o` is no name in `gpt-4o-mini`.
            whole = at >= 0 and not re.match(r"\w|[-.:]\w", text[at + len(name) : at + len(name) + 2])
            if whole and not re.match(r"\w", lowered[at - 1 : at]) and words.folded(name) not in words.QUERY:
                found.setdefault(column, []).append(name)
                text = text[:at] + " " * len(name) + text[at + len(name) :]
                lowered = _spaced(text)
        for column, chosen in found.items():
            self._query[f"{column}s"] = "|".join(chosen)
            if len(chosen) > 1:
                self._by.append(column)
        return text

    def _without_periods(self, text: str) -> str:
        """Take out “Q3”, “last month” and the like, and choose rows by its days, if the file has any of them."""
        every = tokens(text)
        for at, piece in enumerate(every):
            if (quarter := quarter_at(every, at)) and "since" not in self._query:
                end = every[quarter.end - 1].end
                self._take_span(quarter.number * 3 - 2, 3, quarter.year, text[piece.start : end])
                return text[: piece.start] + " " * (end - piece.start) + text[end:]
        pieces = [one for one in tokens(text) if one.kind in ("word", "unknown")]
        for one, other in pairwise(pieces):
            for near, named in ((one, other), (other, one)):
                away, period = words.RELATIVE.get(words.folded(near.text)), words.meaning(named.text, "period")
                if away is None or period not in ("week", "month", "quarter", "year") or named.text in words.SEVERAL:
                    continue
                since, until = (day.isoformat() for day in calendar_period(self._today, period, away))
                if not (self._first and self._last) or since > self._last or until < self._first:
                    self._unknown.append(f"{one.text} {other.text}")
                elif "since" not in self._query:
                    self._query |= {"since": since, "until": until}
                    return text[: one.start] + " " * (other.end - one.start) + text[other.end :]
        return text

    def _take_quantities(self, plain: Read) -> None:
        self._unplaced: list[str] = []
        for one in plain.quantities:
            rows = int(one.value) if one.value is not None and one.value == int(one.value) else 0
            is_top = one.unit in ("", "user", "request") and not one.per and rows > 0 and self._is_top(one.start)
            if one.unit == "percent" and one.role == "save" and "saving" not in self._query:
                self._query["saving"] = one.value
                self._metrics.append("saving")
            elif one.unit == "money" and one.role == "budget" and not one.per and "budget" not in self._query:
                self._query["budget"] = one.value
            elif is_top and "top" not in self._query:
                self._query["top"] = rows
                self._by += [one.unit] if one.unit == "user" else []
            elif one.unit == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", one.text) and "since" not in self._query:
                self._query["since"] = self._query["until"] = one.text
            elif one.unit == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", one.text) and one.text > self._query["since"]:
                self._query["until"] = one.text
            else:
                self._unplaced.append(one.text)
        self._unknown += [one.strip("“”") for one in plain.doubts if "a range" in one or "more numbers" in one]

    def _is_top(self, start: int) -> bool:
        before = re.findall(r"\w+", self._text[:start].lower())
        after = re.findall(r"\w+", self._text[start:].lower())[1:2]
        near = [*before[-1:], *after]
        return any(one.kind == "order" for word in near for one in words.QUERY.get(words.folded(word), []))

    def _take_word(self, word: str, kind: str, before: str) -> None:
        if kind == "model":
            known = self._priced.get(word)
            if known:
                self._query["models"] = "|".join([*filter(None, [self._query.get("models", "")]), *known])
            else:
                self._query["on_model"] = "|".join([*filter(None, [self._query.get("on_model", "")]), word])
            return
        if kind == "unknown" or (kind == "word" and word in words.VENDOR_NAMES):
            family = [name for name in self._names.get("model", []) if word.casefold() in name.casefold()]
            if family:
                self._query["models"] = "|".join(family)
                return
            self._unknown.append(word)
            return
        month = words.MONTHS.get(word)
        meanings = words.QUERY.get(word, [])
        if month and word != "may" and not meanings:
            self._take_span(month, 1, None, word)
        elif not meanings:
            (self._supposed if word in words.SUPPOSED else self._unknown).append(word)
        for one in meanings:
            self._take_meaning(one, word, before, [other.kind for other in meanings])

    def _take_meaning(self, one: words.Meaning, word: str, before: str, kinds: list[str]) -> None:
        if one.kind == "metric":
            if word in ("p50", "p90", "p95", "p99", "median"):
                self._query["statistic"] = "p50" if word == "median" else word
            # "median cost", "over time": words that are of the latency only where nothing else is.
            (self._weak if word in words.WEAK else self._metrics).append(one.value)
        elif one.kind == "by":
            self._by.append(one.value)
        elif one.kind == "order":
            self._query["order"] = one.value
            self._metrics.append("cost" if word in ("expensive", "dearest", "cheapest", "teuerste") else "")
        elif one.kind == "mean":
            self._query["mean"] = True
        del before, kinds

    def _take_span(self, month: int, months: int, said: int | None, word: str) -> None:
        """Choose the rows of so many months, if the file has some of them in one year, or in the one that is said."""
        first, last = (self._first or "")[:7], (self._last or "")[:7]
        years = range(int(first[:4]), int(last[:4]) + 1) if first and last else range(0)
        end = month + months - 1
        inside = [one for one in years if f"{one}-{end:02d}" >= first and f"{one}-{month:02d}" <= last]
        inside = [one for one in inside if said in (None, one)]
        if len(inside) != 1 or "since" in self._query:
            self._unknown.append(word)
            return
        after = date(inside[0] + end // 12, end % 12 + 1, 1)
        self._query["since"] = date(inside[0], month, 1).isoformat()
        self._query["until"] = (after - timedelta(days=1)).isoformat()

    def _finished(self) -> Query:
        found = [one for one in dict.fromkeys(self._metrics) if one] or list(dict.fromkeys(self._weak))
        if self._weak and "latency" not in found and "statistic" not in self._query:
            self._unknown.append("time")
        if bool(self._supposed) != ("on_model" in self._query):
            self._unknown += self._supposed or [f"at the prices of {self._query['on_model']}"]
        mean = self._query.pop("mean", False)
        by = [one for one in dict.fromkeys(self._by) if one]
        if by == ["hour", "day"]:
            by = ["hour"]
        if "users" in found and "user" in by:
            # The users, or a figure of each of them.
            found.remove("users") if len(found) > 1 else by.remove("user")
        text = self._text.lower()
        each = re.search(
            r"\b(?:per|each|one|a|pro|par|por)\s+(request|call|message|query|anfrage|requete)\b", words.folded(text)
        )
        if "requests" in found and each and ("cost" in found or len(found) == 1):
            found = ["unit_cost", *(one for one in found if one not in ("requests", "cost"))]
        if mean and found == ["cost"] and not by:
            found = ["unit_cost"]
        if "tokens" in found and {"cached", "input_tokens", "output_tokens"} & set(found):
            found.remove("tokens")
        if "cached" in found and "input_tokens" in found:
            found.remove("input_tokens")
        strong = [one for one in found if one != "cost"]
        metrics = strong if strong and (len(found) == 1 or strong[0] not in ("requests", "tokens")) else found
        if "saving" in metrics:
            metrics = ["saving"]
        if "cost" in found and "batched" in metrics and len(metrics) > 1:
            metrics = [one for one in metrics if one != "cost"]
        parts = {"cached", "input_tokens", "output_tokens", "latency", "users"} & {*metrics}
        if parts and "cost" in found and "cost" not in metrics:
            self._unknown.append("the cost of a part")
        if mean and not {*metrics} & {"unit_cost", "latency"}:
            self._unknown.append("average")
        if len(metrics) > 2 or len(by) > 1:
            self._unknown.append("more than two figures at once")
        also = metrics[1] if len(metrics) > 1 else ""
        return Query(metric=metrics[0] if metrics else "", also=also, by=by[0] if by else "", **self._query)  # type: ignore[arg-type]


def _spaced(text: str) -> str:
    """A text of the same length in which the marks inside of names are spaces: `support-chat` is `support chat`."""
    lowered = text.lower() if len(text.lower()) == len(text) else text
    return re.sub(r"[-_/.:]", " ", lowered)


def followed(now: Understood, earlier: Understood | None) -> Understood:
    """Return a query with what it leaves out taken from the one before it."""
    if earlier is None or not isinstance(now.request, Query) or not isinstance(earlier.request, Query) or now.form:
        return now
    held = said(now.request)
    if "metric" in held or not held:
        return now
    return replace(now, request=replace(earlier.request, **held))
