"""Values of a row from its cells, as SQL: numbers, times, outcomes, and why a row cannot be used."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce

from agents.usage.rates import LONGEST
from chat.translation import t
from chat.usage import Recognised
from chat.usage.columns import Column
from chat.usage.names import GOOD_STATUSES, MASK, NUMBERS, SECRETS, SIGN, SIGNS, TIMES, TOKENS, TOTALS, Role

_EMPTY = "('', 'null', 'none', 'n/a', 'na', '-', 'nan', 'undefined')"
_GOOD = "(" + ", ".join(f"'{status}'" for status in GOOD_STATUSES) + ")"
_BAD = (
    "error|fail|exception|time.?out|timed.out|cancel|abort|reject|throttl|rate.?limit|denied|unavailable|invalid|"
    "overload|refused|false"
)
_FAULTS: dict[str, tuple[str, str]] = {
    "total": (
        "A row of totals",
        f"lower(coalesce(time_cell, model, '')) IN {tuple(sorted(TOTALS))}",
    ),
    "again": ("A record that stands once more further on", "false"),
    "parent": ("A record that sums up the records inside it", "false"),
    "kind": (
        "No call of a model but another kind of record",
        "other_record AND input + output = 0 AND coalesce(cost, 0) = 0",
    ),
    "tokens": ("A number of tokens or requests that cannot be read", "bad_number"),
    "negative": ("A negative number of tokens or requests", "below_zero"),
    "huge": (
        "A number too large to be true",
        "greatest(input, output, cached, written, requests) > 1e13 OR abs(cost) > 1e12",
    ),
    "cost": ("A cost that cannot be read", "bad_cost"),
    "anonymous": ("Neither a time nor a model", "time_cell IS NULL AND model IS NULL AND NOT declared"),
    "empty": ("Neither tokens nor a cost", "NOT per_request AND NOT has_tokens AND cost IS NULL AND requests = 0"),
}
FAULT = " ".join(["CASE", *(f"WHEN {when} THEN '{fault}'" for fault, (_, when) in _FAULTS.items()), "END"])
_ODDITIES = (
    ("A time that cannot be read, is before 2015 or in the future: in no day", "bad_time"),
    ("No time: in no day", "time_cell IS NULL AND model IS NOT NULL AND timed"),
    ("A latency that cannot be read or is negative: left out of the latencies", "bad_latency"),
    ("More cached and written tokens than input tokens: taken as all of the input", "over_cached"),
    ("A negative cost, such as a credit: counted as it is", "cost < 0 AND charge <> 'credit'"),
    ("Neither tokens nor a cost: counted as a request", "per_request AND NOT has_tokens AND cost IS NULL"),
    ("No model", "model IS NULL AND modelled AND ai"),
)


def problems() -> Iterator[tuple[str, bool, str]]:
    for fault, (what, _) in _FAULTS.items():
        yield t(what), True, f"fault = '{fault}'"
    for what, condition in _ODDITIES:
        yield t(what), False, f"fault IS NULL AND ({condition})"


def macros(decimal: str) -> Iterator[str]:
    """Yield the SQL macros that turn a cell into a value, the same as `chat.usage.cells.number`."""
    group, mark = (".", ",") if decimal == "," else (",", ".")
    spaced = r"[\s\x{00A0}\x{202F}''’]"
    grouped = rf"\d{{1,3}}(?:\{group}\d{{2,3}})*\{group}\d{{3}}|\d{{1,3}}(?:{spaced}\d{{3}})+|\d+"
    empty = f"strlen(c) < 20 AND lower(trim(c)) IN {_EMPTY}"
    yield f"full_cell(c) AS CASE WHEN {empty} THEN NULL ELSE trim(c) END"
    yield (
        "bare(c) AS trim(regexp_replace(regexp_replace(regexp_replace(replace(trim(c), '−', '-'), "
        rf"'^\((.*)\)$', '-\1'), '^(-?)(?:{SIGN}|[A-Z]{{3}})\s?', '\1'), '\s?(?:{SIGN}|[A-Z]{{3}})$', ''))"
    )
    slow = (
        f"CASE WHEN regexp_full_match(bare(c), '-?(?:{grouped})(?:\\{mark}\\d+)?(?:[eE][-+]?\\d{{1,2}})?') THEN "
        f"TRY_CAST(replace(regexp_replace(bare(c), '{spaced}|\\{group}', '', 'g'), '{mark}', '.') AS DOUBLE) END"
    )
    plain = r"-?\d+" if decimal == "," else r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?"
    yield f"num(c) AS CASE WHEN regexp_full_match(c, '{plain}') THEN TRY_CAST(c AS DOUBLE) ELSE {slow} END"
    iso = r"\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?Z?"
    # What a time looks like, and how it is read. Two digits of a year need a format of their own.
    looks = (
        (iso, "TRY_CAST(rtrim(c, 'Z') AS TIMESTAMP)"),
        (r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ].*)?", _ZONED),
        (r"20\d\d(?:0[1-9]|1[0-2])", "try_strptime(c || '01', '%Y%m%d')"),
        (r"20\d\d-(?:0[1-9]|1[0-2])", "try_strptime(c || '-01', '%Y-%m-%d')"),
        (r"(?:0[1-9]|1[0-2])[./-]20\d\d", "try_strptime(c[4:] || c[:2] || '01', '%Y%m%d')"),
        (r"20\d{6}", "try_strptime(c, '%Y%m%d')"),
        (r"\d{1,2}[./-]\d{1,2}[./-]\d\d(?:\D.*)?", _TWO_DIGITS),
        (r"\d{9,10}(?:\.\d+)?", "make_timestamp((CAST(c AS DOUBLE) * 1e6)::BIGINT)"),
        (r"\d{12,13}(?:\.\d+)?", "make_timestamp((CAST(c AS DOUBLE) * 1e3)::BIGINT)"),
        (r"\d{15,16}", "make_timestamp(CAST(c AS BIGINT))"),
        (r"\d{18}|1\d{18}", "make_timestamp(CAST(c AS BIGINT) // 1000)"),
    )
    cases = " ".join(f"WHEN regexp_full_match(c, '{look}') THEN {value}" for look, value in looks)
    yield f"instant(c, formats) AS CASE WHEN c IS NULL THEN NULL {cases} ELSE try_strptime(c, formats) END"
    signs = " ".join(f"WHEN upper('{sign}') THEN '{code}'" for sign, code in SIGNS.items())
    yield f"code(c) AS CASE upper(trim(c)) {signs} WHEN '' THEN NULL ELSE left(upper(trim(c)), 10) END"
    # A label is shown, and stored with the answer.
    mask = reduce(lambda text, secret: f"regexp_replace({text}, '{secret}', '{MASK}', 'g')", SECRETS, "c")
    yield f"masked(c) AS {mask}"
    yield (
        "flag(c) AS CASE WHEN lower(trim(c)) IN ('true', '1', 'yes', 't', 'y', '1.0') THEN true "
        "WHEN lower(trim(c)) IN ('false', '0', 'no', 'f', 'n', '0.0') THEN false END"
    )


_ZONED = "CAST(TRY_CAST(replace(left(c, 10), '.', '-').replace('/', '-') || substr(c, 11) AS TIMESTAMPTZ) AS TIMESTAMP)"
_TWO_DIGITS = "try_strptime(c, list_transform(formats, lambda f: replace(f, '%Y', '%y')))"
# Output columns that only some files have: a table has them if one of its files does.
OPTIONAL: dict[str, str] = {
    "ended": "TIMESTAMP", "provider": "VARCHAR", "sku": "VARCHAR", "gross": "DOUBLE", "written_1h": "DOUBLE",
    "reasoning": "DOUBLE", "audio": "DOUBLE", "images": "DOUBLE", "searches": "DOUBLE", "minutes": "DOUBLE",
    "seats": "DOUBLE", "team": "VARCHAR", "project": "VARCHAR", "api_key": "VARCHAR", "environment": "VARCHAR",
    "trace": "VARCHAR", "span": "VARCHAR", "parent": "VARCHAR",
}  # fmt: skip
_TAGS: tuple[Role, ...] = ("team", "project", "api_key", "environment", "trace", "span", "parent")
_COUNTS: tuple[Role, ...] = ("reasoning", "audio", "images", "searches", "minutes", "seats")
_INCLUDED = "'included|^free$|no.charge|^false$|^inklusive$|^inclus'"


class Values:
    """The SQL that makes values out of the cells c0, c1, …, in steps: `parsed` each cell by itself, `valued` a row.

    The row has a `sku` from the table `skus` beside it where the format reads one, and `dates` for named months.
    """

    def __init__(self, recognised: Recognised) -> None:
        self._recognised = recognised
        self._cells: dict[str, list[tuple[int, Column]]] = {}
        for index, column in enumerate(recognised.columns):
            self._cells.setdefault(column.role, []).append((index, column))
        shape = recognised.shape
        self.reads_skus = bool(shape and shape.sku_reader and "sku" in self._cells)
        self.named_times = [
            index for role in TIMES for index, column in self._cells.get(role, []) if column.unit == "named"
        ]

    @property
    def optional(self) -> set[str]:
        """The columns of `OPTIONAL` that this file has."""
        have: set[str] = {role for role in (*_TAGS, *_COUNTS, "gross", "ended", "provider") if role in self._cells}
        have |= {"sku", *_COUNTS} if self.reads_skus else {"sku"} if "sku" in self._cells else set()
        have |= {"written_1h"} if "cache_write_1h" in self._cells or self.reads_skus else set()
        have |= {"provider"} if self._recognised.shape and self._recognised.shape.provider else set()
        return have | ({"gross"} if "included" in self._cells and "cost" in self._cells else set())

    def sku(self) -> str:
        """The parts of a row's kind of charge, as one text."""
        parts: dict[int, list[int]] = {}
        for index, column in self._cells["sku"]:
            parts.setdefault(column.choice, []).append(index)
        texts = (
            f"coalesce({', '.join(f'trim(c{one})' for one in parts[choice])}, '')" if choice in parts else "''"
            for choice in range(max(parts) + 1)
        )
        return f"concat_ws(chr(30), {', '.join(texts)})"

    def parsed(self) -> Iterator[str]:
        for index, column in enumerate(self._recognised.columns):
            yield f"c{index}"
            if column.role in NUMBERS:
                yield f"num(c{index}) AS n{index}"
            elif column.role in TIMES:
                moment = f"instant(trim(c{index}), {_time_formats(column.unit)})"
                if index in self.named_times:
                    moment = f"coalesce({moment}, date_of(trim(c{index})))"
                yield f"{moment} AS t{index}"

    def emptied(self) -> Iterator[str]:
        """The cells again, NULL where they say that they are empty; a number or a time is not looked at twice."""
        for index, column in enumerate(self._recognised.columns):
            letter = "n" if column.role in NUMBERS else "t" if column.role in TIMES else ""
            if letter:
                yield f"CASE WHEN {letter}{index} IS NULL THEN full_cell(c{index}) ELSE c{index} END AS c{index}"
                yield f"{letter}{index}"
            else:
                yield f"full_cell(c{index}) AS c{index}"

    def valued(self) -> Iterator[str]:
        when, moment = self._text("timestamp"), self._time("timestamp")
        yield f"{when} AS time_cell, {when} IS NOT NULL AND {self._sane(moment)} IS NULL AS bad_time"
        yield f"{self._sane(moment)} AS moment, CAST({self._sane(moment)} AS DATE) AS day"
        has = {role: role in self._cells for role in ("timestamp", "model")}
        has["model"] = has["model"] or self.reads_skus
        yield f"{has['timestamp']} AS timed, {has['model']} AS modelled, {self._recognised.per_request} AS per_request"
        yield f"{self._recognised.shape is not None or self._recognised.chosen} AS declared"
        model = self._text("model")
        model = f"trim(split_part({model}, chr(44), 1))" if self._unit("model") == "line_item" else model
        if self.reads_skus:
            model = f"coalesce({model}, nullif(s.model, ''))" if "model" in self._cells else "nullif(s.model, '')"
        yield f"{model} AS model"
        records = self._recognised.shape.records if self._recognised.shape else ""
        other = f"NOT regexp_full_match(lower({self._text('record')}), '{records}')" if records else "false"
        yield f"coalesce({other}, false) AS other_record"
        yield f"masked({self._text('user')}) AS user_label, masked({_listed(self._text('feature'))}) AS feature"
        yield "s.charge AS charge, s.ai AS ai" if self.reads_skus else "'usage' AS charge, true AS ai"
        for role in _TAGS:
            if role in self._cells:
                yield f"masked({_listed(self._text(role))}) AS {role}"
        if "sku" in self.optional:
            yield f"replace({self.sku()}, chr(30), ' ') AS sku"
        if "provider" in self.optional:
            shape = self._recognised.shape
            constant = f"'{shape.provider}'" if shape and shape.provider else "NULL"
            yield f"coalesce({self._text('provider')}, {constant}) AS provider"
        yield from self._tokens()
        yield from self._cost()
        yield from self._outcome()

    def _tokens(self) -> Iterator[str]:
        cached = self._count("cached_tokens", "cached_tokens")
        written = self._count("cache_write_tokens", "cache_write_tokens", "cache_write_1h")
        given = self._count("input_tokens")
        given = given if "input_tokens" in self._cells else self._count("uncached_tokens")
        apart = not self._recognised.cached_in_input
        whole = f"({given} + {cached} + {written})" if apart else given
        if self.reads_skus:
            whole = f"({whole} + {self._kind('input_tokens', 'uncached_tokens')}"
            whole += ")" if apart else f" + {self._kind('cached_tokens', 'cache_write_tokens', 'cache_write_1h')})"
        over = f"{cached} + {written} > {whole}"
        tokens = [index for role in TOKENS for index, _ in self._cells.get(role, [])]
        counted = [*tokens, *(index for index, _ in self._cells.get("requests", []))]
        tests = [f"(c{n} IS NOT NULL AND (n{n} IS NULL OR n{n} != floor(n{n})))" for n in tokens]
        tests += [f"(c{n} IS NOT NULL AND n{n} IS NULL)" for n, _ in self._cells.get("requests", [])]
        yield f"{' OR '.join(tests) or 'false'} AS bad_number"
        # Each cell by itself: in a sum a negative one hides behind the others.
        below = ", ".join(f"n{index}" for index in counted)
        yield f"{f'coalesce(least({below}) < 0, false)' if counted else 'false'} AS below_zero"
        found = [f"n{index} IS NOT NULL" for index in tokens]
        found += [f"(s.kind IN {_COUNTED} AND {self._number('quantity')} IS NOT NULL)"] if self.reads_skus else []
        yield f"({' OR '.join(found) or 'false'}) AS has_tokens"
        yield f"{whole} AS input, {self._count('output_tokens', 'output_tokens')} AS output, {over} AS over_cached"
        yield f"CASE WHEN {over} THEN least({cached}, {whole}) ELSE {cached} END AS cached"
        yield f"CASE WHEN {over} THEN {whole} - least({cached}, {whole}) ELSE {written} END AS written"
        if "written_1h" in self.optional:
            yield f"{self._count('cache_write_1h', 'cache_write_1h')} AS written_1h"
        for role in _COUNTS:
            if role in self.optional:
                yield f"nullif({self._count(role, role)}, 0) AS {role}"
        default = str(int(self._recognised.per_request))
        requests = self._count("requests") if "requests" in self._cells else default
        requests = f"({requests} + {self._kind('requests')})" if self.reads_skus else requests
        yield f"{requests} AS requests, {self._size(whole, requests)} AS size"
        batch = self._text("batch")
        yield (
            f"CASE WHEN flag({batch}) OR lower({batch}) = 'batch' THEN 'batch' "
            f"WHEN lower({batch}) IN ('flex', 'priority', 'fast') THEN lower({batch}) ELSE 'standard' END AS tier"
        )

    def _size(self, whole: str, requests: str) -> str:
        """Return the SQL for the length of a row's prompts.

        Where many are summed up without their number, only a window says it.
        """
        if not self._recognised.lengths:
            return f"CASE WHEN regexp_matches({self._text('window')}, '^(?:>|[1-9])') THEN {whole} ELSE 0 END"
        size = f"{whole} / greatest({requests}, 1)"
        return f"CASE WHEN {size} > {LONGEST} THEN 0 ELSE {size} END"

    def _cost(self) -> Iterator[str]:
        cell, value = self._text("cost"), self._number("cost")
        shape = self._recognised.shape
        if "credit" in self._cells:
            value = f"({value} + coalesce({self._number('credit')}, 0))"
        unit_price = self._number("unit_price")
        if shape and shape.unit_price is not None:
            unit_price = str(shape.unit_price)
        if "quantity" in self._cells and ("unit_price" in self._cells or (shape and shape.unit_price is not None)):
            value = f"coalesce({value}, {self._number('quantity')} * {unit_price})"
        # A word in place of a cost says that the plan pays for it.
        words = f"regexp_matches(lower(concat_ws(' ', {self._all('included', 'cost')})), {_INCLUDED})"
        included = "false" if not {"cost", "included"} & set(self._cells) else f"coalesce({words}, false)"
        yield f"CASE WHEN {included} THEN 0 ELSE {value} END AS cost, {included} AS included"
        if "gross" in self.optional:
            yield f"coalesce({self._number('gross')}, {value}) AS gross"
        yield f"{cell} IS NOT NULL AND {value} IS NULL AND NOT {included} AS bad_cost"
        sign = f"code(nullif(regexp_extract({cell}, '{SIGN}|[A-Z]{{3}}'), ''))"
        sign = f"CASE WHEN TRY_CAST({cell} AS DOUBLE) IS NULL THEN {sign} END"  # in nearly no cell is any
        default = f"'{self._recognised.currency or 'USD'}'"
        named = f"coalesce(code({self._text('currency')}), {sign}, {default})"
        yield f"CASE WHEN {included} OR {value} IS NOT NULL THEN {named} END AS currency"

    def _outcome(self) -> Iterator[str]:
        started, ended = self._time("timestamp"), self._time("ended")
        if "latency_ms" in self._cells:
            latency = self._number("latency_ms")
        elif "ended" in self._cells and self._recognised.per_request:
            latency = f"epoch_us({ended} - {started}) / 1e3"
        else:
            latency = "NULL::DOUBLE"
        if "ended" in self._cells:
            yield f"{self._sane(ended)} AS ended"
        cell = self._text("latency_ms")
        yield f"CASE WHEN {latency} >= 0 AND {latency} < 1e9 THEN {latency} END AS latency"
        odd = f"coalesce({latency} NOT BETWEEN 0 AND 1e9, false)"
        yield f"({latency} IS NULL AND {cell} IS NOT NULL) OR {odd} AS bad_latency"
        status = self._text("status")
        label, failed = _status(status, self._unit("status"))
        yield f"left(masked({label}), 60) AS status, {failed} AS failed"
        retry = self._text("retry")
        first = 1 if self._unit("retry") == "attempt" else 0
        yield f"coalesce({self._number('retry')} > {first}, flag({retry}), false) AS retried"

    def _all(self, *roles: Role) -> str:
        return ", ".join(f"c{index}" for role in roles for index, _ in self._cells.get(role, [])) or "NULL"

    def _text(self, role: Role) -> str:
        return _first([f"c{index}" for index, _ in self._cells.get(role, [])], "VARCHAR")

    def _time(self, role: Role) -> str:
        return _first([f"t{index}" for index, _ in self._cells.get(role, [])], "TIMESTAMP")

    def _number(self, role: Role) -> str:
        """The first choice that has a value; the columns of a choice are added up."""
        choices: dict[int, list[tuple[int, float]]] = {}
        for index, column in self._cells.get(role, []):
            choices.setdefault(column.choice, []).append((index, column.factor))
        sums = []
        for terms in choices.values():
            scaled = [f"n{index}" if factor == 1 else f"n{index} * {factor!r}" for index, factor in terms]
            added = " + ".join(f"coalesce({one}, 0)" for one in scaled)
            nothing = " AND ".join(f"n{index} IS NULL" for index, _ in terms)
            sums.append(scaled[0] if len(scaled) == 1 else f"CASE WHEN NOT ({nothing}) THEN {added} END")
        return _first(sums, "DOUBLE")

    def _count(self, role: Role, *kinds: str) -> str:
        """A number that is 0 where there is none, with the quantity of rows that count one of these kinds."""
        own = f"coalesce({self._number(role)}, 0)" if role in self._cells else "0::DOUBLE"
        return f"({own} + {self._kind(*kinds)})" if kinds and self.reads_skus else own

    def _kind(self, *kinds: str) -> str:
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        return f"CASE WHEN s.kind IN ({listed}) THEN coalesce({self._number('quantity')} * s.scale, 0) ELSE 0 END"

    def _unit(self, role: Role) -> str:
        found = self._cells.get(role)
        return found[0][1].unit if found else ""

    def _sane(self, moment: str) -> str:
        # Clocks and zones differ: what is a little ahead is not absurd.
        end = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
        return f"CASE WHEN {moment} >= TIMESTAMP '2015-01-01' AND {moment} < TIMESTAMP '{end}' THEN {moment} END"


