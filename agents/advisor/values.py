"""From the cells of a row to its values, as SQL: numbers, times, outcomes, and why a row cannot be used."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from agents.advisor.rates import LONGEST
from chat.usage import Recognised
from chat.usage.columns import Column
from chat.usage.names import Role

_EMPTY = "('', 'null', 'none', 'n/a', 'na', '-', 'nan', 'undefined')"
_GOOD = (
    "('success', 'succeeded', 'successful', 'ok', 'okay', 'completed', 'complete', 'done', 'finished', 'true', 'yes', "
    "'passed', 'default', 'debug', 'info', 'warning', 'stop', 'length', 'tool_calls', 'tool_use', 'function_call', "
    "'end_turn', 'max_tokens', 'stop_sequence', 'content_filter', 'cached', 'hit', 'miss')"
)
_BAD = (
    "error|fail|exception|time.?out|timed.out|cancel|abort|reject|throttl|rate.?limit|denied|unavailable|invalid|"
    "overload|refused|false"
)
_THROTTLED = r"^429(?:\.0)?$|throttl|rate.?limit|too.many.requests|overload"
_FAULTS: dict[str, tuple[str, str]] = {
    "total": (
        "A row of totals",
        "lower(coalesce(time_cell, model, '')) IN ('total', 'totals', 'sum', 'grand total', 'summe', 'gesamt')",
    ),
    "kind": (
        "No call of a model but another kind of record",
        "kind NOT IN ('generation', 'embedding') AND (model IS NULL OR NOT has_tokens)",
    ),
    "tokens": ("A number of tokens or requests that cannot be read", "bad_number"),
    "negative": ("A negative number of tokens or requests", "below_zero"),
    "huge": (
        "A number too large to be true",
        "greatest(input, output, cached, written, requests) > 1e13 OR abs(cost) > 1e12",
    ),
    "cost": ("A cost that cannot be read", "bad_cost"),
    "anonymous": ("Neither a time nor a model", "time_cell IS NULL AND model IS NULL"),
    "empty": ("Neither tokens nor a cost", "NOT per_request AND NOT has_tokens AND cost IS NULL"),
}
FAULT = " ".join(["CASE", *(f"WHEN {when} THEN '{fault}'" for fault, (_, when) in _FAULTS.items()), "END"])
_ODDITIES = (
    ("A time that cannot be read, is before 2015 or in the future: in no day", "bad_time"),
    ("No time: in no day", "time_cell IS NULL AND model IS NOT NULL AND timed"),
    ("A latency that cannot be read or is negative: left out of the latencies", "bad_latency"),
    ("More cached and written tokens than input tokens: taken as all of the input", "over_cached"),
    ("A negative cost, such as a credit: counted as it is", "cost < 0"),
    ("Neither tokens nor a cost: counted as a request", "per_request AND NOT has_tokens AND cost IS NULL"),
    ("No model", "model IS NULL AND modelled"),
)


def problems() -> Iterator[tuple[str, bool, str]]:
    for fault, (what, _) in _FAULTS.items():
        yield what, True, f"fault = '{fault}'"
    for what, condition in _ODDITIES:
        yield what, False, f"fault IS NULL AND ({condition})"


def macros(decimal: str) -> Iterator[str]:
    """How a cell becomes a value, the same as `chat.usage.cells.number`."""
    group, mark = (".", ",") if decimal == "," else (",", ".")
    spaced = r"[\s\x{00A0}\x{202F}''’]"
    grouped = rf"\d{{1,3}}(?:\{group}\d{{3}})+|\d{{1,3}}(?:{spaced}\d{{3}})+|\d+"
    empty = f"strlen(c) < 20 AND lower(trim(c)) IN {_EMPTY}"
    yield f"CREATE MACRO full_cell(c) AS CASE WHEN {empty} THEN NULL ELSE trim(c) END"
    yield (
        "CREATE MACRO bare(c) AS regexp_replace(regexp_replace(trim(c), '^(?:[A-Z]{3}\\s?|US\\$|[$€£¥₹]\\s?)', ''), "
        "'\\s?(?:[A-Z]{3}|[$€£¥₹])$', '')"
    )
    slow = (
        f"CASE WHEN regexp_full_match(bare(c), '-?(?:{grouped})(?:\\{mark}\\d+)?(?:[eE][-+]?\\d{{1,2}})?') THEN "
        f"TRY_CAST(replace(regexp_replace(bare(c), '{spaced}|\\{group}', '', 'g'), '{mark}', '.') AS DOUBLE) END"
    )
    plain = r"-?\d+" if decimal == "," else r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?"
    yield f"CREATE MACRO num(c) AS CASE WHEN regexp_full_match(c, '{plain}') THEN TRY_CAST(c AS DOUBLE) ELSE {slow} END"
    iso = r"\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?Z?"
    yield (
        f"CREATE MACRO instant(c, formats) AS CASE WHEN c IS NULL THEN NULL "
        f"WHEN regexp_full_match(c, '{iso}') THEN TRY_CAST(rtrim(c, 'Z') AS TIMESTAMP) "
        r"WHEN regexp_full_match(c, '\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ].*)?') "
        "THEN CAST(TRY_CAST(replace(c, '/', '-') AS TIMESTAMPTZ) AS TIMESTAMP) "
        r"WHEN regexp_full_match(c, '\d{9,10}(?:\.\d+)?') THEN make_timestamp((CAST(c AS DOUBLE) * 1e6)::BIGINT) "
        r"WHEN regexp_full_match(c, '\d{12,13}(?:\.\d+)?') THEN make_timestamp((CAST(c AS DOUBLE) * 1e3)::BIGINT) "
        r"WHEN regexp_full_match(c, '\d{15,16}') THEN make_timestamp(CAST(c AS BIGINT)) "
        r"WHEN regexp_full_match(c, '\d{18}|1\d{18}') THEN make_timestamp(CAST(c AS BIGINT) // 1000) "
        "ELSE try_strptime(c, formats) END"
    )
    yield (
        "CREATE MACRO code(c) AS CASE upper(trim(c)) WHEN '$' THEN 'USD' WHEN 'US$' THEN 'USD' WHEN '€' THEN 'EUR' "
        "WHEN '£' THEN 'GBP' WHEN '¥' THEN 'JPY' WHEN '₹' THEN 'INR' WHEN '' THEN NULL "
        "ELSE left(upper(trim(c)), 10) END"
    )
    yield (
        "CREATE MACRO flag(c) AS CASE WHEN lower(trim(c)) IN ('true', '1', 'yes', 't', 'y', '1.0') THEN true "
        "WHEN lower(trim(c)) IN ('false', '0', 'no', 'f', 'n', '0.0') THEN false END"
    )


class Values:
    """The SQL that makes values out of the cells c0, c1, …, in steps: `parsed` each cell by itself, `valued` a row."""

    def __init__(self, recognised: Recognised) -> None:
        self._recognised = recognised
        self._cells: dict[str, list[tuple[int, Column]]] = {}
        for index, column in enumerate(recognised.columns):
            self._cells.setdefault(column.role, []).append((index, column))

    def parsed(self) -> Iterator[str]:
        for index, column in enumerate(self._recognised.columns):
            yield f"c{index}"
            if column.role in _NUMBERS:
                yield f"num(c{index}) AS n{index}"
            elif column.role in _TIMES:
                yield f"instant(trim(c{index}), {_time_formats(column.unit)}) AS t{index}"

    def emptied(self) -> Iterator[str]:
        """The cells again, NULL where they say that they are empty; a number or a time is not looked at twice."""
        for index, column in enumerate(self._recognised.columns):
            letter = "n" if column.role in _NUMBERS else "t" if column.role in _TIMES else ""
            if letter:
                yield f"CASE WHEN {letter}{index} IS NULL THEN full_cell(c{index}) ELSE c{index} END AS c{index}"
                yield f"{letter}{index}"
            else:
                yield f"full_cell(c{index}) AS c{index}"

    def valued(self) -> Iterator[str]:
        when, moment = self._one("timestamp"), self._one("timestamp", "t", "TIMESTAMP")
        yield f"{when} AS time_cell, {when} IS NOT NULL AND {self._sane(moment)} IS NULL AS bad_time"
        yield f"{self._sane(moment)} AS moment, CAST({self._sane(moment)} AS DATE) AS day"
        has = {role: role in self._cells for role in ("timestamp", "model")}
        yield f"{has['timestamp']} AS timed, {has['model']} AS modelled, {self._recognised.per_request} AS per_request"
        model = self._one("model")
        yield f"{f'trim(split_part({model}, chr(44), 1))' if self._unit('model') == 'line_item' else model} AS model"
        yield f"lower({self._one('kind')}) AS kind"
        yield f"{self._one('user')} AS user_label, {_listed(self._one('feature'))} AS feature"
        yield from self._tokens()
        yield from self._cost()
        yield from self._outcome()

    def _tokens(self) -> Iterator[str]:
        cached, written = self._added("cached_tokens"), self._added("cache_write_tokens")
        given = self._added("input_tokens", "uncached_tokens")
        whole = given if self._recognised.cached_in_input else f"({given} + {cached} + {written})"
        over = f"{cached} + {written} > {whole}"
        tokens = [index for role in _TOKENS for index, _ in self._cells.get(role, [])]
        counted = tokens + [index for index, _ in self._cells.get("requests", [])]
        tests = [f"(c{n} IS NOT NULL AND (n{n} IS NULL OR n{n} != floor(n{n})))" for n in counted]
        yield f"{' OR '.join(tests) or 'false'} AS bad_number"
        # Each cell by itself: in a sum a negative one hides behind the others.
        below = ", ".join(f"n{index}" for index in counted)
        yield f"{f'coalesce(least({below}) < 0, false)' if counted else 'false'} AS below_zero"
        yield f"{' OR '.join(f'n{index} IS NOT NULL' for index in tokens) or 'false'} AS has_tokens"
        yield f"{whole} AS input, {self._added('output_tokens')} AS output, {over} AS over_cached"
        yield f"CASE WHEN {over} THEN least({cached}, {whole}) ELSE {cached} END AS cached"
        yield f"CASE WHEN {over} THEN {whole} - least({cached}, {whole}) ELSE {written} END AS written"
        default = str(int(self._recognised.per_request))
        requests = self._added("requests") if "requests" in self._cells else default
        yield f"{requests} AS requests, {self._size(whole, requests)} AS size"
        batch = self._one("batch")
        yield (
            f"CASE WHEN flag({batch}) OR lower({batch}) = 'batch' THEN 'batch' "
            f"WHEN lower({batch}) IN ('flex', 'priority', 'fast') THEN lower({batch}) ELSE 'standard' END AS tier"
        )

    def _size(self, whole: str, requests: str) -> str:
        """How long the prompts of a row are. Where many are summed up without their number, only a window says it."""
        if not self._recognised.lengths:
            return f"CASE WHEN regexp_matches({self._one('window')}, '^(?:>|[1-9])') THEN {whole} ELSE 0 END"
        size = f"{whole} / greatest({requests}, 1)"
        return f"CASE WHEN {size} > {LONGEST} THEN 0 ELSE {size} END"

    def _cost(self) -> Iterator[str]:
        cell, value, unit = self._one("cost"), self._one("cost", "n", "DOUBLE"), self._unit("cost")
        yield f"{value}{' / 100' if unit == 'cents' else ''} AS cost"
        yield f"{cell} IS NOT NULL AND {value} IS NULL AS bad_cost"
        sign = f"code(nullif(regexp_extract({cell}, '[$€£¥₹]|[A-Z]{{3}}'), ''))"
        default = f"'{unit}'" if len(unit) == 3 else "'USD'"
        named = f"coalesce(code({self._one('currency')}), {sign}, {default})"
        yield f"CASE WHEN {value} IS NOT NULL THEN {named} END AS currency"

    def _outcome(self) -> Iterator[str]:
        if "latency_ms" in self._cells:
            latency = f"{self._one('latency_ms', 'n', 'DOUBLE')} * {1000 if self._unit('latency_ms') == 's' else 1}"
        elif "ended" in self._cells:
            latency = (
                f"epoch_us({self._one('ended', 't', 'TIMESTAMP')} - {self._one('timestamp', 't', 'TIMESTAMP')}) / 1e3"
            )
        else:
            latency = "NULL::DOUBLE"
        cell = self._one("latency_ms")
        yield f"CASE WHEN {latency} >= 0 AND {latency} < 1e9 THEN {latency} END AS latency"
        odd = f"coalesce({latency} NOT BETWEEN 0 AND 1e9, false)"
        yield f"({latency} IS NULL AND {cell} IS NOT NULL) OR {odd} AS bad_latency"
        status = self._one("status")
        label, failed = _status(status, self._unit("status"))
        yield f"left({label}, 60) AS status, {failed} AS failed"
        yield f"coalesce(regexp_matches(lower({status}), '{_THROTTLED}'), false) AS throttled"
        retry = self._one("retry")
        first = 1 if self._unit("retry") == "attempt" else 0
        yield f"coalesce({self._one('retry', 'n', 'DOUBLE')} > {first}, flag({retry}), false) AS retried"

    def _one(self, role: Role, letter: str = "c", kind: str = "VARCHAR") -> str:
        found = self._cells.get(role)
        return f"{letter}{found[0][0]}" if found else f"NULL::{kind}"

    def _unit(self, role: Role) -> str:
        found = self._cells.get(role)
        return found[0][1].unit if found else ""

    def _added(self, *roles: Role) -> str:
        parts = [f"coalesce(n{index}, 0)" for role in roles for index, _ in self._cells.get(role, [])]
        return f"({' + '.join(parts)})" if parts else "0::DOUBLE"

    def _sane(self, moment: str) -> str:
        # Clocks and zones differ: what is a little ahead is not absurd.
        end = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
        return f"CASE WHEN {moment} >= TIMESTAMP '2015-01-01' AND {moment} < TIMESTAMP '{end}' THEN {moment} END"


_TOKENS: tuple[Role, ...] = (
    "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"
)  # fmt: skip
_TIMES: tuple[Role, ...] = ("timestamp", "ended")
_NUMBERS: tuple[Role, ...] = (*_TOKENS, "requests", "cost", "latency_ms", "retry")


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
