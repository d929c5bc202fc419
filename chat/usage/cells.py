"""Values in cells: numbers, times, currencies. PURE: standard library."""

import re
from datetime import date, datetime

from chat.usage.names import MONTHS, SIGN


def number(cell: str, decimal: str) -> float | None:
    """Return the number in a cell, or None. Takes grouped thousands and a currency's sign; never NaN or infinity."""
    cell = bare(cell)
    if _PLAIN_NUMBER.fullmatch(cell) and not (decimal == "," and "." in cell):
        return float(cell)
    pattern, group = (_GROUPED_COMMA, ".") if decimal == "," else (_GROUPED_POINT, ",")
    if not pattern.fullmatch(cell):
        return None
    return float(re.sub(rf"[\s'’{group}]", "", cell).replace(",", "."))


def bare(cell: str) -> str:
    """Return a number as it stands in a cell without its currency; `(1.50)` is -1.50, as in accounting."""
    cell = cell.strip().replace("−", "-")
    cell = f"-{cell[1:-1]}" if cell.startswith("(") and cell.endswith(")") else cell
    return CURRENCY_SIGNS.sub(r"\1", cell).strip()


_PLAIN_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,2})?", re.A)
_GROUPED_POINT = re.compile(r"-?(?:\d{1,3}(?:,\d{2,3})*,\d{3}|\d{1,3}(?:[\s'’]\d{3})+)(?:\.\d+)?", re.A)
_GROUPED_COMMA = re.compile(
    r"-?(?:\d+|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:[\s'’]\d{3})+)(?:,\d+)?|-?\d+(?:,\d+)?[eE][-+]?\d{1,2}", re.A
)
CURRENCY_SIGNS = re.compile(rf"^(-?)(?:{SIGN}|[A-Z]{{3}})\s?|\s?(?:{SIGN}|[A-Z]{{3}})$")
ISO = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?.*)?", re.A)
EPOCH = re.compile(r"(?:\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?:\.\d+)?", re.A)
COMPACT = re.compile(
    r"20\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])?|20\d\d-(?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])[./-]20\d\d", re.A
)
_CLOCK = re.compile(r"\d:(\d{2}(?::\d{2}(?:\.\d+)?)?)", re.A)
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?", re.A)
NUMERIC_DATE = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2\d{2}(?:\d\d)?(?:,?[T ]\d{1,2}:\d{2}(?::\d{2})?(?: ?[AaPp][Mm])?)?", re.A
)
# A day or a month with the month's name in some language, and the Japanese, Chinese and Korean forms.
NAMED_DATE = re.compile(
    r"(?:\d{1,2}\.?º?(?: de)? )?[^\W\d_]{3,12}\.?(?: \d{1,2},?)?(?: de| del)? \d{4}(?:,? \d{1,2}:\d{2}.*)?"
    r"|(?:\d{1,2}[- ])?[^\W\d_]{3,12}\.?[- ]\d{2,4}|\d{4}[年년] ?\d{1,2}[月월](?: ?\d{1,2}[日일])?"
)


def is_time(cell: str) -> bool:
    return is_plain_time(cell) or (len(cell) < 40 and bool(NAMED_DATE.fullmatch(cell)) and read_date(cell) is not None)


def read_date(text: str) -> date | None:
    """The day, or the first day of the month, that a text like `12. März 2026` or `Nov 2026` names."""
    numbers = [int(one) for one in re.findall(r"\d+", re.sub(r"\d{1,2}:\d{2}.*", "", text))]
    if re.fullmatch(r"\d{4}[年년] ?\d{1,2}[月월](?: ?\d{1,2}[日일])?", text.strip()):
        year, month, *days = numbers
    else:
        month = next((MONTHS[word] for word in re.findall(r"[^\W\d_]+", text.lower()) if word in MONTHS), 0)
        year, days = next((one for one in numbers if one > 999), 0), [one for one in numbers if one < 100]
        year = year or 2000 + (days.pop() if days else -2000)
    try:
        return date(year, month, days[0] if days else 1)
    except ValueError:
        return None


def is_plain_time(cell: str) -> bool:
    """Return True for a time in digits."""
    if ISO.fullmatch(cell):
        try:
            datetime.strptime(re.sub("[/.]", "-", re.split("[T ]", cell)[0]), "%Y-%m-%d")
        except ValueError:
            return False
        return True
    return bool(EPOCH.fullmatch(cell) or NUMERIC_DATE.fullmatch(cell) or COMPACT.fullmatch(cell))


def is_on_the_hour(cell: str) -> bool:
    """Return True for a day or a full hour, and for a cell that is no time."""
    if EPOCH.fullmatch(cell):
        return int(cell[:10]) % 3600 == 0
    clock = _CLOCK.search(cell)
    return not clock or not (clock[1] or "").strip("0:.")


def is_value(cell: str) -> bool:
    return any(number(cell.strip(), mark) is not None for mark in ".,") or is_time(cell.strip())


def is_flag(cell: str) -> bool:
    return cell.lower() in ("true", "false", "yes", "no", "0", "1", "t", "f")
