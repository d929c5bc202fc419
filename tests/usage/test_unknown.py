"""Files that nobody declared: what is not understood is asked, every amount is used or named, and no bytes raise."""

import csv
import io
import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sdk import AgentError
from agents.usage import load
from chat.usage import Recognised, recognise
from chat.usage.cells import is_time
from chat.usage.names import masked, plain_name
from tests.usage_files import File

FILES = Path(__file__).parent / "files"


def table(header: list[str], *rows: list[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def mentioned(found: Recognised) -> set[str]:
    """The columns that are used, named as unused money, or put to a person."""
    proposed = {one["name"] for one in found.proposal["columns"]} if found.proposal else set()
    return {column.name for column in found.columns} | set(found.money) | proposed


MONEY = (
    "cost", "Cost ($)", "total_cost_usd", "price", "Amount", "spend", "charge", "List price", "credit_usd", "budget",
    "Betrag", "kosten_eur", "fee_usd", "discount", "invoice amount", "cost_cents", "savings", "montant",
)  # fmt: skip
OTHER = ("date", "model", "input_tokens", "output_tokens", "user", "note", "type", "currency", "requests", "Slug")
CELLS = {
    "date": "2026-11-02", "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100, "user": "anna", "note": "x",
    "type": "input_tokens", "currency": "USD", "requests": 3, "Slug": "gpt-4o",
}  # fmt: skip


@settings(max_examples=2 * settings().max_examples)
@given(
    st.lists(st.sampled_from(MONEY), min_size=1, max_size=5, unique_by=plain_name),
    st.lists(st.sampled_from(OTHER), max_size=6, unique=True),
    st.randoms(use_true_random=False),
)
def test_recognise_uses_or_names_every_column_of_money(money: list[str], other: list[str], rng: object) -> None:
    header = [*money, *other]
    rng.shuffle(header)  # type: ignore[attr-defined]
    rows = [[CELLS.get(name, f"{1.25 * (place + 1):.2f}") for name in header] for place in range(3)]
    if len(header) > 1:
        found = recognise(table(header, *rows), "table.csv")
        assert set(money) <= mentioned(found) | {found.text}


# Text in one of the usual encodings with the header in the first line, to which a column is easily added.
PLAIN = sorted(
    path.name
    for path in FILES.glob("*.csv")
    if path.name not in ("plain_utf16.csv", "plain_german_latin1.csv", "gcp_cost_table_euro.csv")
)


@pytest.mark.parametrize("name", PLAIN)
def test_recognise_names_an_amount_that_a_format_does_not_know(name: str) -> None:
    lines = (FILES / name).read_bytes().rstrip(b"\n").split(b"\n")
    before = recognise(b"\n".join(lines), name)
    mark = before.delimiter.encode()
    found = recognise(
        b"\n".join([lines[0] + mark + b"Surcharge ($)", *(line + mark + b"7.77" for line in lines[1:])]), name
    )
    assert "Surcharge ($)" in mentioned(found) | {label + " ($)" for _, label in found.wide}


def test_load_names_columns_of_money_that_are_not_used() -> None:
    data = table(
        ["date", "model", "input_tokens", "cost_usd", "list_price", "budget"],
        ["2026-11-02", "gpt-4o", 1000, 0.5, 0.6, 9],
    )
    found = load([File(data, "a.csv")])
    assert any("list_price, budget" in note for note in found.files[0]["notes"])
    assert found.ask("SELECT sum(usd) FROM usage") == [(0.5,)]
    found.close()


@pytest.mark.parametrize(
    ("name", "cells", "taken"),
    [("price", ["2.5", "10"], False), ("amount", ["900", "80"], False), ("amount", ["0.003", "0.0004"], True),
     ("cost", ["1100", "110"], False)],
)  # fmt: skip
def test_load_believes_a_cost_only_if_it_is_money(name: str, cells: list[str], taken: bool) -> None:
    rows = [["2026-11-02", "gpt-4o", 1000, 100, cells[0]], ["2026-11-02", "gpt-4o", 100, 10, cells[1]]]
    found = load([File(table(["date", "model", "input_tokens", "output_tokens", name], *rows), "a.csv")])
    listed = (1100 * 2.5 + 110 * 10) / 1e6
    assert found.ask("SELECT sum(usd) FROM usage")[0][0] == pytest.approx(sum(map(float, cells)) if taken else listed)
    assert any(f"Column “{name}” is not taken" in note for note in found.files[0]["notes"]) != taken
    found.close()


def test_load_takes_no_price_of_a_model_for_its_cost() -> None:
    rows = [["2026-11-02", "gpt-4o", 120000, 1000, 2.5], ["2026-11-03", "gpt-4o", 50000, 900, 2.5]]
    found = load([File(table(["date", "model", "input_tokens", "output_tokens", "price"], *rows))])
    assert found.ask("SELECT round(sum(usd), 4), count(cost) FROM usage") == [(0.444, 0)]
    assert "“price” is not taken as the cost: it is the same in each row" in found.files[0]["notes"][0]
    found.close()


def test_recognise_proposes_no_share_or_running_total_as_the_cost() -> None:
    for name in ("cost share %", "cumulative cost"):
        found = recognise(
            table(["date", "model", name], ["2026-11-02", "gpt-4o", 5.2], ["2026-11-03", "o3", 7.8]), "a.csv"
        )
        assert found.proposal
        assert [one["role"] for one in found.proposal["columns"]] == ["timestamp", "model", ""]


# Tables that are put to a person


def test_recognise_of_an_unknown_table_proposes_a_meaning_for_each_column() -> None:
    data = table(
        ["Monat", "Lieferant", "Modellname", "Rechnungsbetrag"], ["Okt 2026", "OpenAI", "gpt-4o", "1.234,50 €"]
    )
    found = recognise(data.replace(b'"1.234,50', b'"1.234,50'), "x.csv")
    assert not found.usage
    assert not found.prose
    assert found.proposal is not None
    assert [(one["name"], one["role"]) for one in found.proposal["columns"]] == [
        ("Monat", "timestamp"), ("Lieferant", ""), ("Modellname", "model"), ("Rechnungsbetrag", "cost"),
    ]  # fmt: skip
    assert found.proposal["columns"][3]["samples"] == ["1.234,50 €"]
    assert json.loads(json.dumps(found.as_json()))["proposal"] == found.proposal


@pytest.mark.parametrize("cells", [["1.234", "987"], ["1,234", "987"], ["1.234", "2.500"]])
def test_recognise_asks_about_months_whose_amounts_are_read_in_two_ways(cells: list[str]) -> None:
    found = recognise(
        table(["Modell", "Januar 2026", "Februar 2026"], ["gpt-4o", *cells], ["o3", "310", "295"]), "x.csv"
    )
    assert not found.usage
    assert found.proposal is not None


def test_load_of_a_table_of_months_counts_no_requests() -> None:
    found = load([File(table(["Modell", "Jan 26", "Feb 26"], ["gpt-4o", "1.50", "2.25"]), "x.csv")])
    assert found.ask("SELECT sum(cost), sum(requests), min(day) FROM usage") == [(3.75, 0, date(2026, 1, 1))]
    found.close()


@pytest.mark.parametrize(
    ("text", "is_month"), [("Jan 26", True), ("Mrz. 2026", True), ("Team 12", False), ("Plan 2026", False)]
)
def test_is_time_knows_the_names_of_months(text: str, is_month: bool) -> None:
    assert is_time(text) == is_month


def test_key_of_an_api_in_an_unknown_table_is_proposed_by_its_end() -> None:
    data = table(["Monat", "Schlüssel", "Rechnungsbetrag"], ["Okt 2026", "sk-proj-abcdefghijklmnopqrst", "1.234,50 €"])
    found = recognise(data, "x.csv")
    assert found.proposal is not None
    assert found.proposal["columns"][1]["samples"] == ["sk…qrst"]


# In parts, so that no scanner takes them for real ones.
@pytest.mark.parametrize(
    ("kind", "mark"),
    [("sk", "-"), ("sk", "-proj-"), ("sk", "-ant-api03-"), ("pk", "-lf-"), ("rk", "_live_"), ("xoxb", "-12-34-"),
     ("ghp", "_"), ("github_pat", "_"), ("hf", "_"), ("gsk", "_"), ("AIza", ""), ("AKIA", "")],
)  # fmt: skip
def test_key_of_an_api_is_masked_alike_in_python_and_in_the_rows(kind: str, mark: str) -> None:
    key = kind + mark + "Ab3-Cd4_" * 3 + "Wx9Z"
    assert masked(f"key {key}!") == f"key {kind}…Wx9Z!"
    rows = [["2026-11-02", "gpt-4o", 1000, 1, key, f"by {key}", key]]
    found = load(
        [File(table(["date", "model", "input_tokens", "cost_usd", "api_key", "user", "team"], *rows), "a.csv")]
    )
    assert found.ask("SELECT api_key, user_label, team FROM usage") == [
        (f"{kind}…Wx9Z", f"by {kind}…Wx9Z", f"{kind}…Wx9Z")
    ]
    found.close()


@pytest.mark.parametrize(
    "text", ["skateboards-and-more-things", "sk-short", "ghost_writer_of_letters", "AIza", "o3-pro"]
)
def test_label_that_is_no_key_is_not_masked(text: str) -> None:
    assert masked(text) == text


def test_load_reads_an_unknown_table_as_a_person_chose_and_the_next_with_this_header_too() -> None:
    header = ["when", "what", "paid", "tax"]
    first = table(header, ["2026-11-02", "gpt-4o", "10.50", "2"], ["2026-11-03", "claude", "1.50", "1"])
    with pytest.raises(AgentError):
        load([File(first, "a.csv")])
    proposal = recognise(first, "a.csv").proposal
    assert proposal is not None
    columns = {"when": "timestamp", "what": "model", "paid": "cost", "tax": ""}
    choices = {proposal["header"]: {"columns": columns, "row": "sum", "currency": "EUR"}}
    next_one = table(header, ["2026-12-02", "gpt-4o", "5", "2"])
    found = load([File(first, "a.csv"), File(next_one, "b.csv")], choices)
    assert found.ask("SELECT sum(cost), any_value(currency), count(DISTINCT currency) FROM usage") == [(17, "EUR", 1)]
    assert found.ask("SELECT sum(cost) FROM usage WHERE model = 'gpt-4o'") == [(15.5,)]
    found.close()
    other = load([File(first, "a.csv")], {proposal["header"]: {"columns": {"paid": "cost"}, "currency": "USD"}})
    assert other.ask("SELECT sum(usd) FROM usage") == [(12,)]
    other.close()


# Hostile files


@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(
            st.sampled_from(
                [b"PK\x03\x04", b"\x1f\x8b\x08", b"PAR1", b"PK\x03\x04" + b"\0" * 22 + b"\x04\0\0\0a.xl", b"{", b"["]
            ),
            st.binary(max_size=100),
        ).map(b"".join),
    ),
    st.text(max_size=8),
)
def test_load_of_any_bytes_raises_nothing_but_words(data: bytes, name: str) -> None:
    assert recognise(data, name).text
    with pytest.raises(AgentError) as raised:
        load([File(data, name)])
    assert raised.value.message


