"""Queries: which rows of a loaded file are chosen, what they add up to, and the groups that they fall into."""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from agents.advisor.answers import Dimension, Group, Only, Paid, Source
from agents.advisor.loaded import Loaded, shown
from agents.advisor.rates import FORMULA
from agents.agent import AgentError


class Queries(Loaded):
    """What all questions to a file share."""

    @property
    def dimensions(self) -> list[Dimension]:
        """What `spend_by` can tell apart in this file."""
        have: list[Dimension] = []
        names: tuple[Dimension, ...] = ("model", "feature", "user", "status")
        have += [name for name in names if self.recognised.of(name)]  # type: ignore[arg-type]
        return [*have, "day", "month"] if self._first else have

    def _label(self, dimension: str) -> str:
        labels = {
            "model": "coalesce(model, '(none)')",
            "feature": "coalesce(feature, '(none)')",
            "user": "coalesce(user_label, '(none)')",
            "status": "coalesce(status, '(none)')",
            "day": "coalesce(strftime(moment, '%Y-%m-%d'), '(no time)')",
            "month": "coalesce(strftime(moment, '%Y-%m'), '(no time)')",
        }
        if dimension not in labels:
            raise AgentError(f"“{dimension}” is none of: {', '.join(labels)}.", code="unknown_dimension")
        if dimension not in self.dimensions:
            raise AgentError(f"{self.name} has no column for {dimension}.", code="missing_column")
        return labels[dimension]

    def _where(self, only: Only | None) -> tuple[str, list[Any]]:
        """A condition with its values. A model may be named as in the file or as in the price list."""
        conditions: list[str] = ["TRUE"]
        values: list[Any] = []
        texts = {
            "model": "(lower(model) = lower(?) OR priced_as = ?)",
            "feature": "lower(feature) = lower(?)",
            "user": "lower(user_label) = lower(?)",
            "currency": "coalesce(currency, 'USD') = ?",
        }
        for key, value in (only or {}).items():
            if key in texts and isinstance(value, str):
                conditions.append(texts[key])
                values += [value] * texts[key].count("?")
            elif key in ("since", "until") and isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.A):
                try:
                    values.append(date.fromisoformat(value))
                except ValueError:
                    raise AgentError(f"{value} is no day.", code="bad_filter") from None
                conditions.append("day >= ?" if key == "since" else "day <= ?")
            else:
                raise AgentError(f"I cannot choose rows by {key} {value!r}.", code="bad_filter")
        return " AND ".join(conditions), values

    def _total(self, where: str, values: list[Any], table: str = "usage") -> Group:
        [row] = self._ask(f"SELECT {_SUMS} FROM {table} WHERE {where}", values)
        paid = self._ask(f"SELECT NULL, {_PAID} FROM {table} WHERE cost IS NOT NULL AND {where} {_BY_CURRENCY}", values)
        return self._group("all", row, _by_label(paid).get(None, []))

    def _split(
        self, label: str, where: str, values: list[Any], order: str, limit: int
    ) -> tuple[list[Group], Group | None, int]:
        """The groups that come first in this order, all others as one, and how many those are."""
        first = self._ask(
            f"SELECT {label} AS label, count(*) OVER () FROM usage WHERE {where} GROUP BY label "
            f"ORDER BY {order} LIMIT {limit}",
            values,
        )
        names = [name for name, _ in first]
        others = first[0][1] - len(first) if first else 0
        chosen = f"CASE WHEN list_contains(?::VARCHAR[], {label}) THEN {label} END AS label"
        rows = self._ask(f"SELECT {chosen}, {_SUMS} FROM usage WHERE {where} GROUP BY label", [names, *values])
        paid = _by_label(
            self._ask(
                f"SELECT {chosen}, {_PAID} FROM usage WHERE cost IS NOT NULL AND {where} "
                "GROUP BY label, currency ORDER BY currency",
                [names, *values],
            )
        )
        groups = {
            name: self._group(f"{others} more" if name is None else name, row, paid.get(name, []))
            for name, *row in rows
        }
        return [groups[name] for name in names], groups.get(None), others

    def _group(self, label: str, row: Sequence[Any], paid: list[Paid]) -> Group:
        count, requests, inputs, outputs, cached, written, usd, list_usd, today_usd, *more = row
        both, both_paid, both_list, unpriced, of_file, of_list, errors = (value or 0 for value in more)
        has_tokens = self.has("input_tokens") or self.has("uncached_tokens")
        countable = self.recognised.per_request or self.has("requests")
        return {
            "label": shown(label),
            "rows": count,
            "requests": int(requests or 0) if countable else None,
            "tokens": {
                "input": int(inputs or 0),
                "output": int(outputs or 0),
                "cached": int(cached or 0),
                "written": int(written or 0),
                "cached_share": cached / inputs if inputs and has_tokens and self.has("cached_tokens") else None,
            },
            "amounts": {
                "usd": float(usd or 0),
                "basis": "mixed" if of_file and of_list else "paid" if of_file else "list" if of_list else "none",
                "paid": paid,
                "list_usd": float(list_usd or 0),
                "today_usd": float(today_usd or 0),
                "compared_rows": both,
                "compared_paid_usd": float(both_paid),
                "compared_list_usd": float(both_list),
                "difference_usd": float(both_paid - both_list),
                "unpriced_rows": unpriced,
            },
            "share": None,
            "error_rows": errors if self.has("status") else None,
        }

    def _source(self, only: Only, rows: int, where: str = "TRUE", values: Sequence[Any] = ()) -> Source:
        found = self._ask(f"SELECT DISTINCT rate FROM usage WHERE list_usd IS NOT NULL AND {where}", values)
        used = sorted(rate for (rate,) in found)
        return {
            "file": self.name,
            "rows": rows,
            "of_rows": self._readable,
            "only": only,
            "prices": [self._prices[rate] for rate in used[:50]],
            "formula": FORMULA,
        }


# What a row costs and adds up to

_SUMS = (
    "count(*), sum(requests), sum(input), sum(output), sum(cached), sum(written), sum(usd), sum(list_usd), "
    "sum(today_usd), "
    "count_if(currency = 'USD' AND list_usd IS NOT NULL), "
    "sum(cost) FILTER (currency = 'USD' AND list_usd IS NOT NULL), "
    "sum(list_usd) FILTER (currency = 'USD' AND cost IS NOT NULL), "
    "count_if(cost IS NULL AND list_usd IS NULL), count_if(cost IS NOT NULL), "
    "count_if(cost IS NULL AND list_usd IS NOT NULL), count_if(failed)"
)
_PAID = "currency, sum(cost), count(*)"
_BY_CURRENCY = "GROUP BY currency ORDER BY currency"
DEAREST = "sum(usd) DESC NULLS LAST, sum(cost) DESC NULLS LAST, count(*) DESC, label"


def _by_label(rows: list[tuple[Any, ...]]) -> dict[str | None, list[Paid]]:
    found: dict[str | None, list[Paid]] = {}
    for label, currency, amount, count in rows:
        found.setdefault(label, []).append({"currency": currency, "amount": float(amount), "rows": count})
    return found
