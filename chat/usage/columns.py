"""Which column of a file means what, by its name and by what stands in it. PURE: standard library."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chat.usage.cells import (
    CURRENCIES,
    CURRENCY_SIGNS,
    ISO,
    NUMERIC_DATE,
    TIME_OF_DAY,
    is_flag,
    is_on_the_hour,
    is_time,
    number,
)
from chat.usage.names import CODES, ROLES, UNITS, Role, meaning_of, plain_name, shown
from chat.usage.tables import Source, Table

Format = Literal["table", "openai", "anthropic", "litellm", "langfuse", "unknown"]


@dataclass(frozen=True, slots=True)
class Column:
    """Where the values of a role are. Several columns of a role of numbers are added up.

    `path`: the header, then keys inside the JSON of the cell; in JSON the keys. `position` is the cell's, from 0, -1 in
    JSON. `unit`: `ms` or `s` (latency), a currency or `cents` (cost), `words`, `success` or `error` (status), `attempt`
    or `count` (retry), `line_item` (model: the words before the comma), `day_first` or `month_first` (timestamp).
    """

    role: Role
    path: tuple[str, ...]
    position: int = -1
    unit: str = ""

    @property
    def name(self) -> str:
        return shown(".".join(self.path))


_MODEL_NAME = re.compile(
    r"gpt|claude|gemini|llama|mi[sx]tral|command|deepseek|grok|qwen|kimi|nova-|titan|embed|whisper|dall|sonnet|haiku|"
    r"opus|\bo[1-9]\b|davinci|phi-",
    re.I,
)

_TIERS = ("standard", "default", "priority", "flex", "scale", "batch", "message", "auto")


def columns_of(table: Table, shape: Format, decimal: str, assumptions: list[str]) -> tuple[Column, ...]:
    candidates: dict[Role, list[tuple[tuple[int, int, int], bool, Source]]] = {}
    for order, source in enumerate(table.sources):
        meaning = meaning_of(source.path)
        if meaning and _fits(meaning.role, source, shape, decimal):
            key = (int(not source.full), meaning.rank, len(source.path) * 1000 + order)
            candidates.setdefault(meaning.role, []).append((key, meaning.part, source))
    if shape == "langfuse" and "feature" not in candidates:
        candidates["feature"] = [((0, 0, 0), False, source) for source in table.sources if source.path == ("name",)]
    if "input_tokens" in candidates:
        candidates.pop("uncached_tokens", None)
    if shape != "langfuse":
        candidates.pop("kind", None)
    if shape != "anthropic":
        candidates.pop("window", None)
    columns: list[Column] = []
    for role in ROLES:
        found = sorted(candidates.get(role, []), key=lambda candidate: candidate[0])
        if not found:
            continue
        taken = [candidate for candidate in found if candidate[1]] if found[0][1] else found[:1]
        seen: set[str] = set()
        for _, _, source in taken:
            plain = plain_name(".".join(source.path))
            if plain not in seen:
                seen.add(plain)
                unit = _unit(role, source, shape, decimal, assumptions)
                columns.append(Column(role, source.path, source.position, unit))
        same = [source for _, _, source in found if plain_name(source.path[-1]) == plain_name(taken[0][2].path[-1])]
        if table.layout == "csv" and len(same) > 1 and len(same[0].path) == 1:
            assumptions.append(f"Of {len(same)} columns “{same[0].name}” the first that has values is used.")
    if shape == "langfuse":
        columns += _details(columns)
    return tuple(columns)


def _details(columns: list[Column]) -> Iterator[Column]:
    """The other keys of Langfuse's token details: which there are differs from row to row."""
    inputs = next((column for column in columns if "usage_details" in map(plain_name, column.path[:-1])), None)
    if not inputs:
        return
    have = {column.path for column in columns}
    for role, names in _DETAILS.items():
        for name in names.split():
            path = (*inputs.path[:-1], name)
            if path not in have:
                yield Column(role, path, inputs.position)


_DETAILS: dict[Role, str] = {
    "output_tokens": "output output_reasoning_tokens output_reasoning",
    "cached_tokens": "input_cached_tokens cache_read_input_tokens input_cache_read input_cached",
    "cache_write_tokens": "cache_creation_input_tokens input_cache_creation",
}


