"""What a file of usage data is: its format, which column means what, and words for a person. PURE: standard library.

Only the first 256 KiB and the name of a file are looked at. No bytes make it raise: what is no usage data is said to be
none. Whole files are read by `agents.advisor.usage`, by what is recognised here.
"""

import codecs
import csv
import dataclasses
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

HEAD = 256 * 1024
MAX_LINE = 1024 * 1024
EXAMPLE = (
    "timestamp,model,input_tokens,output_tokens,cached_tokens,latency_ms,status,user,feature\n"
    "2026-09-01T09:30:00Z,gpt-4o,1800,240,1024,950,success,anna,support\n"
)

Format = Literal["table", "openai", "anthropic", "litellm", "langfuse", "unknown"]
Layout = Literal["csv", "jsonl", "json"]
Role = Literal[
    "timestamp", "ended", "model", "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens",
    "cache_write_tokens", "latency_ms", "status", "user", "feature", "cost", "currency", "requests", "retry", "batch",
    "kind",
]  # fmt: skip

FORMATS: dict[Format, str] = {
    "table": "A table of usage",
    "openai": "An OpenAI usage export",
    "anthropic": "An Anthropic usage export",
    "litellm": "A LiteLLM spend log",
    "langfuse": "A Langfuse export of observations",
    "unknown": "No usage data",
}
ROLES: dict[Role, str] = {
    "timestamp": "time",
    "ended": "end of the request",
    "model": "model",
    "input_tokens": "input tokens",
    "uncached_tokens": "input tokens without the cached ones",
    "output_tokens": "output tokens",
    "cached_tokens": "cached input tokens",
    "cache_write_tokens": "tokens written to the cache",
    "latency_ms": "latency",
    "status": "status",
    "user": "user",
    "feature": "feature",
    "cost": "cost",
    "currency": "currency",
    "requests": "number of requests",
    "retry": "retries",
    "batch": "batch",
    "kind": "kind of record",
}
_LISTED_MISSING: tuple[Role, ...] = (
    "timestamp", "model", "input_tokens", "output_tokens", "cached_tokens", "latency_ms", "status", "user", "feature",
    "cost",
)  # fmt: skip


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
        return _shown(".".join(self.path))


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is. `words` are sentences for a person; how to read it is for `agents.advisor.usage`.

    `delimiter` is empty in JSON. `header_line` counts from 1, 0 is none. `cached_in_input`: the input tokens contain
    the cached ones. `per_request`: a row is one request, not a sum of many. `currency`: of a cost that names none.
    """

    usage: bool
    format: Format
    layout: Layout
    delimiter: str
    encoding: str
    decimal: Literal[".", ","]
    header_line: int
    width: int
    columns: tuple[Column, ...]
    missing: tuple[Role, ...]
    ignored: tuple[str, ...]
    cached_in_input: bool
    per_request: bool
    currency: str
    assumptions: tuple[str, ...]
    words: str

    def of(self, *roles: Role) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role in roles)

    def as_json(self) -> dict[str, Any]:
        """What to keep and to show of it; names from the file are cut and free of control characters."""
        return {
            "usage": self.usage,
            "format": self.format,
            "layout": self.layout,
            "columns": [{"role": one.role, "name": one.name, "unit": one.unit} for one in self.columns],
            "missing": list(self.missing),
            "ignored": list(self.ignored[:50]),
            "assumptions": list(self.assumptions),
            "words": self.words,
        }


def recognise(head: bytes, name: str) -> Recognised:
    """What the file of this name, which begins with these bytes, is. Bytes past 256 KiB are not looked at."""
    cut = len(head) >= HEAD
    head = head[:HEAD]
    refusal = _no_text(head, name)
    encoding = _encoding(head)
    if refusal:
        return _nothing(refusal, encoding)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")
    if not text.strip():
        return _nothing("The file is empty.", encoding)
    if _is_binary(text):
        return _nothing("This is no text, so it is no usage data.", encoding)
    if text.lstrip()[0] in "{[":
        found = _Table.of_json(text, cut)
        if found:
            return _recognised(found, encoding)
    tables = [_Table.of_csv(text, delimiter, cut) for delimiter in (",", ";", "\t", "|")]
    best = max(tables, key=lambda table: table.score)
    return _recognised(best, encoding)


def number(cell: str, decimal: str) -> float | None:
    """The number in a cell, or None. Takes grouped thousands and a currency's sign; never NaN or infinity."""
    cell = _CURRENCY_SIGNS.sub("", cell).strip()
    if _PLAIN_NUMBER.fullmatch(cell) and not (decimal == "," and "." in cell):
        return float(cell)
    pattern, group = (_GROUPED_COMMA, ".") if decimal == "," else (_GROUPED_POINT, ",")
    if not pattern.fullmatch(cell):
        return None
    return float(re.sub(rf"[\s'’{group}]", "", cell).replace(",", "."))


