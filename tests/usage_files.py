"""Files of usage data whose totals are known: made from rows, the same for the same seed."""

import csv
import io
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import genai_prices

FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-0", "claude-3-5-haiku-latest")
FEATURES = ("support", "search", "summaries", 'it\'s; a "test", really')
STATUSES = ("success", "success", "success", "success", "success", "success", "success", "error", "429")
HEADER = (
    "timestamp", "model", "input_tokens", "output_tokens", "cached_tokens", "latency_ms", "status", "user", "feature",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A request. `cost` is None in a file without costs."""

    at: datetime
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    latency_ms: int
    status: str
    user: str
    feature: str
    cost: float | None = None
    currency: str = ""

    @property
    def failed(self) -> bool:
        return self.status != "success"


def rows(count: int, seed: int = 1, days: int = 30, cost: bool = False) -> list[Row]:
    """Requests spread over the days, in the order of time; each model at another size, costs near the list price."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        model = MODELS[min(int(rng.expovariate(1.2)), len(MODELS) - 1)]
        inputs = int(rng.lognormvariate(7, 0.8)) + 1
        made.append(
            Row(
                at=FIRST_DAY + timedelta(seconds=number * days * 86_400 / count),
                model=model,
                input_tokens=inputs,
                output_tokens=int(rng.lognormvariate(5, 0.7)) + 1,
                cached_tokens=int(inputs * rng.choice((0, 0, 0.5, 0.9))),
                latency_ms=int(rng.lognormvariate(7, 0.5)) + 50,
                status=rng.choice(STATUSES),
                user=f"user{rng.randrange(25)}@example.com",
                feature=rng.choice(FEATURES),
                cost=round(inputs * rng.uniform(1e-6, 4e-6), 8) if cost else None,
                currency=rng.choice(("USD", "USD", "EUR")) if cost else "",
            )
        )
    return made


def records(made: Iterable[Row]) -> Iterator[dict[str, object]]:
    for row in made:
        record: dict[str, object] = {name: getattr(row, name) for name in HEADER if name != "timestamp"}
        record = {"timestamp": row.at.isoformat().replace("+00:00", "Z"), **record}
        if row.cost is not None:
            record |= {"cost": row.cost, "currency": row.currency}
        yield record


def csv_of(made: Iterable[Row], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    table = list(records(made))
    writer = csv.DictWriter(text, list(table[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def jsonl_of(made: Iterable[Row]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records(made)).encode()


BLOCK = rows(20_000)


HEAD_ROW = "timestamp,model,input_tokens,output_tokens"


class File:
    media_type = "text/csv"

    def __init__(self, data: bytes | str, name: str = "usage.csv") -> None:
        self.data = data.encode() if isinstance(data, str) else data
        self.name = name
        self.size = len(self.data)

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)


def list_price(row: Row) -> float:
    """Return the library's price. These models have one price for each token, so a million are asked."""

    def of(**tokens: int) -> float:
        return float(genai_prices.calc_price(genai_prices.Usage(**tokens), row.model, provider_id=vendor).total_price)

    vendor = "anthropic" if row.model.startswith("claude") else "openai"
    if row.model not in _RATES:
        plain = of(input_tokens=10_000)
        _RATES[row.model] = (
            plain / 1e4,
            of(input_tokens=10_000, cache_read_tokens=10_000) / 1e4,
            of(output_tokens=10_000) / 1e4,
        )
    plain_rate, cached_rate, output_rate = _RATES[row.model]
    fresh = row.input_tokens - row.cached_tokens
    return fresh * plain_rate + row.cached_tokens * cached_rate + row.output_tokens * output_rate


_RATES: dict[str, tuple[float, float, float]] = {}


ROWS = rows(4000)
