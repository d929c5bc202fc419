"""Sums over the rows of a loaded file, in SQL of their own: what the tests of reading compare with the truth."""

from collections.abc import Mapping
from typing import Any

from agents.usage.loaded import Loaded
from tests.usage_files import File

LABELS = {
    "model": "coalesce(model, '(none)')",
    "feature": "coalesce(feature, team, project, '(none)')",
    "user": "coalesce(user_label, api_key, '(none)')",
    "day": "coalesce(strftime(moment, '%Y-%m-%d'), '(no time)')",
}
_SUMS = (
    "count(*), sum(requests), sum(input), sum(output), sum(cached), sum(usd), sum(list_usd), "
    "count_if(currency = 'USD' AND list_usd IS NOT NULL), count_if(cost IS NULL AND list_usd IS NULL), count_if(failed)"
)


class Engine(Loaded):
    """A loaded file with the sums of all its rows, and of its groups."""

    def summary(self) -> dict[str, Any]:
        """Return the reports of the file's parts as one, with the total."""
        reports = self.files
        problems = [problem for report in reports for problem in report["problems"]]
        rows, read = (sum(report[key] for report in reports) for key in ("rows", "rows_read"))  # type: ignore[literal-required]
        return {
            "format": self.recognised.format,
            "recognised": self.recognised.words,
            "rows": rows,
            "rows_read": read,
            "rows_left_out": sum(problem["rows"] for problem in problems if problem["left_out"]),
            "problems": problems,
            "assumptions": self.assumptions,
            "unknown_models": self.prices.unknown,
            "first": reports[0]["first"],
            "last": reports[0]["last"],
            "total": self.groups("", 1)[0],
        }

    def groups(self, by: str, top: int = 100_000) -> list[dict[str, Any]]:
        """Return the sums of each group, the dearest first; of all rows, without `by`."""
        label = LABELS[by] if by else "'all'"
        order = (
            "label DESC" if by == "day" else "sum(usd) DESC NULLS LAST, sum(cost) DESC NULLS LAST, count(*) DESC, label"
        )
        rows = self.ask(f"SELECT {label} AS label, {_SUMS} FROM usage GROUP BY label ORDER BY {order} LIMIT {top}")
        paid = self.ask(
            f"SELECT {label} AS label, currency, sum(cost), count(*) FROM usage WHERE cost IS NOT NULL "
            "GROUP BY label, currency ORDER BY currency"
        )
        by_label: dict[str, list[Any]] = {}
        for one in paid:
            by_label.setdefault(one[0], []).append(one[1:])
        return [self._group(row, by_label.get(row[0], [])) for row in rows]

    def _group(self, row: Any, paid: list[Any]) -> dict[str, Any]:
        label, count, requests, inputs, outputs, cached, usd, listed, compared, unpriced, failed = row
        countable = self.recognised.per_request or self.has("requests")
        return {
            "label": label,
            "rows": count,
            "requests": int(requests or 0) if countable else None,
            "tokens": {"input": int(inputs or 0), "output": int(outputs or 0), "cached": int(cached or 0)},
            "usd": float(usd or 0),
            "list_usd": float(listed or 0),
            "paid": [{"currency": code, "amount": float(amount), "rows": number} for code, amount, number in paid],
            "compared_rows": compared or 0,
            "unpriced_rows": unpriced or 0,
            "error_rows": failed if self.has("status") else None,
        }

    def labels(self, by: str) -> list[str]:
        """Return the labels of the groups, days in order, others the dearest first."""
        found = [group["label"] for group in self.groups(by)]
        return found[::-1] if by == "day" else found

    def latency(self, share: float = 0.5, model: str = "") -> float:
        """Return the latency that this share of the rows does not exceed, in milliseconds."""
        [(value,)] = self.ask(f"SELECT quantile_cont(latency, {share}) FROM usage WHERE ? IN ('', model)", [model])
        return float(value)


def open_usage(file: File, choices: Mapping[str, Any] | None = None) -> Engine:
    """Load one file."""
    return Engine([file], choices)
