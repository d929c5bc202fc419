"""Formats of usage and billing data, declared in the TOML files beside this module. PURE: standard library.

Each table is a format: `title`; `source`, the vendor's page that describes it; `needs`, plain names of columns or JSON
places that are all there, in `a|b` one of them; `without`, names that are not there; `path`, where the records of its
JSON are (`records.follow`), or `expand`, the function that makes them (`records.EXPAND`).

`fields`: a role's names in the order of preference, separated by spaces: the first that has a value in a row counts.
`a|b`: the first that the header has. `a+b`, `a-b`: what is there of them is added or taken off. `a/100`, `a*1000`: a
factor. `a$`: the name with a currency's code behind it, or bare. `a.key`: this key under `a`, also where the beginning
of the file does not have it. The names of `sku` are its parts, which `sku_reader` (`skus.READERS`) gets as a list.

`sums`: a row sums up many requests. `apart`: the input tokens do not contain the cached ones. `unit_price`: of a
quantity, where the file has none. `currency`: where the file names none. `records`: kinds of record that count.
`wide`: what the headers of all other columns are, each with a cost under it. `notes`: what a reader should know.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chat.usage.names import CODES, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One export of one vendor."""

    key: str
    title: str
    source: str
    needs: str
    fields: Mapping[Role, str]
    without: str = ""
    path: str = ""
    expand: str = ""
    provider: str = ""
    currency: str = ""
    sums: bool = True
    apart: bool = False
    records: str = ""
    wide: Role | None = None
    unit_price: float | None = None
    sku_reader: str = ""
    notes: tuple[str, ...] = ()

    def fits(self, names: set[str]) -> int:
        """The number of needed names that are there; 0 if one is missing or a forbidden one is there."""
        needs = _needs(self.needs)
        if not all(any(named(name, names) for name in need) for need in needs):
            return 0
        return 0 if any(named(name, names) for name in self.without.split()) else len(needs)


@cache
def _needs(names: str) -> list[list[str]]:
    return [need.split("|") for need in names.split()]


class Term(NamedTuple):
    """A name with the factor by which its values count."""

    name: str
    factor: float


def alternatives(names: str) -> Iterator[list[list[Term]]]:
    """The alternatives of a field in order; in each the terms that are added, each with the names that it may have."""
    for alternative in names.split():
        terms: list[list[Term]] = []
        for sign, term in re.findall(r"([+-]?)([^+\-]+)", alternative):
            bare, _, factor = term.partition("/") if "/" in term else term.partition("*")
            by = 1.0 if not factor else 1 / float(factor) if "/" in term else float(factor)
            terms.append([Term(name, -by if sign == "-" else by) for name in bare.split("|")])
        yield terms


def named(name: str, names: set[str]) -> str | None:
    """The name in the file that a name in a declaration stands for, or None."""
    if not name.endswith("$"):
        return name if name in names else None
    bare = name[:-1]
    return next((one for code in CODES if (one := f"{bare}_{code}") in names), bare if bare in names else None)


def _declared() -> Iterator[Format]:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for key, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            yield Format(key=key, **{**table, "notes": tuple(table.get("notes", ()))})


FORMATS: tuple[Format, ...] = tuple(_declared())
