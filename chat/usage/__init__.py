"""Recognition of usage and billing files: format, columns, and words for a person. PURE: standard library.

Only the first 256 KiB and the name of a file are looked at. No bytes make it raise: what is no usage data is said to be
none. Whole files are read by `agents.usage`, by what is recognised here.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from chat.translation import t
from chat.usage.cells import is_time
from chat.usage.columns import (
    Column,
    chosen,
    columns_of,
    declared,
    headed_by_values,
    is_cached_in_input,
    is_price,
    is_signed,
    is_weak,
    name_by_content,
    sums_up,
    unpivoted,
)
from chat.usage.formats import Format
from chat.usage.names import NUMBERS, ROLES, SIGN, TOKENS, Role, meaning_of, shown
from chat.usage.skus import MODEL
from chat.usage.tables import Layout, Source, Table, decimal_of, is_money_like
from chat.usage.text import HEAD, Container, container_of, encoding_of, is_binary, is_prose, refusal_of, text_of

EXAMPLE = (
    "timestamp,model,input_tokens,output_tokens,cached_tokens,latency_ms,status,user,feature\n"
    "2026-09-01T09:30:00Z,gpt-4o,1800,240,1024,950,success,anna,support\n"
)
TABLE, UNKNOWN = "table", "unknown"
MAX_PROPOSED = 40  # columns in a form

_LISTED_MISSING: tuple[Role, ...] = (
    "timestamp", "model", "input_tokens", "output_tokens", "cached_tokens", "latency_ms", "status", "user", "feature",
    "cost",
)  # fmt: skip


class Choice(TypedDict, total=False):
    """Choices for a table that no format recognises: the role of each column by its header, `request` or `sum` for a
    row, and the currency of the cost."""

    columns: Mapping[str, str]
    row: str
    currency: str


class ProposedColumn(TypedDict):
    name: str
    samples: list[str]
    role: str


class Proposal(TypedDict):
    """A guess at an unknown table, to be confirmed in a form. `header`: the id under which a `Choice` is kept."""

    header: str
    columns: list[ProposedColumn]
    row: str
    currency: str


@dataclass(frozen=True, slots=True)
class Recognised:
    """A file, recognised. `text` are sentences for a person; the rest tells `agents.usage` how to read it.

    `usage`: it can be read. `proposal`: it can be read if a person confirms this. `prose`: it has sentences that a
    person wrote. `container`: what is to be unpacked first; then the rest is of its first part, as far as it is known.

    `delimiter` is empty in JSON. `header_line` counts from 1, 0 is none. `cached_in_input`: the input tokens contain
    the cached ones. `per_request`: a row is one request, not a sum of many. `currency`: of a cost that names none.
    `chosen`: a person said what the columns are. `wide`: positions of columns that are read as rows. `money`: columns
    that look like money and are not used. `more`: the page says that others follow.
    """

    usage: bool
    prose: bool
    format: str
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
    text: str
    container: Container = ""
    shape: Format | None = None
    wide: tuple[tuple[int, str], ...] = ()
    money: tuple[str, ...] = ()
    more: bool = False
    chosen: bool = False
    proposal: Proposal | None = None

    def of(self, *roles: Role) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role in roles)

    @property
    def words(self) -> str:
        return self.text

    @property
    def lengths(self) -> bool:
        """Tell if the input tokens and the number of requests of a row say how long its prompts are."""
        return self.per_request or bool(self.of("requests"))

    def as_json(self) -> dict[str, Any]:
        """Return what to keep and to show of it; names from the file are cut and free of control characters."""
        return {
            "usage": self.usage,
            "format": self.format,
            "layout": self.layout,
            "columns": [{"role": one.role, "name": one.name, "unit": one.unit} for one in self.columns],
            "missing": list(self.missing),
            "ignored": list(self.ignored[:50]),
            "assumptions": list(self.assumptions),
            "words": self.text,
            "proposal": self.proposal,
        }


def recognise(head: bytes, name: str, choices: Mapping[str, Choice] | None = None) -> Recognised:
    """Recognise the file of this name that begins with these bytes. Bytes past 256 KiB are not looked at.

    `choices`: how a person wants tables with unknown headers to be read, by the id of the header.
    """
    cut = len(head) >= HEAD
    head = head[:HEAD]
    container, inner, inner_name = container_of(head, name)
    if container:
        found = recognise(inner, inner_name, choices) if inner else _nothing(_container(container), "utf-8")
        about = _container(container)
        text = found.text if found.usage and inner else " ".join([about, t("It is unpacked when it is read.")])
        return dataclasses.replace(found, usage=True, prose=False, container=container, text=text, proposal=None)
    encoding = encoding_of(head)
    if encoding == "cp1252":
        encoding = max(_OLD_ENCODINGS, key=lambda one: _table_of(text_of(head[:16384], one), True).score)
    text = text_of(head, encoding)
    refusal = refusal_of(head) or ("" if text.strip() else t("The file is empty."))
    refusal = refusal or (t("This is no text, so it is no usage data.") if is_binary(text) else "")
    if refusal:
        return _nothing(refusal, encoding)
    table = Table.of_json(text, cut) if text.lstrip()[0] in "{[" else None
    prose = table is None and is_prose(text)
    if table is None:
        table = _table_of(text, cut)
    found = _Reading(table, encoding, choices or {}).recognised()
    if prose and not found.usage and not found.proposal:
        text = t(
            "This is text and no table, so there is no usage data in it. The advisor takes from it the models, "
            "amounts, tokens and goals that it names."
        )
        return dataclasses.replace(found, prose=True, text=text)
    return found


def _table_of(text: str, cut: bool) -> Table:
    return max((Table.of_csv(text, one, cut) for one in (",", ";", "\t", "|")), key=lambda table: table.score)


# Where the names of columns are the same by all of them, the first counts.
_OLD_ENCODINGS = ("cp1252", "shift_jis", "gb18030", "euc_kr", "cp1251", "cp1250")


def _container(kind: str) -> str:
    kinds = {"gzip": t("A file compressed with gzip."), "zip": t("A ZIP archive."), "parquet": t("A Parquet file.")}
    return kinds.get(kind) or t("A workbook with sheets.")


class _Reading:
    """One table of a file, on the way to what it is."""

    def __init__(self, table: Table, encoding: str, choices: Mapping[str, Choice]) -> None:
        self._table, self._encoding, self._shape = table, encoding, table.shape
        self._choice = choices.get(header_id(table)) if choices and not table.shape else None
        self._assumptions: list[str] = []
        self._wide: tuple[int, ...] = ()
        self._columns: tuple[Column, ...] = ()
        self._decimal: Literal[".", ","] = "."

    def recognised(self) -> Recognised:
        table, shape, choice = self._table, self._shape, self._choice
        self._find_columns()
        roles = {column.role for column in self._columns}
        costs = [column for column in self._columns if column.role == "cost"]
        signed = is_signed(table, self._columns) or all(one.unit for one in costs)
        signed = signed and not self._may_be_cost()
        certain = _is_certain(self._columns, roles, bool(self._wide), signed)
        certain = certain and ("cost" in roles or not self._may_be_cost())
        if not (choice or shape or certain):
            return _uncertain(table, self._columns, roles, self._encoding)
        if not any(source.full for source in table.sources):
            return _nothing(t("The file has the columns of usage data but no row under them."), self._encoding)
        cached_in_input = not shape.apart if shape else True
        if not shape or "usage_details" in shape.fields.get("output_tokens", ""):
            cached_in_input = is_cached_in_input(table, self._columns, self._decimal, self._assumptions)
        per_request = self._is_per_request(roles)
        columns, currency, unused = self._columns, self._currency(roles), self._unused()
        have = {column.role for column in columns}
        have |= {"input_tokens"} if "uncached_tokens" in have else set()
        have |= {"latency_ms"} if "ended" in have and per_request else set()
        have |= {"model", "input_tokens", "output_tokens", "cost"} if "sku" in have else set()
        found = Recognised(
            usage=True, prose=False, format=shape.key if shape else TABLE, layout=table.layout, text="", shape=shape,
            delimiter=table.delimiter, encoding=self._encoding, decimal=self._decimal, header_line=table.header_line,
            width=table.width, columns=columns, missing=tuple(role for role in _LISTED_MISSING if role not in have),
            ignored=tuple(dict.fromkeys(source.name for source in unused)), cached_in_input=cached_in_input,
            per_request=per_request, currency=currency, assumptions=tuple(dict.fromkeys(self._assumptions)),
            wide=tuple((one.position, _bare(one.path[0])) for one in table.sources if one.position in self._wide),
            money=tuple(dict.fromkeys(source.name for source in unused if is_money_like(source))), more=table.more,
            chosen=bool(choice),
        )  # fmt: skip
        return dataclasses.replace(found, text=_words(found))

    def _find_columns(self) -> None:
        table, shape, said = self._table, self._shape, self._assumptions
        roles_of = (self._choice or {}).get("columns", {})
        if table.layout == "csv":
            if not table.header_line:
                name_by_content(table, said)
            if self._choice:
                places = {source.position for source in table.sources if roles_of.get(source.name) in NUMBERS}
            elif shape:
                places = {source.position for source in table.sources if is_money_like(source)}
            else:
                places = {source.position for sources in headed_by_values(table).values() for source in sources}
            self._decimal = decimal_of(table, places)
        if self._choice:
            self._columns = chosen(table, roles_of, self._decimal, said)
        elif shape:
            said += map(t, shape.notes)
            self._columns = declared(table, shape, self._decimal, said)
            taken = {column.position for column in self._columns}
            others = (one for one in table.sources if one.position not in taken and one.plain not in _TOTALS)
            self._wide = tuple(one.position for one in others) if shape.wide else ()
        else:
            columns = columns_of(table, self._decimal, said)
            self._columns, self._wide = unpivoted(table, columns, self._decimal, said)

    def _is_per_request(self, roles: set[Role]) -> bool:
        """Tell if a row is one request, and leave out the columns that only the other kind of row can have."""
        shape = self._shape
        per_request = not shape.sums if shape else "requests" not in roles
        if self._choice:
            per_request = self._choice.get("row") != "sum"
        elif per_request and not shape and (self._wide or sums_up(self._table, self._columns, self._decimal)):
            per_request = False
            text = t(
                "Each row is taken as a sum of many requests: there is one for each day and group, without a time of "
                "day, or it is too large for one. No column counts the requests, so they and all figures of single "
                "requests are unknown."
            )
            self._assumptions.append(text)
        odd = {"ended"} if "latency_ms" in roles and not shape else set()
        if not per_request:
            odd = {"latency_ms", "retry", *(() if shape else ("ended",))}
        self._columns = tuple(column for column in self._columns if column.role not in odd)
        return per_request

    def _currency(self, roles: set[Role]) -> str:
        table, shape = self._table, self._shape
        currency = next(
            (one.unit for one in self._columns if one.role == "cost" and len(one.unit) == 3), table.currency
        )
        declared = shape.currency if shape else ""
        if not currency and "cost" in roles:
            currency = (self._choice or {}).get("currency") or declared or "USD"
            if "currency" not in roles and not shape and not self._choice and not is_signed(table, self._columns):
                self._assumptions.append(t("The cost names no currency: taken as US dollars."))
        return currency or declared

    def _may_be_cost(self) -> bool:
        """Tell if a column that is not used may say what a row costs: then list prices are no answer."""
        return any(is_money_like(one) and not _NO_AMOUNT.search(one.plain) for one in self._unused())

    def _unused(self) -> list[Source]:
        used = {column.place for column in self._columns}
        positions = {column.position for column in self._columns if column.position >= 0} | {*self._wide}
        return [one for one in self._table.sources if one.place not in used and one.position not in positions]


_TOTALS = ("total_costs_usd", "total_cost_usd", "total_costs", "total_cost", "total", "grand_total", "summe", "gesamt")


def _bare(title: str) -> str:
    """`Claude Sonnet 4.5 ($)` without its currency."""
    return shown(re.sub(rf"\s*\(?(?:{SIGN})\)?\s*$", "", title))


def _is_certain(columns: tuple[Column, ...], roles: set[Role], wide: bool, signed: bool) -> bool:
    """Tell if columns that were found by their names can be nothing but usage data. `signed`: the only money in the
    table, each with its currency."""
    tokens = roles & set(TOKENS)
    costs = [column for column in columns if column.role == "cost"]
    named = "model" in roles or (wide and roles & {"team", "user", "project"})
    doubtful = any(is_weak(one) and not (signed and "timestamp" in roles and not is_price(one)) for one in costs)
    paid = bool(costs) and named and not doubtful
    return bool((tokens or paid) and roles & {"timestamp", "model"})


def header_id(table: Table) -> str:
    """The id of a header: files with equal ones are read alike."""
    names = "\x1f".join(source.plain for source in table.sources)
    return hashlib.sha256(names.encode("utf-8", "replace")).hexdigest()[:16]


def _uncertain(table: Table, columns: tuple[Column, ...], roles: set[Role], encoding: str) -> Recognised:
    """A table that may be usage data if a person says what its columns are."""
    nothing = _nothing(_no_usage(table, roles), encoding)
    numbers = [source for source in table.sources if any(re.search(r"\d", cell) for cell in source.full)]
    if len(table.sources) < 2 or not numbers or not (table.header_line or table.layout != "csv"):
        return nothing
    guessed: dict[tuple[int, tuple[str, ...]], str] = {one.place: one.role for one in columns}
    for source in table.sources:
        role = _meant(source)
        if role and role not in guessed.values():
            guessed.setdefault(source.place, role)
    asked: list[ProposedColumn] = []
    for source in table.sources[:MAX_PROPOSED]:
        samples = [shown(cell) for cell in dict.fromkeys(source.full)][:3]
        asked.append({"name": source.name, "samples": samples, "role": guessed.get(source.place, "")})
    currency = next((one.unit for one in columns if one.role == "cost" and len(one.unit) == 3), table.currency)
    proposal: Proposal = {"header": header_id(table), "columns": asked, "row": "sum", "currency": currency}
    text = " ".join([nothing.text, t("The advisor asks what its columns mean.")])
    return dataclasses.replace(nothing, proposal=proposal, text=text)


def _meant(source: Source) -> str:
    """The role that a column may have by its name, else by what stands in it."""
    meaning, cells = meaning_of(source.path), source.full
    if meaning or not cells:
        return meaning.role if meaning else ""
    if all(map(is_time, cells)):
        return "timestamp"
    if sum(bool(MODEL.search(cell)) for cell in cells) * 2 > len(cells):
        return "model"
    return "cost" if is_money_like(source) and not _NO_AMOUNT.search(source.plain) else ""


# Money, but not what a row costs.
_NO_AMOUNT = re.compile(r"share|percent|pct|cumul|running|budget|limit|quota|credit|saving|discount|(?:^|_)per_|rate$")


def _words(found: Recognised) -> str:
    layouts = {",": t("CSV with commas"), ";": t("CSV with semicolons"), "\t": t("a table with tabs")}
    layouts |= {"|": t("a table with bars"), "jsonl": t("JSON, one record a line"), "json": "JSON"}
    layout = layouts.get(found.delimiter) or layouts[found.layout]
    by_role: dict[Role, list[str]] = {}
    for column in found.columns:
        by_role.setdefault(column.role, []).append(column.name)
    read = "; ".join(f"{t(ROLES[role])}: {' + '.join(names)}" for role, names in by_role.items())
    title = t(found.shape.title if found.shape else "Usage data")
    sentences = [f"{title} ({layout}).", t("Recognised: {0}.", read)]
    if found.missing:
        sentences.append(t("Missing: {0}.", ", ".join(t(ROLES[role]) for role in found.missing)))
    if found.ignored:
        more = t(" and {0} more", len(found.ignored) - 12) if len(found.ignored) > 12 else ""
        sentences.append(t("Not used: {0}.", ", ".join(found.ignored[:12]) + more))
    return " ".join([*sentences, *found.assumptions])


def _no_usage(table: Table, roles: set[Role]) -> str:
    seen = ", ".join(source.name for source in table.sources[:8] if source.name)
    sentences = [t("I found no usage data in this file.")]
    if seen:
        sentences.append(t("Its columns begin with: {0}.", seen))
    if roles:
        sentences.append(t("I recognised {0}.", ", ".join(t(ROLES[role]) for role in ROLES if role in roles)))
    wanted = t(
        "I need a time or a model in each row, and tokens or a cost. I looked for columns like timestamp, model, "
        "input_tokens, output_tokens, cost (in German: Datum, Modell, Eingabe-Tokens, Ausgabe-Tokens, Kosten)."
    )
    return " ".join([*sentences, wanted, t("For example:")]) + "\n" + EXAMPLE.strip()


def _nothing(words: str, encoding: str) -> Recognised:
    return Recognised(False, False, UNKNOWN, "csv", "", encoding, ".", 0, 0, (), (), (), True, True, "", (), words)