def records(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The records in a JSON value: an object, a list of them, or pages and buckets with such lists inside."""
    if depth > 4:
        return
    if isinstance(value, list):
        for item in value:
            yield from records(item, depth + 1)
    elif isinstance(value, dict):
        for key in _LISTS:
            inner = value.get(key)
            if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
                outer = {name: item for name, item in value.items() if not isinstance(item, list)}
                for item in inner:
                    yield from ({**outer, **record} for record in records(item, depth + 1))
                return
        yield value


def elements(text: str) -> Iterator[tuple[int, Any]]:
    """The documents in a JSON text, or the items of its list, one at a time, each with its offset.

    ValueError where the text cannot be read on, with the offset as its second argument.
    """
    at = _end_of_gap(text, 0)
    if text.startswith("[", at):
        yield from _items(text, at + 1)
        return
    while at < len(text):
        try:
            value, end = _decoded(text, at)
        except ValueError:
            # A page too long to be held at once: the items of its list.
            start = _LIST_START.search(text, at, at + HEAD)
            if not start:
                raise
            yield from _items(text, start.end())
            return
        yield at, value
        at = _end_of_gap(text, end)


def _items(text: str, at: int) -> Iterator[tuple[int, Any]]:
    at = _end_of_gap(text, at)
    while not text.startswith("]", at):
        value, end = _decoded(text, at)
        yield at, value
        at = _end_of_gap(text, end)


def _end_of_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def at_path(record: Any, path: tuple[str, ...]) -> str:
    """What stands under the keys, as a cell of text; empty where there is nothing."""
    for key in path:
        if not isinstance(record, dict):
            return ""
        record = record.get(key)
    return cell_of(record)


def cell_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(cell_of(item) for item in value if not isinstance(item, dict | list))
    if isinstance(value, dict):
        return ""
    return str(value)


_LISTS = ("data", "results", "logs", "spend_logs", "observations")
_GAP = re.compile(r"[\s,]*")
_LIST_START = re.compile(rf'"(?:{"|".join(_LISTS)})"\s*:\s*\[')
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?", re.A)
_GROUPED_POINT = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[\s'’]\d{3})+)(?:\.\d+)?", re.A)
_GROUPED_COMMA = re.compile(
    r"-?(?:\d+|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:[\s'’]\d{3})+)(?:,\d+)?|-?\d+(?:,\d+)?[eE][-+]?\d{1,2}", re.A
)
_CURRENCY_SIGNS = re.compile(r"^(?:[A-Z]{3}\s?|US\$|[$€£¥₹]\s?)|\s?(?:[A-Z]{3}|[$€£¥₹])$")
_ISO = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?.*)?", re.A)
_EPOCH = re.compile(r"(?:\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?:\.\d+)?", re.A)
_NUMERIC_DATE = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2\d{4}(?:,?[T ]\d{1,2}:\d{2}(?::\d{2})?(?: ?[AaPp][Mm])?)?", re.A
)
_MODEL_NAME = re.compile(
    r"gpt|claude|gemini|llama|mi[sx]tral|command|deepseek|grok|qwen|kimi|nova-|titan|embed|whisper|dall|sonnet|haiku|"
    r"opus|\bo[1-9]\b|davinci|phi-",
    re.I,
)
CURRENCIES = {"$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_CODES = ("usd", "eur", "gbp", "chf", "jpy", "cny", "inr", "cad", "aud", "sek", "nok", "dkk", "pln", "brl")

# Names as `_plain` writes them, the best first. Those with a + are parts: all that are there are added up.
_NAMES: dict[Role, str] = {
    "timestamp": "timestamp start_time_iso start_time starting_at usage_date_utc started_at request_time requested_at "
    "event_time logged_at created_at created datetime date_time time ts date usage_date date_utc day bucket_start "
    "aggregation_timestamp bucket period hour month",
    "ended": "end_time ended_at completed_at finished_at",
    "model": "model provided_model_name model_name model_version response_model request_model gen_ai_request_model "
    "model_id snapshot_id engine deployment model_slug slug line_item",
    "input_tokens": "input_tokens prompt_tokens usage_input_tokens usage_prompt_tokens tokens_in tokens_input "
    "input_token_count prompt_token_count n_context_tokens_total context_tokens gen_ai_usage_input_tokens "
    "total_input_tokens input_tokens_total prompt_tokens_total input_usage usage_input input_token usage_details_input "
    "tokens_prompt n_prompt_tokens in_tokens input",
    "uncached_tokens": "usage_input_tokens_no_cache uncached_input_tokens input_tokens_no_cache input_uncached_tokens "
    "prompt_cache_miss_tokens",
    "output_tokens": "output_tokens completion_tokens usage_output_tokens usage_completion_tokens tokens_out "
    "tokens_output output_token_count completion_token_count n_generated_tokens_total generated_tokens "
    "candidates_token_count gen_ai_usage_output_tokens total_output_tokens output_tokens_total "
    "completion_tokens_total output_usage usage_output output_token +usage_details_output "
    "+usage_details_output_reasoning_tokens +usage_details_output_reasoning tokens_completion n_completion_tokens "
    "response_tokens out_tokens output",
    "cached_tokens": "cached_tokens input_cached_tokens cached_input_tokens usage_input_tokens_cache_read "
    "cache_read_input_tokens cache_read_tokens prompt_tokens_details_cached_tokens prompt_cache_hit_tokens "
    "tokens_cached cache_hit_tokens cached_prompt_tokens cached_content_token_count "
    "+usage_details_input_cached_tokens "
    "+usage_details_cache_read_input_tokens +usage_details_input_cache_read +usage_details_input_cached "
    "cache_read cached",
    "cache_write_tokens": "cache_write_tokens cache_creation_input_tokens cache_creation_tokens "
    "input_cache_write_tokens usage_input_tokens_cache_write +usage_input_tokens_cache_write_5m "
    "+usage_input_tokens_cache_write_1h +cache_creation_ephemeral_5m_input_tokens "
    "+cache_creation_ephemeral_1h_input_tokens +usage_details_cache_creation_input_tokens "
    "+usage_details_input_cache_creation cache_write cache_creation",
    "latency_ms": "latency request_duration duration response_time elapsed total_duration total_latency time_taken "
    "elapsed_time duration_total",
    "status": "status status_code http_status response_status success succeeded is_success ok state outcome result "
    "level is_error failed error error_code error_type error_message finish_reason",
    "user": "user user_id end_user user_email user_name username email customer customer_id account account_id client "
    "client_id tenant actor member api_key_name api_key_alias api_key api_key_id key_alias",
    "feature": "feature use_case feature_name application app app_name product component trace_name project_name "
    "workspace_name workspace request_tags tags tag project project_id workspace_id team_alias team team_id service "
    "endpoint operation task route department agent",
    "cost": "cost total_cost calculated_total_cost spend amount_value amount response_cost cost_total "
    "cost_details_total billed billed_cost price charge charged total_price",
    "currency": "currency amount_currency currency_code cost_currency",
    "requests": "requests num_model_requests num_requests n_requests request_count number_of_requests "
    "api_requests calls num_calls call_count count",
    "retry": "attempt attempt_number attempts is_retry retry retries retry_count num_retries attempted_retries",
    "batch": "batch is_batch service_tier usage_type",
    "kind": "type",
}  # fmt: skip


class _Meaning(NamedTuple):
    role: Role
    rank: int
    part: bool


_MEANINGS: dict[str, _Meaning] = {}
for _role, _names in _NAMES.items():
    for _rank, _name in enumerate(_names.split()):
        _MEANINGS.setdefault(_name.removeprefix("+"), _Meaning(_role, _rank, _name.startswith("+")))

_UNITS = {"ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "secs": "s"}
_UNITS |= {"seconds": "s"}
_TIERS = ("standard", "default", "priority", "flex", "scale", "batch", "message", "auto")


@dataclass(slots=True)
class _Source:
    """A column of the head, or a place in its JSON records, with its first cells."""

    path: tuple[str, ...]
    position: int
    cells: list[str]

    @property
    def name(self) -> str:
        return _shown(".".join(self.path))

    @property
    def full(self) -> list[str]:
        return [cell for cell in self.cells if cell.strip() and cell.strip().lower() not in ("null", "none")]


@dataclass(slots=True)
class _Table:
    """The head as columns. `score` compares ways of reading it: named roles first, then regular rows."""

    layout: Layout
    delimiter: str
    header_line: int
    width: int
    sources: list[_Source]
    score: tuple[int, int]

    @staticmethod
    def of_json(text: str, cut: bool) -> "_Table | None":
        rows: list[dict[tuple[str, ...], str]] = []
        lines = [line for line in _lines(text, 1000) if line.strip()]
        values = [_parsed(line) for line in lines[:-1] if len(lines) > 1] if cut else [_parsed(line) for line in lines]
        whole = [value for value in values if isinstance(value, dict)]
        layout: Layout = "jsonl" if whole and len(whole) * 2 >= len(values) else "json"
        if layout == "json":
            whole = []
            try:
                for _, value in elements(text):
                    whole.append(value)
                    if len(whole) >= 1000:
                        break
            except ValueError:
                pass
        for value in whole:
            for record in records(value):
                row: dict[tuple[str, ...], str] = {}
                _flatten(record, (), row)
                rows.append(row)
                if len(rows) >= 1000:
                    break
        if not rows:
            return None
        paths = list(dict.fromkeys(path for row in rows for path in row))[:300]
        sources = [_Source(path, -1, [row.get(path, "") for row in rows]) for path in paths]
        return _Table(layout, "", 0, 0, sources, (0, 0))

    @staticmethod
    def of_csv(text: str, delimiter: str, cut: bool) -> "_Table":
        lines = _lines(text, 2000)
        if cut and 1 < len(lines) < 2000:
            lines.pop()
        rows: list[tuple[int, list[str]]] = []
        reader = csv.reader(lines, delimiter=delimiter)
        while len(rows) < 300:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error:
                continue
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row[:1000]))
        header_at, named = -1, 0
        for index, (_, row) in enumerate(rows[:10]):
            known = len({meaning.role for cell in row if (meaning := _meaning((cell,)))})
            if known >= 2 and known > named and sum(_is_value(cell) for cell in row) * 2 <= len(row):
                header_at, named = index, known
        body = rows[header_at + 1 :]
        width = len(rows[header_at][1]) if header_at >= 0 else _usual(len(row) for _, row in rows)
        regular = sum(len(row) == width for _, row in body)
        if width < 2 or not rows:
            return _Table("csv", delimiter, 0, width, [], (0, 0))
        header = rows[header_at][1] if header_at >= 0 else [""] * width
        good = [row for _, row in body if len(row) == width][:200]
        sources: list[_Source] = []
        for position, title in enumerate(header):
            cells = [row[position].strip() for row in good]
            sources.append(_Source((title.strip()[:200],), position, cells))
            sources += _inside(sources[-1])
        line = rows[header_at][0] if header_at >= 0 else 0
        return _Table("csv", delimiter, line, width, sources, (named, regular * min(width, 30)))


def _recognised(table: _Table, encoding: str) -> Recognised:
    assumptions: list[str] = []
    decimal: Literal[".", ","] = "."
    if table.layout == "csv":
        if not table.header_line:
            _name_by_content(table, assumptions)
        decimal = _decimal(table)
    shape = _format({_plain(".".join(source.path)) for source in table.sources}, table.sources)
    columns = _columns(table, shape, decimal, assumptions)
    roles = {column.role for column in columns}
    tokens = roles & {"input_tokens", "uncached_tokens", "output_tokens", "cached_tokens"}
    costs = "cost" in roles and ("model" in roles or shape != "table")
    if not (tokens or costs) or not roles & {"timestamp", "model"}:
        return _nothing(_no_usage(table, roles), encoding)
    if not any(source.full for source in table.sources):
        return _nothing("The file has the columns of usage data but no row under them.", encoding)
    used = {(column.position, column.path) for column in columns}
    by_position = {column.position for column in columns if column.position >= 0}
    ignored = [
        source.name
        for source in table.sources
        if (source.position, source.path) not in used and not (len(source.path) > 1 and source.position in by_position)
    ]
    cached_in_input = _cached_in_input(table, shape, columns, decimal, assumptions)
    per_request = shape not in ("openai", "anthropic") and "requests" not in roles
    if not per_request:
        columns = tuple(column for column in columns if column.role not in ("ended", "latency_ms", "retry"))
    elif "latency_ms" in roles:
        columns = tuple(column for column in columns if column.role != "ended")
    currency = next((column.unit for column in columns if column.role == "cost" and len(column.unit) == 3), "")
    if "cost" in roles and not currency:
        currency = "USD"
        if "currency" not in roles and shape in ("table", "unknown"):
            assumptions.append("The cost names no currency: taken as US dollars.")
    roles = {column.role for column in columns}
    have = roles | ({"input_tokens"} if "uncached_tokens" in roles else set())
    have |= {"latency_ms"} if "ended" in roles else set()
    missing = tuple(role for role in _LISTED_MISSING if role not in have)
    found = Recognised(
        usage=True,
        format=shape,
        layout=table.layout,
        delimiter=table.delimiter,
        encoding=encoding,
        decimal=decimal,
        header_line=table.header_line,
        width=table.width,
        columns=columns,
        missing=missing,
        ignored=tuple(dict.fromkeys(ignored)),
        cached_in_input=cached_in_input,
        per_request=per_request,
        currency=currency,
        assumptions=tuple(dict.fromkeys(assumptions)),
        words="",
    )
    return dataclasses.replace(found, words=_words(found))


def _columns(table: _Table, shape: Format, decimal: str, assumptions: list[str]) -> tuple[Column, ...]:
    candidates: dict[Role, list[tuple[tuple[int, int, int], bool, _Source]]] = {}
    for order, source in enumerate(table.sources):
        meaning = _meaning(source.path)
        if meaning and _fits(meaning.role, source, shape, decimal):
            key = (int(not source.full), meaning.rank, len(source.path) * 1000 + order)
            candidates.setdefault(meaning.role, []).append((key, meaning.part, source))
    if shape == "langfuse" and "feature" not in candidates:
        candidates["feature"] = [((0, 0, 0), False, source) for source in table.sources if source.path == ("name",)]
    if "input_tokens" in candidates:
        candidates.pop("uncached_tokens", None)
    if shape != "langfuse":
        candidates.pop("kind", None)
    columns: list[Column] = []
    for role in ROLES:
        found = sorted(candidates.get(role, []), key=lambda candidate: candidate[0])
        if not found:
            continue
        taken = [candidate for candidate in found if candidate[1]] if found[0][1] else found[:1]
        seen: set[str] = set()
        for _, _, source in taken:
            plain = _plain(".".join(source.path))
            if plain not in seen:
                seen.add(plain)
                unit = _unit(role, source, shape, decimal, assumptions)
                columns.append(Column(role, source.path, source.position, unit))
        same = [source for _, _, source in found if _plain(source.path[-1]) == _plain(taken[0][2].path[-1])]
        if table.layout == "csv" and len(same) > 1 and len(same[0].path) == 1:
            assumptions.append(f"Of {len(same)} columns “{same[0].name}” the first that has values is used.")
    if shape == "langfuse":
        columns += _details(columns)
    return tuple(columns)


def _details(columns: list[Column]) -> Iterator[Column]:
    """The other keys of Langfuse's token details: which there are differs from row to row."""
    inputs = next((column for column in columns if "usage_details" in map(_plain, column.path[:-1])), None)
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


def _fits(role: Role, source: _Source, shape: Format, decimal: str) -> bool:
    """Whether what stands in the cells can be what the name says; nothing at all can."""
    cells = source.full
    if not cells:
        return source.position >= 0 or role in ("status", "user", "feature", "cached_tokens", "cost")
    if role in ("timestamp", "ended"):
        fitting = sum(_is_time(cell) for cell in cells)
    elif role == "model":
        if shape == "langfuse" and source.path == ("model_id",):
            return False
        fitting = sum(number(cell, decimal) is None and not _is_time(cell) for cell in cells)
    elif role in ("status", "user", "feature", "kind"):
        return not all(cell.startswith(("{", "[{")) for cell in cells)
    elif role == "currency":
        fitting = sum(cell.upper() in CURRENCIES or re.fullmatch("[A-Za-z]{3}", cell) is not None for cell in cells)
    elif role == "batch":
        fitting = sum(_is_flag(cell) or cell.lower() in _TIERS for cell in cells)
    elif role == "retry":
        fitting = sum(_is_flag(cell) or number(cell, decimal) is not None for cell in cells)
    else:
        fitting = sum(number(cell, decimal) is not None for cell in cells)
    return fitting * 2 >= len(cells)


def _unit(role: Role, source: _Source, shape: Format, decimal: str, assumptions: list[str]) -> str:
    plain = _plain(".".join(source.path))
    last = plain.rpartition("_")[2]
    if role == "latency_ms":
        if last in _UNITS:
            return _UNITS[last]
        if shape == "langfuse":
            return "s"
        values = sorted(value for cell in source.full if (value := number(cell, decimal)) is not None)
        seconds = bool(values) and values[len(values) // 2] < 100 and any(value % 1 for value in values)
        assumptions.append(f"“{source.name}” names no unit: taken as {'seconds' if seconds else 'milliseconds'}.")
        return "s" if seconds else "ms"
    if role == "cost":
        if shape == "anthropic" and source.path == ("amount",):
            return "cents"
        return "cents" if last == "cents" else last.upper() if last in _CODES else ""
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


def _date_order(source: _Source, assumptions: list[str]) -> str:
    dates = [match for cell in source.full if (match := _NUMERIC_DATE.fullmatch(cell))]
    if not dates:
        if any(
            _ISO.fullmatch(cell) and not re.search(r"(?:Z|UTC|GMT|[+-]\d\d:?\d{0,2})$", cell) for cell in source.full
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


def _cached_in_input(
    table: _Table, shape: Format, columns: tuple[Column, ...], decimal: str, assumptions: list[str]
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

    more = any(small > whole > 0 for small, whole in zip(values(cached), values(inputs), strict=True))
    of_messages = inputs[0].path[-1] == "input_tokens" and cached[0].path[-1] == "cache_read_input_tokens"
    apart = inputs[0].path[0] == "usage_details" and not _totals_agree(cells, inputs, columns, decimal)
    if not (more or of_messages or apart):
        return True
    if shape == "table":
        assumptions.append(f"“{inputs[0].name}” does not contain the cached tokens: they are added to it.")
    return False


def _totals_agree(
    cells: dict[tuple[int, tuple[str, ...]], list[str]],
    inputs: list[Column],
    columns: tuple[Column, ...],
    decimal: str,
) -> bool:
    """Whether input and output alone make up the total, so that the cached tokens are in the input."""
    position = inputs[0].position
    total = cells.get((position, ("usage_details", "total")))
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


def _format(names: set[str], sources: list[_Source]) -> Format:
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


def _decimal(table: _Table) -> Literal[".", ","]:
    """The decimal mark, by cells that can be read in one way only. Tokens are whole, so 1.234 of them is a thousand."""
    point = comma = 0
    seen_comma = False
    for source in table.sources:
        meaning = _meaning(source.path)
        if not meaning or meaning.role not in _NUMBERS:
            continue
        whole = meaning.role not in ("cost", "latency_ms")
        for cell in source.full:
            bare = _CURRENCY_SIGNS.sub("", cell).strip()
            marks = re.sub(r"[^.,]", "", bare)
            seen_comma |= "," in marks
            if not marks or not re.fullmatch(r"-?[\d.,\s'’]+", bare, re.A):
                continue
            if len(set(marks)) == 2:
                point, comma = (point + 1, comma) if marks[-1] == "." else (point, comma + 1)
            elif len(marks) > 1 or (whole and re.fullmatch(r"-?\d{1,3}[.,]\d{3}", bare)):
                point, comma = (point + 1, comma) if marks[0] == "," else (point, comma + 1)
            elif not re.fullmatch(r"-?[1-9]\d{0,2}[.,]\d{3}", bare):
                point, comma = (point + 1, comma) if marks == "." else (point, comma + 1)
    if point == comma:
        return "," if table.delimiter == ";" and seen_comma else "."
    return "." if point > comma else ","


_NUMBERS: tuple[Role, ...] = (
    "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "latency_ms", "cost",
    "requests",
)  # fmt: skip


def _name_by_content(table: _Table, assumptions: list[str]) -> None:
    """Name the columns of a table without a header: a time and a model by what they look like, then the usual order."""
    times = [source for source in table.sources if source.full and all(_is_time(cell) for cell in source.full)]
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


def _words(found: Recognised) -> str:
    how = {",": "CSV with commas", ";": "CSV with semicolons", "\t": "a table with tabs", "|": "a table with bars"}
    layout = how.get(found.delimiter, "JSON, one record a line" if found.layout == "jsonl" else "JSON")
    by_role: dict[Role, list[str]] = {}
    for column in found.columns:
        by_role.setdefault(column.role, []).append(column.name)
    read = "; ".join(f"{ROLES[role]}: {' + '.join(names)}" for role, names in by_role.items())
    sentences = [f"{FORMATS[found.format]} ({layout}).", f"Read as {read}."]
    if found.missing:
        sentences.append(f"Not in it: {', '.join(ROLES[role] for role in found.missing)}.")
    if found.ignored:
        more = f" and {len(found.ignored) - 12} more" if len(found.ignored) > 12 else ""
        sentences.append(f"Not used: {', '.join(found.ignored[:12])}{more}.")
    return " ".join([*sentences, *found.assumptions])


def _no_usage(table: _Table, roles: set[Role]) -> str:
    seen = ", ".join(source.name for source in table.sources[:8] if source.name)
    sentences = ["I found no usage data in this file."]
    if seen:
        sentences.append(f"Its columns begin with: {seen}.")
    if roles:
        sentences.append(f"I recognised {', '.join(ROLES[role] for role in ROLES if role in roles)}.")
    sentences.append("I need a time or a model in each row, and tokens or a cost. For example:")
    return " ".join(sentences) + "\n" + EXAMPLE.strip()


def _nothing(words: str, encoding: str) -> Recognised:
    return Recognised(False, "unknown", "csv", "", encoding, ".", 0, 0, (), (), (), True, True, "", (), words)


def _no_text(head: bytes, name: str) -> str:
    ending = name.lower().rpartition(".")[2]
    if head.startswith(b"PK\x03\x04"):
        what = "an Excel workbook" if ending in ("xlsx", "xlsm") else "a ZIP archive"
        return f"This is {what}. Save what is in it as CSV or JSONL and send that."
    for magic, what in ((b"\x1f\x8b", "compressed with gzip"), (b"PAR1", "a Parquet file"), (b"%PDF", "a PDF file")):
        if head.startswith(magic):
            return f"This is {what}. Send the same data as plain CSV or JSONL."
    return ""


def _encoding(head: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    first = head[:4096]
    even, odd = first[::2].count(0), first[1::2].count(0)
    if max(even, odd) * 5 > len(first) and min(even, odd) * 20 < len(first):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _is_binary(text: str) -> bool:
    sample = text[:20_000]
    odd = len(re.findall("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]", sample))
    return odd * 20 > len(sample)


def _meaning(path: tuple[str, ...]) -> _Meaning | None:
    """What a name says; of a nested one its end counts, as far as it must."""
    for start in range(len(path)):
        plain = _plain(".".join(path[start:]))
        found = _MEANINGS.get(plain)
        if not found:
            base, _, unit = plain.rpartition("_")
            found = _MEANINGS.get(base) if unit in _UNITS or unit in _CODES or unit in ("cents", "in", "utc") else None
            if found and found.role not in ("cost", "latency_ms", "timestamp"):
                found = None
        if found:
            return found
    return None


def _plain(name: str) -> str:
    """`Input Tokens`, `inputTokens` and `input.tokens` are `input_tokens`; `Cost ($)` is `cost_usd`."""
    name = name[:200]
    for sign, code in (("$", " usd"), ("€", " eur"), ("£", " gbp")):
        name = name.replace(sign, code)
    name = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z\d]+", "_", name.lower()).strip("_")


def _inside(source: _Source) -> list[_Source]:
    """The places inside a column whose cells are JSON objects."""
    full = source.full
    if not full or not all(cell.startswith("{") for cell in full):
        return []
    rows: list[dict[tuple[str, ...], str]] = []
    for cell in source.cells:
        row: dict[tuple[str, ...], str] = {}
        value = _parsed(cell)
        if isinstance(value, dict):
            _flatten(value, source.path, row)
        rows.append(row)
    paths = list(dict.fromkeys(path for row in rows for path in row))[:100]
    return [_Source(path, source.position, [row.get(path, "") for row in rows]) for path in paths]


def _flatten(record: dict[str, Any], path: tuple[str, ...], into: dict[tuple[str, ...], str]) -> None:
    for key, value in record.items():
        if len(into) >= 300:
            return
        if len(key) > 200:
            continue
        if isinstance(value, dict) and len(path) < 5:
            _flatten(value, (*path, key), into)
        elif not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
            into[(*path, key)] = cell_of(value)[:500]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value there and its end. In growing windows, so that a huge one costs no memory: it is refused."""
    for size in (1 << 10, 1 << 14, 1 << 18, 1 << 22):
        try:
            value, end = _DECODER.raw_decode(text[at : at + size])
        except (ValueError, RecursionError) as error:
            if at + size >= len(text) or isinstance(error, RecursionError):
                raise ValueError("this is no JSON that can be read on", at) from None
        else:
            return value, at + end
    raise ValueError("a record longer than 4 MiB", at)


_DECODER = json.JSONDecoder()


def _is_time(cell: str) -> bool:
    if _ISO.fullmatch(cell):
        try:
            datetime.strptime(re.split("[T ]", cell)[0].replace("/", "-"), "%Y-%m-%d")
        except ValueError:
            return False
        return True
    return bool(_EPOCH.fullmatch(cell) or _NUMERIC_DATE.fullmatch(cell))


def _is_value(cell: str) -> bool:
    return number(cell.strip(), ".") is not None or _is_time(cell.strip())


def _is_flag(cell: str) -> bool:
    return cell.lower() in ("true", "false", "yes", "no", "0", "1", "t", "f")


def _lines(text: str, limit: int) -> list[str]:
    return list(itertools.islice(io.StringIO(text, newline=""), limit))


def _usual(lengths: Iterator[int]) -> int:
    found = Counter(lengths).most_common(1)
    return found[0][0] if found else 0


def _shown(name: str) -> str:
    """A name from the file as it may stand in a sentence."""
    name = re.sub(r"[^\w .,:()/$€£%+-]+", " ", name).strip()
    return name[:60] + "…" if len(name) > 60 else name
