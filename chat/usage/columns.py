"""Columns of a file and their roles, by a declaration or by their names and contents. PURE: standard library."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chat.translation import t
from chat.usage.cells import (
    CURRENCY_SIGNS,
    ISO,
    NAMED_DATE,
    NUMERIC_DATE,
    TIME_OF_DAY,
    is_flag,
    is_on_the_hour,
    is_plain_time,
    is_time,
    number,
)  # fmt: skip
from chat.usage.formats import Format, alternatives, named
from chat.usage.names import (
    CODES,
    FREE_SIGN,
    MONEY_PARTS,
    REQUEST_IDS,
    ROLES,
    SIGNS,
    UNITS,
    WEAK,
    Role,
    meaning_of,
    plain_name,
    shown,
)  # fmt: skip
from chat.usage.skus import MODEL
from chat.usage.tables import AMBIGUOUS, Source, Table

LABEL, VALUE = -2, -3  # positions in a row of a wide table: the header of a column, and the cell under it
_TIERS = ("standard", "default", "priority", "flex", "scale", "batch", "message", "auto")
_TEXTS: tuple[Role, ...] = (
    "status", "user", "team", "project", "api_key", "feature", "environment", "provider", "sku", "record", "window",
    "span", "trace", "parent", "included",
)  # fmt: skip
_LONG_REQUEST = 1_000_000  # tokens: more than nearly any model takes at once
_FEW = 5  # rows: fewer of different days say nothing


@dataclass(frozen=True, slots=True)
class Column:
    """A column that holds values of a role.

    Of the columns of a role, those with the lowest `choice` that have a value count; columns with an equal `choice`
    are added up. Of `sku` each choice is a part.

    `path`: the header, then keys inside the JSON of the cell; in JSON the keys. `position` is the cell's, from 0, -1 in
    JSON. `factor`: by which a number counts. `unit`: a currency (cost), `words`, `success` or `error` (status),
    `attempt` or `count` (retry), `line_item` (model: the words before the comma), `day_first` or `month_first` (time).
    """

    role: Role
    path: tuple[str, ...]
    position: int = -1
    unit: str = ""
    choice: int = 0
    factor: float = 1.0

    @property
    def place(self) -> tuple[int, tuple[str, ...]]:
        return self.position, self.path

    @property
    def name(self) -> str:
        return shown(".".join(self.path))


def declared(table: Table, shape: Format, decimal: str, assumptions: list[str]) -> tuple[Column, ...]:
    """The columns that the format's declaration names, as far as the file has them."""
    by_name: dict[str, Source] = {}
    for source in table.sources:
        if source.plain not in by_name or (source.full and not by_name[source.plain].full):
            by_name[source.plain] = source
    columns: list[Column] = []
    for role in ROLES:
        for choice, terms in enumerate(alternatives(shape.fields.get(role, ""))):
            for options in terms:
                for name, factor in options:
                    if place := _place(name, by_name, table):
                        known = by_name.get(named(name, {*by_name}) or "")
                        unit = _unit(role, known, decimal, assumptions, True) if known else ""
                        columns.append(Column(role, place[0], place[1], unit, choice, factor))
                        break
    if shape.wide:
        columns += [Column(shape.wide, ("(column)",), LABEL), Column("cost", ("(cell)",), VALUE)]
    return tuple(columns)


def _place(name: str, by_name: dict[str, Source], table: Table) -> tuple[tuple[str, ...], int] | None:
    """Path and position of a declared name; one with a point in it is found by the JSON around it."""
    if found := named(name, {*by_name}):
        return by_name[found].path, by_name[found].position
    container, _, leaf = name.rpartition(".")
    for source in table.sources if container else ():
        for end in range(1, len(source.path)):
            if plain_name(".".join(source.path[:end])) == container:
                return (*source.path[:end], leaf), source.position
        if source.plain == container and all(cell[0] in "{[" for cell in source.full):
            return (*source.path, leaf), source.position
    return None