@pytest.mark.parametrize(
    "data",
    [
        b'{"daily":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'[{"summary":{"usage":[1,2]}}]',
        b'{"prices":[{}],"completion":{"models":{"m":{"input":[1,null,{"value":"x"}]}}}}',
        b'{"columns":[1,2],"rows":[["a"],"b"]}',
        b'{"data":[{"results":[{"num_model_requests":{"a":[]},"amount":[]}]}],"has_more":{"x":1}}',
    ],
)
def test_load_of_json_of_a_strange_shape_says_so(data: bytes) -> None:
    with pytest.raises(AgentError) as raised:
        load([File(data, "a.json")])
    assert raised.value.code == "no_usage_data"


def test_load_of_an_invoice_counts_no_total_due() -> None:
    data = table(
        ["Description", "Model", "Quantity", "Amount"],
        ["input", "gpt-4o", "120", "300.00"], ["output", "gpt-4o", "20", "200.00"],
        ["Subtotal", "", "", "500.00"], ["Total due", "", "", "500.00"],
    )  # fmt: skip
    proposal = recognise(data, "a.csv").proposal
    assert proposal is not None
    columns = {"Model": "model", "Amount": "cost"}
    found = load([File(data, "a.csv")], {proposal["header"]: {"columns": columns, "row": "sum", "currency": "USD"}})
    assert found.ask("SELECT sum(cost) FROM usage") == [(500.0,)]
    found.close()


