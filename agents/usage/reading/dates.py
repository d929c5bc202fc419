"""Dates with the names of months in many languages."""

import re
from datetime import date

from chat.usage.names import MONTHS


def read_date(text: str) -> date | None:
    """The day, or the first day of the month, that a text like `12. März 2026` or `Nov 2026` names."""
    asian = re.fullmatch(r"(\d{4})[年년] ?(\d{1,2})[月월](?: ?(\d{1,2})[日일])?", text.strip())
    if asian:
        return _date(int(asian[1]), int(asian[2]), int(asian[3] or 1))
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"\d{1,2}:\d{2}.*", "", text.lower()))
    month = next((MONTHS[word] for word in words if word in MONTHS), None)
    numbers = [word for word in words if word.isdigit()]
    if month is None or not numbers:
        return None
    year = next((int(word) for word in numbers if len(word) == 4), None)
    rest = [int(word) for word in numbers if len(word) <= 2]
    if year is None:
        year = 2000 + rest.pop() if rest else None
    return _date(year, month, rest[0] if rest else 1) if year else None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
