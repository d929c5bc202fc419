"""What stands in a cell: numbers, times, currencies. PURE: standard library."""

import re
from datetime import datetime


def number(cell: str, decimal: str) -> float | None:
    """The number in a cell, or None. Takes grouped thousands and a currency's sign; never NaN or infinity."""
    cell = CURRENCY_SIGNS.sub("", cell).strip()
    if _PLAIN_NUMBER.fullmatch(cell) and not (decimal == "," and "." in cell):
        return float(cell)
    pattern, group = (_GROUPED_COMMA, ".") if decimal == "," else (_GROUPED_POINT, ",")
    if not pattern.fullmatch(cell):
        return None
    return float(re.sub(rf"[\s'’{group}]", "", cell).replace(",", "."))


_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?", re.A)
_GROUPED_POINT = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[\s'’]\d{3})+)(?:\.\d+)?", re.A)
_GROUPED_COMMA = re.compile(
    r"-?(?:\d+|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:[\s'’]\d{3})+)(?:,\d+)?|-?\d+(?:,\d+)?[eE][-+]?\d{1,2}", re.A
)
CURRENCY_SIGNS = re.compile(r"^(?:[A-Z]{3}\s?|US\$|[$€£¥₹]\s?)|\s?(?:[A-Z]{3}|[$€£¥₹])$")
ISO = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?.*)?", re.A)
EPOCH = re.compile(r"(?:\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?:\.\d+)?", re.A)
_CLOCK = re.compile(r"\d:(\d{2}(?::\d{2}(?:\.\d+)?)?)", re.A)
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?", re.A)
NUMERIC_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2\d{4}(?:,?[T ]\d{1,2}:\d{2}(?::\d{2})?(?: ?[AaPp][Mm])?)?", re.A)

CURRENCIES = {"$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}


def is_time(cell: str) -> bool:
    if ISO.fullmatch(cell):
        try:
            datetime.strptime(re.split("[T ]", cell)[0].replace("/", "-"), "%Y-%m-%d")
        except ValueError:
            return False
        return True
    return bool(EPOCH.fullmatch(cell) or NUMERIC_DATE.fullmatch(cell))


def is_on_the_hour(cell: str) -> bool:
    """Whether a time, if it is one, is a day or a full hour."""
    if EPOCH.fullmatch(cell):
        return int(cell[:10]) % 3600 == 0
    clock = _CLOCK.search(cell)
    return not clock or not (clock[1] or "").strip("0:.")


def is_value(cell: str) -> bool:
    return number(cell.strip(), ".") is not None or is_time(cell.strip())


def is_flag(cell: str) -> bool:
    return cell.lower() in ("true", "false", "yes", "no", "0", "1", "t", "f")