def _fits(role: Role, source: Source, shape: Format, decimal: str) -> bool:
    """Whether what stands in the cells can be what the name says; nothing at all can."""
    cells = source.full
    if not cells:
        return source.position >= 0 or role in ("status", "user", "feature", "cached_tokens", "cost")
    if role in ("timestamp", "ended"):
        fitting = sum(is_time(cell) for cell in cells)
    elif role == "model":
        if shape == "langfuse" and source.path == ("model_id",):
            return False
        fitting = sum(number(cell, decimal) is None and not is_time(cell) for cell in cells)
    elif role in ("status", "user", "feature", "kind", "window"):
        return not all(cell.startswith(("{", "[{")) for cell in cells)
    elif role == "currency":
        fitting = sum(cell.upper() in CURRENCIES or re.fullmatch("[A-Za-z]{3}", cell) is not None for cell in cells)
    elif role == "batch":
        fitting = sum(is_flag(cell) or cell.lower() in _TIERS for cell in cells)
    elif role == "retry":
        fitting = sum(is_flag(cell) or number(cell, decimal) is not None for cell in cells)
    else:
        fitting = sum(number(cell, decimal) is not None for cell in cells)
    return fitting * 2 >= len(cells)


def _unit(role: Role, source: Source, shape: Format, decimal: str, assumptions: list[str]) -> str:
    plain = plain_name(".".join(source.path))
    last = plain.rpartition("_")[2]
    if role == "latency_ms":
        if last in UNITS:
            return UNITS[last]
        if shape == "langfuse":
            return "s"
        values = sorted(value for cell in source.full if (value := number(cell, decimal)) is not None)
        seconds = bool(values) and values[len(values) // 2] < 100 and any(value % 1 for value in values)
        assumptions.append(f"“{source.name}” names no unit: taken as {'seconds' if seconds else 'milliseconds'}.")
        return "s" if seconds else "ms"
    if role == "cost":
        if shape == "anthropic" and source.path == ("amount",):
            return "cents"
        return "cents" if last == "cents" else last.upper() if last in CODES else ""
    if role == "status":
        if plain in ("success", "succeeded", "is_success", "ok"):
            return "success"
        return "error" if plain.startswith(("error", "is_error", "failed")) else "words"
    if role == "retry":
        return "attempt" if plain.startswith("attempt") and plain != "attempted_retries" else "count"
    if role == "model":
        return "line_item" if last == "item" else ""
    if role in ("timestamp", "ended"):
        return _date_order(source, assumptions)
    return ""


def _date_order(source: Source, assumptions: list[str]) -> str:
    dates = [match for cell in source.full if (match := NUMERIC_DATE.fullmatch(cell))]
    if not dates:
        if any(
            ISO.fullmatch(cell) and not re.search(r"(?:Z|UTC|GMT|[+-]\d\d:?\d{0,2})$", cell) for cell in source.full
        ):
            assumptions.append("Times without a zone are taken as UTC.")
        return ""
    assumptions.append("Times without a zone are taken as UTC.")
    if any(int(match[1]) > 12 for match in dates):
        return "day_first"
    if any(int(match[3]) > 12 for match in dates) or dates[0][2] == "/":
        if not any(int(match[3]) > 12 for match in dates):
            assumptions.append("Dates like 03/04/2026 are taken as month, day, year.")
        return "month_first"
    return "day_first"


def is_signed(table: Table, columns: tuple[Column, ...]) -> bool:
    """Whether each cost has its currency beside the number."""
    places = [(column.position, column.path) for column in columns if column.role == "cost"]
    cells = [cell for source in table.sources if (source.position, source.path) in places for cell in source.full]
    return bool(cells) and all(CURRENCY_SIGNS.search(cell.strip()) for cell in cells)


def is_cached_in_input(
    table: Table, shape: Format, columns: tuple[Column, ...], decimal: str, assumptions: list[str]
) -> bool:
    inputs = [column for column in columns if column.role in ("input_tokens", "uncached_tokens")]
    cached = [column for column in columns if column.role == "cached_tokens"]
    if any(column.role == "uncached_tokens" for column in inputs):
        return False
    if not inputs or not cached:
        return True
    cells = {(source.position, source.path): source.cells for source in table.sources}

    def values(found: list[Column]) -> list[float]:
        there = [cells[place] for column in found if (place := (column.position, column.path)) in cells]
        rows = zip(*there, strict=True)
        return [sum(number(cell, decimal) or 0 for cell in row) for row in rows]

    # The details of Langfuse may have no cached tokens in the head: then there is nothing to compare.
    both = [row for row in zip(values(cached), values(inputs), strict=False) if min(row) > 0]
    # A few such rows are faults of their own and say nothing about the others.
    more = sum(small > whole for small, whole in both) * 5 > len(both)
    of_messages = inputs[0].path[-1] == "input_tokens" and cached[0].path[-1] == "cache_read_input_tokens"
    apart = plain_name(inputs[0].path[0]) == "usage_details" and not _totals_agree(cells, inputs, columns, decimal)
    if not (more or of_messages or apart):
        return True
    if shape == "table":
        assumptions.append(f"“{inputs[0].name}” does not contain the cached tokens: they are added to it.")
    return False


def sums_up(table: Table, columns: tuple[Column, ...], decimal: str) -> bool:
    """Whether rows look like sums over hours or days, although no column counts the requests in them."""
    for source in table.sources:
        full = source.full
        if full and (plain_name(source.path[-1]) in _REQUEST_IDS or all(map(TIME_OF_DAY.fullmatch, full))):
            return False
    sources = {(source.position, source.path): source for source in table.sources}

    def cells(*roles: Role) -> list[list[str]]:
        places = [(column.position, column.path) for column in columns if column.role in roles]
        return [sources[place].cells for place in places if place in sources]

    times = cells("timestamp", "ended")
    if not all(is_on_the_hour(cell) for column in times for cell in column):
        return False
    tokens = cells("input_tokens", "uncached_tokens", "output_tokens")
    sizes = sorted(sum(number(cell, decimal) or 0 for cell in row) for row in zip(*tokens, strict=True))
    if sizes and sizes[len(sizes) // 2] > _LONG_REQUEST:
        return True
    groups = list(zip(*times, *cells("model", "user", "feature", "status", "batch", "currency"), strict=True))
    return bool(times) and len(groups) >= _FEW and len(set(groups)) == len(groups)


_LONG_REQUEST = 1_000_000  # tokens: more than nearly any model takes at once
_FEW = 5  # rows: fewer of different days say nothing
_REQUEST_IDS = (
    "id",
    "request_id",
    "response_id",
    "completion_id",
    "call_id",
    "trace_id",
    "span_id",
    "message_id",
    "uuid",
)


def _totals_agree(
    cells: dict[tuple[int, tuple[str, ...]], list[str]],
    inputs: list[Column],
    columns: tuple[Column, ...],
    decimal: str,
) -> bool:
    """Whether input and output alone make up the total, so that the cached tokens are in the input."""
    position = inputs[0].position
    total = cells.get((position, (*inputs[0].path[:-1], "total")))
    output = [column for column in columns if column.role == "output_tokens" and column.path[-1] == "output"]
    places = [(column.position, column.path) for column in columns if column.role == "cached_tokens"]
    cached = [cells[place] for place in places if place in cells]
    if not total or not output:
        return False
    if (position, output[0].path) not in cells:
        return False
    rows = zip(total, cells[position, inputs[0].path], cells[position, output[0].path], *cached, strict=True)
    parsed = [[number(cell, decimal) or 0.0 for cell in row] for row in rows]
    telling = [row for row in parsed if sum(row[3:]) > 0]
    return bool(telling) and all(row[0] == row[1] + row[2] for row in telling)


def format_of(names: set[str], sources: list[Source]) -> Format:
    kinds = {cell for source in sources if source.path == ("object",) for cell in source.cells}
    if any(kind.startswith(("organization.usage", "organization.costs")) for kind in kinds):
        return "openai"
    if names & {"num_model_requests", "n_context_tokens_total"} or {"amount_value", "amount_currency"} <= names:
        return "openai"
    if names & {"usage_date_utc", "usage_input_tokens_no_cache"} or {"starting_at", "ending_at"} <= names:
        return "anthropic"
    if {"uncached_input_tokens", "cache_read_input_tokens"} <= names:
        return "anthropic"
    langfuse = {"usage_details", "provided_model_name", "calculated_total_cost", "total_cost", "usage_details_input"}
    if "trace_id" in names and names & (langfuse | {"usage_details_total"}):
        return "langfuse"
    if "spend" in names and names & {"call_type", "request_id", "model_group", "cache_hit", "completion_start_time"}:
        return "litellm"
    return "table"


def name_by_content(table: Table, assumptions: list[str]) -> None:
    """Name the columns of a table without a header: a time and a model by what they look like, then the usual order."""
    times = [source for source in table.sources if source.full and all(is_time(cell) for cell in source.full)]
    models = [
        source
        for source in table.sources
        if source.full and sum(bool(_MODEL_NAME.search(cell)) for cell in source.full) * 5 >= len(source.full) * 3
    ]
    numbers = [
        source
        for source in table.sources
        if source.full and source not in times and all(number(cell, ".") is not None for cell in source.full)
    ]
    if not models or len(numbers) < 2:
        return
    taken = [*zip(times[:1], ["timestamp"], strict=False), (models[0], "model")]
    taken += zip(numbers, ["input_tokens", "output_tokens", "cached_tokens"], strict=False)
    for source, name in taken:
        source.path = (name,)
    order = ", ".join(f"column {source.position + 1} {name.replace('_', ' ')}" for source, name in taken)
    assumptions.append(f"The table has no header. By their order and content: {order}.")