_COUNTED = "('uncached_tokens', 'output_tokens', 'cached_tokens', 'cache_write_tokens', 'cache_write_1h')"


def _first(found: list[str], kind: str) -> str:
    """The first of these that has a value."""
    return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0] if found else f"NULL::{kind}"


def _listed(cell: str) -> str:
    """The cell; a JSON list of words in it as the same list in a JSON file is shown."""
    words = r'"[^"\\]*"'
    return (
        rf"CASE WHEN regexp_full_match({cell}, '\[{words}(?:,\s*{words})*\]') "
        f"THEN regexp_replace(trim({cell}, '[]\"'), '\",\\s*\"', ', ', 'g') ELSE {cell} END"
    )


def _status(cell: str, unit: str) -> tuple[str, str]:
    """The label of a status and whether it is a failure, which may be unknown."""
    if unit == "success":
        return (
            f"CASE flag({cell}) WHEN true THEN 'success' WHEN false THEN 'failed' ELSE {cell} END",
            f"NOT flag({cell})",
        )
    if unit == "error":
        label = f"CASE WHEN {cell} IS NULL OR NOT flag({cell}) THEN 'success' ELSE {cell} END"
        return label, f"{cell} IS NOT NULL AND coalesce(flag({cell}), true)"
    return cell, (
        f"CASE WHEN regexp_full_match({cell}, '[1-9]\\d\\d(?:\\.0)?') THEN left({cell}, 3)::INTEGER >= 400 "
        f"WHEN lower({cell}) IN {_GOOD} THEN false WHEN regexp_matches(lower({cell}), '{_BAD}') THEN true END"
    )


def _time_formats(order: str) -> str:
    days = ["%m{0}%d{0}%Y"] if order == "month_first" else ["%d{0}%m{0}%Y"]
    clocks = ["", " %H:%M", " %H:%M:%S", ", %H:%M", ", %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S"]
    formats = [day.format(mark) + clock for day in days for mark in "./-" for clock in clocks]
    return "[" + ", ".join(f"'{item}'" for item in formats) + "]"
