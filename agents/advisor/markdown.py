"""Markdown: lines of the answer, and text of others in it that stays text."""

import re
from collections.abc import Iterator

MAX_SHOWN = 60


def escaped(text: str, length: int = MAX_SHOWN) -> str:
    """Text from a file or a user on one line, cut, and without any meaning in Markdown or HTML."""
    text = " ".join(text.split())
    if len(text) > length:
        text = text[: length - 1] + "…"
    text = re.sub(r"([\\`*\[\]<>|#~&!{}])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match[0], text)
    # No address becomes a link by itself.
    return re.sub(r"(?i)(:)(?=//)|(?<=\bwww)(\.)", r"\\\g<0>", text)


def section(title: str, items: list[str]) -> Iterator[str]:
    if items:
        yield from ("", f"## {title}", "")
        yield from (f"- {item}" for item in dict.fromkeys(items))


def table(*rows: list[str]) -> Iterator[str]:
    """Lines of a table; the first row is its header, with no empty cell."""
    yield ""
    for index, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if index == 0:
            yield "|" + " --- |" * len(row)


def dollars(amount: float) -> str:
    """`$5,000`, `$123.40`, `$12.34`, `$0.0042`: never more than 0.05 % away from the amount."""
    return f"{'-' if amount < 0 else ''}${_digits(abs(amount))}"


def money(amount: float, currency: str) -> str:
    return (
        dollars(amount)
        if currency == "USD"
        else f"{escaped(currency)} {'-' if amount < 0 else ''}{_digits(abs(amount))}"
    )


def _digits(amount: float) -> str:
    if amount >= 1000 or amount == 0:
        return f"{amount:,.0f}"
    if abs(round(amount, 2) - amount) <= amount * 0.0005:
        return f"{amount:.2f}".removesuffix(".00")
    return f"{amount:.4g}"


def tokens(millions: float) -> str:
    if millions >= 100:
        return f"{millions:,.0f} million"
    return f"{millions:,.3g} million" if millions >= 1 else f"{millions * 1e3:,.3g} thousand"


class Amounts:
    """Writes amounts: in a currency, or as parts of the bill, which then is 100, where `unit` is `%`."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def __call__(self, amount: float) -> str:
        return f"{amount:.1f}%" if self.unit == "%" else money(amount, self.unit)

    def monthly(self, amount: float) -> str:
        return f"{amount:.1f}% of the bill" if self.unit == "%" else f"{self(amount)} a month"
