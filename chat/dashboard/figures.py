"""Figures of the last days for the overview: runs, failures, duration, cost and feedback. No text of users is read."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext

from chat import metrics
from chat.models import Feedback, InputRequest, Run

DAYS = 14
MAX_RUNS = 10_000  # the newest of these days whose durations and costs are read
WIDTH, HEIGHT, GAP = 280, 64, 4  # of a chart, in its own units


class Day(NamedTuple):
    """Figures of a day, in UTC. `p95` are seconds from a message to its answer; None without one."""

    day: date
    runs: int
    failed: int
    p95: float | None
    cost: float
    good: int
    bad: int


class Bar(NamedTuple):
    """A rectangle of a chart. `kind`: its colour."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


class Chart(NamedTuple):
    """Bars of all days, with what they amount to."""

    title: str
    total: str
    bars: list[Bar]


def days() -> list[Day]:
    """Return the figures of the last DAYS days, today last."""
    today = timezone.now().astimezone(UTC).date()
    shown = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    since = datetime.combine(shown[0], datetime.min.time(), UTC)
    recent = Run.objects.filter(created_at__gte=since)
    counts = _by_day(recent, n=Count("pk"), failed=Count("pk", filter=Q(status=Run.FAILED)))
    rated = Feedback.objects.filter(created_at__gte=since)
    ratings = _by_day(rated, good=Count("pk", filter=Q(rating=1)), bad=Count("pk", filter=Q(rating=-1)))
    durations, usages = _durations_and_usages(recent)
    return [
        Day(
            day,
            counts[day].get("n", 0),
            counts[day].get("failed", 0),
            percentile(durations[day], 0.95),
            metrics.total(usages[day], "cost_usd"),
            ratings[day].get("good", 0),
            ratings[day].get("bad", 0),
        )
        for day in shown
    ]


def _by_day(rows: Any, **counted: Count) -> defaultdict[date, dict[str, int]]:
    found: defaultdict[date, dict[str, int]] = defaultdict(dict)
    for row in rows.order_by().annotate(day=TruncDate("created_at", tzinfo=UTC)).values("day").annotate(**counted):
        found[row["day"]] = row
    return found


def _durations_and_usages(
    recent: Any,
) -> tuple[defaultdict[date, list[float]], defaultdict[date, list[dict[str, Any]]]]:
    """Return seconds of completed runs that waited for nobody, and usages of all, by day."""
    durations: defaultdict[date, list[float]] = defaultdict(list)
    usages: defaultdict[date, list[dict[str, Any]]] = defaultdict(list)
    asked = Exists(InputRequest.objects.filter(run=OuterRef("pk")))
    ended = recent.filter(finished_at__isnull=False).annotate(asked=asked).order_by("-created_at")
    rows = ended.values_list("created_at", "finished_at", "status", "usage", "asked")
    for created, finished, status, usage, has_asked in rows[:MAX_RUNS]:
        day = created.astimezone(UTC).date()
        usages[day].append(usage)
        if status == Run.COMPLETED and not has_asked:
            durations[day].append((finished - created).total_seconds())
    return durations, usages


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest of these values that at least this share of them does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def charts(shown: list[Day]) -> list[Chart]:
    """Return the charts of these days, in the language of the request."""
    runs, failed = sum(one.runs for one in shown), sum(one.failed for one in shown)
    slow = [one.p95 for one in shown if one.p95 is not None]
    cost = sum(one.cost for one in shown)
    good, bad = sum(one.good for one in shown), sum(one.bad for one in shown)
    return [
        Chart(gettext("Runs"), number_format(runs), _bars(shown, [("", [one.runs for one in shown])], _whole)),
        Chart(gettext("Failed"), number_format(failed), _bars(shown, [("bad", [one.failed for one in shown])], _whole)),
        Chart(
            gettext("95th percentile of the duration"),
            seconds(max(slow)) if slow else "–",
            _bars(shown, [("", [one.p95 or 0 for one in shown])], seconds),
        ),
        Chart(gettext("Cost"), dollars(cost), _bars(shown, [("", [one.cost for one in shown])], dollars)),
        Chart(
            gettext("Feedback"),
            f"+{number_format(good)} −{number_format(bad)}",
            _bars(shown, [("", [one.good for one in shown]), ("bad", [one.bad for one in shown])], _whole),
        ),
    ]


def _bars(shown: list[Day], series: list[tuple[str, list[float]]], write: Any) -> list[Bar]:
    """Return the bars, those of several series on top of each other."""
    most = max((sum(values) for values in zip(*(values for _, values in series), strict=True)), default=0) or 1
    width, made = (WIDTH + GAP) / len(shown) - GAP, list[Bar]()
    for at, one in enumerate(shown):
        top = float(HEIGHT)
        for kind, values in series:
            height = round(values[at] / most * (HEIGHT - 2), 2)
            top -= height
            title = f"{date_format(one.day, 'SHORT_DATE_FORMAT')}: {write(values[at])}"
            made.append(Bar(round(at * (width + GAP), 2), round(top, 2), round(width, 2), height, kind, title))
    return made


def _whole(value: float) -> str:
    return number_format(int(value))


def seconds(value: float | None) -> str:
    """Write a duration."""
    return "–" if value is None else f"{number_format(value, 1 if value < 100 else 0)} s"


def dollars(value: float) -> str:
    """Write a cost in US dollars."""
    return gettext("${amount}").format(amount=number_format(value, 2 if value >= 1 or value == 0 else 4))


def rows(shown: Iterable[Day]) -> list[tuple[str, ...]]:
    """Return the cells of the table of these days, the newest first."""
    return [
        (
            date_format(one.day, "SHORT_DATE_FORMAT"), _whole(one.runs), _whole(one.failed), seconds(one.p95),
            dollars(one.cost), _whole(one.good), _whole(one.bad),
        )
        for one in reversed(list(shown))
    ]  # fmt: skip
