"""Exports that tell of the same spend: of rows and days that stand in two files, one counts."""

# ruff: noqa: S608, what a query is made of is written here; what a file or a user says goes in as values.

from collections.abc import Iterator, Sequence
from typing import Protocol

import duckdb

from agents.usage.figures import rows_text
from chat.translation import t


class Named(Protocol):
    """A file that was read."""

    @property
    def name(self) -> str: ...


SAME = 0.1  # of the cost: two exports of the same days that differ by less are taken as one spend


def count_once(db: duckdb.DuckDBPyConnection, parts: Sequence[Named]) -> Iterator[str]:
    """Take spend out of `usage_rows` that another file has too. Yields what was done, in words."""
    if len(parts) < 2:
        return
    # A row without a time may well be equal to one of another month.
    rank = "CASE file " + " ".join(f"WHEN ? THEN {number}" for number in range(len(parts))) + " END"
    names = [part.name for part in parts]
    [(gone,)] = db.execute(
        f"DELETE FROM usage_rows USING (SELECT print, moment, min({rank}) AS first FROM usage_rows "
        "WHERE moment IS NOT NULL GROUP BY print, moment HAVING count(DISTINCT file) > 1) twice "
        f"WHERE usage_rows.print = twice.print AND usage_rows.moment = twice.moment AND {rank} > twice.first",
        [*names, *names],
    ).fetchall()
    if gone:
        yield t("In two files and counted once: {0}.", rows_text(gone))
    yield from _sums_of_others(db)
    yield from _same_days(db)


def _sums_of_others(db: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Count rows once that another file or sheet sums up: the cost is equal in all, and their days are not apart."""
    found = db.execute(
        "SELECT file, currency, sum(cost), min(day), max(day) FROM usage_rows WHERE cost IS NOT NULL GROUP BY ALL "
        "ORDER BY count(DISTINCT (day, model)) DESC, count(*) DESC, file"
    ).fetchall()
    gone: set[str] = set()
    for at, (file, currency, cost, first, last) in enumerate(found):
        for other, code, sums, since, until in found[at + 1 :] if file not in gone else ():
            apart = first and since and (since > last or until < first)
            if other == file or code != currency or apart or abs(cost - sums) > 1e-4 * abs(cost) or not cost:
                continue
            gone.add(other)
            db.execute("DELETE FROM usage_rows WHERE file = ? AND currency = ?", [other, currency])
            yield t("{0} and {1} tell of the same spend: it is taken from {1}, once.", other, file)


def _same_days(db: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Count two files of a provider once if only one has costs, or both have nearly equal ones. Yield notes."""
    columns = {
        name
        for (name,) in db.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'usage_rows'").fetchall()
    }
    if "provider" not in columns:
        return
    found = db.execute(
        "SELECT provider, file, count(cost) > 0 AS paid, count_if(has_tokens) AS tokens, min(day), max(day) "
        "FROM usage_rows WHERE provider IS NOT NULL GROUP BY ALL ORDER BY paid DESC, tokens DESC, file"
    ).fetchall()
    settled: set[tuple[str, str]] = set()
    for provider, file, paid, *_ in found:
        if not paid or (provider, file) in settled:
            continue
        for other, second, second_paid, *_ in found:
            if other != provider or second == file or (provider, second) in settled:
                continue
            both = (
                "provider = ? AND day IN (SELECT day FROM usage_rows WHERE provider = ? AND file = ?) "
                "AND day IN (SELECT day FROM usage_rows WHERE provider = ? AND file = ?)"
            )
            days = [provider, provider, file, provider, second]
            [(first_sum, second_sum, rows)] = db.execute(
                "SELECT sum(cost) FILTER (file = ?), sum(cost) FILTER (file = ?), count_if(file = ?) FROM usage_rows "
                f"WHERE {both}",
                [file, second, second, *days],
            ).fetchall()
            if not rows:
                continue
            near = second_sum is not None and abs(second_sum - first_sum) <= SAME * max(abs(first_sum), abs(second_sum))
            if second_paid and not near:
                continue
            settled |= {(provider, second), (provider, file)}
            db.execute(
                f"UPDATE usage_rows SET cost = NULL, currency = NULL, usd = NULL WHERE file = ? AND {both}",
                [second, *days],
            )
            yield t("{0} and {1} tell of the same days: the spend is taken from {0}, once.", file, second)