def test_load_takes_formulas_and_orders_as_text() -> None:
    order = "=HYPERLINK(1)"
    data = table(["date", "model", "input_tokens", "cost_usd", "team"], ["2026-11-02", "gpt-4o", 1000, 1, order])
    found = load([File(data, "=cmd|' /C calc'!A0.csv")])
    assert found.ask("SELECT team, sum(usd) FROM usage GROUP BY 1") == [(order, 1)]
    found.close()


def test_recognise_asks_where_an_unused_amount_may_be_the_cost() -> None:
    known = table(["date", "model", "input_tokens"], ["2026-11-02", "gpt-4o", 1000])
    assert recognise(known, "table.csv").usage
    header = ["date", "model", "input_tokens", "Bezahlpreis brutto"]
    found = recognise(table(header, ["2026-11-02", "gpt-4o", 1000, "4.20"]), "table.csv")
    assert not found.usage and found.proposal


def test_recognise_asks_for_the_unit_of_a_time_series() -> None:
    points = [{"timestamp": "2026-11-02T00:00:00Z", "values": [12.5]}, {"timestamp": "2026-11-03", "values": [7.25]}]
    series = {"timeSeries": [{"group": ["grok-4"], "groupLabels": ["grok-4"], "dataPoints": points}]}
    found = recognise(json.dumps(series).encode(), "usage.json")
    assert not found.usage and found.proposal
    assert {"timestamp", "values", "group"} <= {column["name"] for column in found.proposal["columns"]}