def columns_of(table: Table, decimal: str, assumptions: list[str]) -> tuple[Column, ...]:
    """The columns of a table that no format declares, by their names and contents."""
    candidates: dict[Role, list[tuple[tuple[int, int, int], bool, Source]]] = {}
    for order, source in enumerate(table.sources):
        meaning = meaning_of(source.path)
        if meaning and _fits(meaning.role, source, decimal):
            key = (int(not source.full), meaning.rank, len(source.path) * 1000 + order)
            candidates.setdefault(meaning.role, []).append((key, meaning.part, source))
    if "input_tokens" in candidates:
        candidates.pop("uncached_tokens", None)
    candidates.pop("window", None)
    columns: list[Column] = []
    for role in (one for one in ROLES if one in candidates):
        found = sorted(candidates[role], key=lambda candidate: candidate[0])
        first = found[0][2]
        parts = [source for _, part, source in found if part] if found[0][1] else [first]
        unlike = {source.plain: source for source in reversed(parts)}
        columns += [_named(role, one, decimal, assumptions) for one in parts if unlike[one.plain] is one]
        same = [source for _, _, source in found if plain_name(source.path[-1]) == plain_name(first.path[-1])]
        if table.layout == "csv" and len(same) > 1 and len(same[0].path) == 1:
            assumptions.append(t("Of {0} columns “{1}” the first that has values is used.", len(same), same[0].name))
    return tuple(columns)


def chosen(table: Table, roles: Mapping[str, str], decimal: str, assumptions: list[str]) -> tuple[Column, ...]:
    """The columns as a person named their roles."""
    columns: dict[str, Column] = {}
    for source in table.sources:
        role = next((one for one in ROLES if one == roles.get(source.name)), None)
        if role and source.name not in columns:
            columns[source.name] = _named(role, source, decimal, assumptions)
    return tuple(columns.values())


def _named(role: Role, source: Source, decimal: str, assumptions: list[str]) -> Column:
    unit = _unit(role, source, decimal, assumptions)
    part = MONEY_PARTS.get(source.plain.rpartition("_")[2], 1.0) if role in ("cost", "gross") else 1.0
    factor = 1000.0 if (role, unit) == ("latency_ms", "s") else part
    return Column(role, source.path, source.position, unit, factor=factor)


def is_weak(column: Column) -> bool:
    """Tell if the name of a cost may as well be that of something else."""
    plain = plain_name(column.path[-1])
    return plain in WEAK or re.sub("_(?:in_)?[a-z]{3}$", "", plain) in WEAK


def is_price(column: Column) -> bool:
    """Tell if the name of a cost may be that of a price."""
    return bool(re.search("pri[cxs]|prec|prez|preis", plain_name(column.path[-1])))


def headed_by_values(table: Table) -> dict[Role, list[Source]]:
    """Return the columns whose header is a model or a month, as in a wide table."""
    found: dict[Role, list[Source]] = {"model": [], "timestamp": []}
    for source in table.sources:
        if len(source.path) == 1 and source.full and not meaning_of(source.path):
            if is_time(source.path[0]):
                found["timestamp"].append(source)
            elif MODEL.search(source.path[0]):
                found["model"].append(source)
    return found


def unpivoted(
    table: Table, columns: tuple[Column, ...], decimal: str, assumptions: list[str]
) -> tuple[tuple[Column, ...], tuple[int, ...]]:
    """Return the columns of a wide table (one a model or a month) as those of a long one, and the wide positions."""
    taken = {column.position for column in columns if column.role in ("timestamp", "user", "team", "project", "model")}
    for role, sources in headed_by_values(table).items():
        sources = [one for one in sources if one.position not in taken and _are_numbers(one.full, decimal)]
        if len(sources) < 2 or any(column.role == role for column in columns):
            continue
        cells = [cell for source in sources for cell in source.full]
        titled = [*(source.path[0] for source in sources), *cells]
        signs = [sign for cell in titled for sign in FREE_SIGN.findall(cell)]
        marked = [cell for cell in cells if re.search(r"[.,]", cell)]
        if all(map(AMBIGUOUS.search, marked)) and not (signs and not marked):  # 1.234 may be a thousand
            continue
        if not (signs or any((number(cell, decimal) or 0) % 1 for cell in cells)):
            continue
        kept = [column for column in columns if column.position in taken]
        if role == "timestamp" and not any(column.role != "timestamp" for column in kept):
            first = next((one for one in table.sources if one.position == 0 and one.full), None)
            if not first or is_time(first.full[0]):
                continue
            kept = [column for column in kept if column.position != 0] + [Column("model", first.path, 0)]
        sign = SIGNS[signs[0]] if signs else ""
        titles = Source(("(column)",), LABEL, [source.path[0] for source in sources])
        unit = _unit(role, titles, decimal, assumptions)
        more = [Column(role, titles.path, LABEL, unit), Column("cost", ("(cell)",), VALUE, sign)]
        return (*kept, *more), tuple(source.position for source in sources)
    return columns, ()


