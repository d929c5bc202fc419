"""What a file of usage data is: its format, which column means what, and words for a person. PURE: standard library.

Only the first 256 KiB and the name of a file are looked at. No bytes make it raise: what is no usage data is said to be
none. Whole files are read by `agents.advisor.usage`, by what is recognised here.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from chat.usage.columns import (
    Column,
    Format,
    columns_of,
    format_of,
    is_cached_in_input,
    is_signed,
    name_by_content,
    sums_up,
)
from chat.usage.names import ROLES, Role, plain_name
from chat.usage.tables import Layout, Table, decimal_of
from chat.usage.text import HEAD, encoding_of, is_binary, is_prose, refusal_of, text_of

EXAMPLE = (
    "timestamp,model,input_tokens,output_tokens,cached_tokens,latency_ms,status,user,feature\n"
    "2026-09-01T09:30:00Z,gpt-4o,1800,240,1024,950,success,anna,support\n"
)

FORMATS: dict[Format, str] = {
    "table": "A table of usage",
    "openai": "An OpenAI usage export",
    "anthropic": "An Anthropic usage export",
    "litellm": "A LiteLLM spend log",
    "langfuse": "A Langfuse export of observations",
    "unknown": "No usage data",
}

_LISTED_MISSING: tuple[Role, ...] = (
    "timestamp", "model", "input_tokens", "output_tokens", "cached_tokens", "latency_ms", "status", "user", "feature",
    "cost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is. `words` are sentences for a person; how to read it is for `agents.advisor.usage`.

    `prose`: no usage data, but sentences that a person wrote; `text_of` is what they say.

    `delimiter` is empty in JSON. `header_line` counts from 1, 0 is none. `cached_in_input`: the input tokens contain
    the cached ones. `per_request`: a row is one request, not a sum of many. `currency`: of a cost that names none.
    """

    usage: bool
    prose: bool
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

    @property
    def lengths(self) -> bool:
        """Whether the input tokens and the number of requests of a row say how long its prompts are."""
        return self.per_request or bool(self.of("requests"))

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
    refusal = refusal_of(head, name)
    encoding = encoding_of(head)
    if refusal:
        return _nothing(refusal, encoding)
    text = text_of(head)
    if not text.strip():
        return _nothing("The file is empty.", encoding)
    if is_binary(text):
        return _nothing("This is no text, so it is no usage data.", encoding)
    if text.lstrip()[0] in "{[":
        tree = Table.of_json(text, cut)
        if tree:
            return _recognised(tree, encoding)
    tables = [Table.of_csv(text, delimiter, cut) for delimiter in (",", ";", "\t", "|")]
    found = _recognised(max(tables, key=lambda table: table.score), encoding)
    if not found.usage and is_prose(text):
        return dataclasses.replace(found, prose=True, words=_PROSE)
    return found


def _recognised(table: Table, encoding: str) -> Recognised:
    assumptions: list[str] = []
    decimal: Literal[".", ","] = "."
    if table.layout == "csv":
        if not table.header_line:
            name_by_content(table, assumptions)
        decimal = decimal_of(table)
    shape = format_of({plain_name(".".join(source.path)) for source in table.sources}, table.sources)
    columns = columns_of(table, shape, decimal, assumptions)
    roles = {column.role for column in columns}
    tokens = roles & {"input_tokens", "uncached_tokens", "output_tokens", "cached_tokens"}
    costs = "cost" in roles and ("model" in roles or shape != "table")
    if not (tokens or costs) or not roles & {"timestamp", "model"}:
        return _nothing(_no_usage(table, roles), encoding)
    if not any(source.full for source in table.sources):
        return _nothing("The file has the columns of usage data but no row under them.", encoding)
    cached_in_input = is_cached_in_input(table, shape, columns, decimal, assumptions)
    per_request = shape not in ("openai", "anthropic") and "requests" not in roles
    if per_request and shape == "table" and sums_up(table, columns, decimal):
        per_request = False
        assumptions.append(_REQUESTS_UNKNOWN)
    if not per_request:
        columns = tuple(column for column in columns if column.role not in ("ended", "latency_ms", "retry"))
    elif "latency_ms" in roles:
        columns = tuple(column for column in columns if column.role != "ended")
    used = {(column.position, column.path) for column in columns}
    by_position = {column.position for column in columns if column.position >= 0}
    ignored = [
        source.name
        for source in table.sources
        if (source.position, source.path) not in used and not (len(source.path) > 1 and source.position in by_position)
    ]
    currency = next((column.unit for column in columns if column.role == "cost" and len(column.unit) == 3), "")
    if "cost" in roles and not currency:
        currency = "USD"
        if "currency" not in roles and shape in ("table", "unknown") and not is_signed(table, columns):
            assumptions.append("The cost names no currency: taken as US dollars.")
    roles = {column.role for column in columns}
    have = roles | ({"input_tokens"} if "uncached_tokens" in roles else set())
    have |= {"latency_ms"} if "ended" in roles else set()
    missing = tuple(role for role in _LISTED_MISSING if role not in have)
    found = Recognised(
        usage=True,
        prose=False,
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


_REQUESTS_UNKNOWN = (
    "Each row is taken as a sum of many requests: there is one for each day and group, without a time of day, or it is "
    "too large for one. No column counts the requests, so they and all figures of single requests are unknown."
)


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


def _no_usage(table: Table, roles: set[Role]) -> str:
    seen = ", ".join(source.name for source in table.sources[:8] if source.name)
    sentences = ["I found no usage data in this file."]
    if seen:
        sentences.append(f"Its columns begin with: {seen}.")
    if roles:
        sentences.append(f"I recognised {', '.join(ROLES[role] for role in ROLES if role in roles)}.")
    sentences.append(
        "I need a time or a model in each row, and tokens or a cost. I looked for columns like timestamp, model, "
        "input_tokens, output_tokens, cost (in German: Datum, Modell, Eingabe-Tokens, Ausgabe-Tokens, Kosten). "
        "For example:"
    )
    return " ".join(sentences) + "\n" + EXAMPLE.strip()


def _nothing(words: str, encoding: str) -> Recognised:
    return Recognised(False, False, "unknown", "csv", "", encoding, ".", 0, 0, (), (), (), True, True, "", (), words)


_PROSE = (
    "This is text and no table, so there is no usage data in it. The adviser takes from it the models, amounts, tokens "
    "and goals that it names."
)