def _are_numbers(cells: list[str], decimal: str) -> bool:
    return sum(number(cell, decimal) is not None for cell in cells) * 5 >= len(cells) * 4


def _fits(role: Role, source: Source, decimal: str) -> bool:
    """Tell if what stands in the cells can be what the name says; nothing at all can."""
    cells = source.full
    if not cells:
        return source.position >= 0 or role in (*_TEXTS, "cached_tokens", "cost")
    if role in _TEXTS:
        return not all(cell.startswith(("{", "[{")) for cell in cells)

    def fits(cell: str) -> bool:
        if role in ("timestamp", "ended"):
            return is_time(cell)
        if role == "currency":
            return cell in SIGNS or re.fullmatch("[A-Za-z]{3}", cell) is not None
        if role == "batch":
            return is_flag(cell) or cell.lower() in _TIERS
        numeric = number(cell, decimal) is not None
        return not numeric and not is_time(cell) if role == "model" else numeric or (role == "retry" and is_flag(cell))

    return sum(map(fits, cells)) * 2 >= len(cells)


def _unit(role: Role, source: Source, decimal: str, assumptions: list[str], told: bool = False) -> str:
    """The unit of a column. `told`: a declaration has its factor already."""
    plain = source.plain
    last = plain.rpartition("_")[2]
    if role == "latency_ms" and not told:
        if last in UNITS:
            return UNITS[last]
        values = sorted(value for cell in source.full if (value := number(cell, decimal)) is not None)
        seconds = bool(values) and values[len(values) // 2] < 100 and any(value % 1 for value in values)
        unit = t("seconds") if seconds else t("milliseconds")
        assumptions.append(t("“{0}” names no unit: taken as {1}.", source.name, unit))
        return "s" if seconds else "ms"
    if role in ("cost", "gross"):
        return next((one.upper() for one in reversed(plain.split("_")[-2:]) if one in CODES), "")
    if role == "status":
        good = plain in ("success", "succeeded", "is_success", "ok")
        return "success" if good else "error" if plain.startswith(("error", "is_error", "failed")) else "words"
    if role == "retry":
        return "attempt" if plain.startswith("attempt") and plain != "attempted_retries" else "count"
    if role == "model":
        return "line_item" if last == "item" else ""
    return _date_order(source, assumptions) if role in ("timestamp", "ended") else ""


def _date_order(source: Source, assumptions: list[str]) -> str:
    dates = [match for cell in source.full if (match := NUMERIC_DATE.fullmatch(cell))]
    if any(NAMED_DATE.fullmatch(cell) and not is_plain_time(cell) for cell in source.full[:50]):
        return "named"
    zoned = re.compile(r"(?:Z|UTC|GMT|[+-]\d\d:?\d{0,2})$")
    if dates or any(ISO.fullmatch(cell) and not zoned.search(cell) for cell in source.full):
        assumptions.append(t("Times without a zone are taken as UTC."))
    if not dates:
        return ""
    if any(int(match[1]) > 12 for match in dates):
        return "day_first"
    if any(int(match[3]) > 12 for match in dates):
        return "month_first"
    if dates[0][2] != "/":
        return "day_first"
    # Both readings are possible: the days of an export stand close together in the right one.
    days, months = ([31 * int(match[month]) + int(match[day]) for match in dates] for month, day in ((3, 1), (1, 3)))
    day_first = max(days) - min(days) < max(months) - min(months)
    order = t("day, month, year") if day_first else t("month, day, year")
    assumptions.append(t("Dates like 03/04/2026 are taken as {0}.", order))
    return "day_first" if day_first else "month_first"


def is_signed(table: Table, columns: tuple[Column, ...]) -> bool:
    """Tell if each cost has its currency beside the number."""
    cells = [cell for full in _cells(table, columns, "cost") for cell in full if cell.strip()]
    cells = [cell for cell in cells if cell.strip().lower() not in ("null", "none")]
    return bool(cells) and all(CURRENCY_SIGNS.search(cell.strip()) for cell in cells)


def _cells(table: Table, columns: Iterable[Column], *roles: Role) -> list[list[str]]:
    """The cells of the columns with a role, as far as the beginning of the file has them."""
    cells = {source.place: source.cells for source in table.sources}
    return [cells[one.place] for one in columns if one.role in roles and one.place in cells]


def _sums(cells: Iterable[list[str]], decimal: str) -> list[float]:
    """The sums of the numbers in each row."""
    return [sum(number(cell, decimal) or 0 for cell in row) for row in zip(*cells, strict=True)]


def is_cached_in_input(table: Table, columns: tuple[Column, ...], decimal: str, assumptions: list[str]) -> bool:
    """Tell if the input tokens contain the cached ones, by the names and by the numbers."""
    inputs = [column for column in columns if column.role in ("input_tokens", "uncached_tokens")]
    cached = [column for column in columns if column.role == "cached_tokens"]
    if any(column.role == "uncached_tokens" for column in inputs):
        return False
    if not inputs or not cached:
        return True
    # The details of Langfuse may have no cached tokens in the head: then there is nothing to compare.
    small, whole = (_sums(_cells(table, found, found[0].role), decimal) for found in (cached, inputs))
    both = [row for row in zip(small, whole, strict=False) if min(row) > 0]
    # A few such rows are faults of their own and say nothing about the others.
    more = sum(small > whole for small, whole in both) * 5 > len(both)
    of_messages = inputs[0].path[-1] == "input_tokens" and cached[0].path[-1] == "cache_read_input_tokens"
    apart = plain_name(inputs[0].path[0]) == "usage_details" and not _totals_agree(table, columns, inputs[0], decimal)
    if not (more or of_messages or apart):
        return True
    if not apart:
        assumptions.append(t("“{0}” does not contain the cached tokens: they are added to it.", inputs[0].name))
    return False


def _totals_agree(table: Table, columns: tuple[Column, ...], given: Column, decimal: str) -> bool:
    """Tell if input and output alone make up the total, so that the cached tokens are in the input."""
    cells = {source.place: source.cells for source in table.sources}
    total = cells.get((given.position, (*given.path[:-1], "total")))
    output = next((one for one in columns if one.role == "output_tokens" and one.path[-1] == "output"), None)
    if not total or not output or (given.position, output.path) not in cells:
        return False
    parts = _sums([cells[given.place], cells[given.position, output.path]], decimal)
    cached = _sums(_cells(table, columns, "cached_tokens"), decimal)
    rows = zip(_sums([total], decimal), parts, cached, strict=False)
    telling = [whole == both for whole, both, some in rows if some > 0]
    return bool(telling) and all(telling)


def sums_up(table: Table, columns: tuple[Column, ...], decimal: str) -> bool:
    """Tell if rows look like sums over hours or days, although no column counts the requests in them."""
    for source in table.sources:
        full = source.full
        if full and (plain_name(source.path[-1]) in REQUEST_IDS or all(map(TIME_OF_DAY.fullmatch, full))):
            return False
    times = _cells(table, columns, "timestamp", "ended")
    if not all(is_on_the_hour(cell) for column in times for cell in column):
        return False
    tokens = _cells(table, columns, "input_tokens", "uncached_tokens", "output_tokens")
    if times and not tokens:  # a day, a model and a cost
        return True
    sizes = sorted(_sums(tokens, decimal))
    if sizes and sizes[len(sizes) // 2] > _LONG_REQUEST:
        return True
    others = _cells(table, columns, "model", "user", "feature", "status", "batch", "currency")
    groups = list(zip(*times, *others, strict=True))
    return bool(times) and len(groups) >= _FEW and len(set(groups)) == len(groups)


def name_by_content(table: Table, assumptions: list[str]) -> None:
    """Name the columns of a table without a header: a time and a model by what they look like, then the usual order."""
    full = [source for source in table.sources if source.full]
    times = [source for source in full if all(map(is_time, source.full))]
    models = [one for one in full if sum(bool(MODEL.search(cell)) for cell in one.full) * 5 >= len(one.full) * 3]
    numbers = [one for one in full if one not in times and all(number(cell, ".") is not None for cell in one.full)]
    if not models or len(numbers) < 2:
        return
    tokens: tuple[Role, ...] = ("input_tokens", "output_tokens", "cached_tokens")
    taken: list[tuple[Source, Role]] = [(one, "timestamp") for one in times[:1]]
    taken += [(models[0], "model"), *zip(numbers, tokens, strict=False)]
    for source, role in taken:
        source.path = (role,)
    order = ", ".join(t("column {0} {1}", source.position + 1, t(ROLES[role])) for source, role in taken)
    assumptions.append(t("The table has no header. By their order and content: {0}.", order))
