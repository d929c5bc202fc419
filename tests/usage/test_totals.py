"""Totals by model of exports in the vendors' documented shapes, with invented values: `files/` and `truth.json`."""

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sdk import AgentError
from agents.usage import Loaded, load
from agents.usage.reading import containers
from chat.usage import recognise
from chat.usage.formats import FORMATS
from chat.usage.text import HEAD
from tests.usage_files import File

FILES = Path(__file__).parent / "files"
TRUTH: dict[str, dict[str, Any]] = json.loads((FILES.parent / "truth.json").read_text(encoding="utf-8"))


@pytest.fixture
def loaded() -> Iterator[Callable[..., Loaded]]:
    opened: list[Loaded] = []

    def open_files(*files: File, **more: Any) -> Loaded:
        opened.append(load(files, **more))
        return opened[-1]

    yield open_files
    for one in opened:
        one.close()


def exported(name: str) -> File:
    return File((FILES / name).read_bytes(), name)


def spent(found: Loaded) -> dict[tuple[str, str], float]:
    """Return the cost of each model by currency: the amount due by the file, else the list price."""
    rows = found.ask(
        "SELECT coalesce(model, ''), coalesce(currency, 'USD'), "
        "sum(CASE WHEN coalesce(currency, 'USD') = 'USD' THEN usd ELSE cost END) FROM usage "
        "WHERE coalesce(cost, usd) IS NOT NULL GROUP BY 1, 2"
    )
    return {(model, currency): amount or 0.0 for model, currency, amount in rows}


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_load_of_an_export_has_the_total_of_each_model(loaded: Callable[..., Loaded], name: str) -> None:
    truth, found = TRUTH[name], loaded(exported(name))
    costs = spent(found)
    assert {currency for _, currency in costs} <= {truth["currency"]}
    for model, cost in truth["by_model"].items():
        assert costs[model, truth["currency"]] == pytest.approx(cost)
    if truth["total"] is not None:
        assert sum(costs.values()) == pytest.approx(truth["total"])
    if "other" in truth:
        assert found.ask("SELECT sum(cost) FROM other")[0][0] == pytest.approx(truth["other"])
    for column, key in (("input", "tokens"), ("requests", "requests"), ("searches", "searches")):
        if key in truth:
            assert found.ask(f"SELECT sum({column}) FROM usage")[0][0] == truth[key]
    if "period" in truth:
        assert [str(day) for day in found.ask("SELECT min(day), max(day) FROM usage")[0]] == truth["period"]
    notes = " ".join(note for file in found.files for note in file["notes"])
    assert ("has_more" in notes) == ("has_more" in truth.get("notes", []))
    upload = recognise((FILES / name).read_bytes()[:HEAD], name)
    assert upload.usage


def test_every_declared_format_has_a_file_with_a_known_total() -> None:
    names = {recognise((FILES / name).read_bytes()[:HEAD], name).format for name in TRUTH}
    assert {one.key for one in FORMATS} - names == set()
    assert all(one.source.startswith("https://") for one in FORMATS)


# Containers


def cell(value: object) -> str:
    return (
        f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>' if isinstance(value, str) else f"<c><v>{value}</v></c>"
    )


def xlsx(**sheets: list[list[object]]) -> bytes:
    """A workbook with only what a reader needs."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        listed = "".join(f'<sheet name="{one}" sheetId="{i}" r:id="r{i}"/>' for i, one in enumerate(sheets, 1))
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{listed}</sheets></workbook>'
        )
        targets = "".join(
            f'<Relationship Id="r{i}" Type="{office}/worksheet" Target="worksheets/s{i}.xml"/>'
            for i in range(1, len(sheets) + 1)
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{targets}</Relationships>'
        )
        for i, rows in enumerate(sheets.values(), 1):
            lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            archive.writestr(
                f"xl/worksheets/s{i}.xml", f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
            )
    return file.getvalue()


def ods(rows: list[list[object]]) -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    lines = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(one)}</text:p></table:table-cell>'
            if isinstance(one, str)
            else f'<table:table-cell office:value-type="float" office:value="{one}"><text:p>{one}</text:p>'
            "</table:table-cell>"
            for one in row
        )
        + "</table:table-row>"
        for row in rows
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0"></manifest:manifest>'
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:table="{office}:table:1.0" '
            f'xmlns:text="{office}:text:1.0"><office:body><office:spreadsheet><table:table table:name="Usage">{lines}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return file.getvalue()


ROWS: list[list[object]] = [
    ["date", "model", "input_tokens", "output_tokens", "cost_usd"],
    ["2026-11-02", "gpt-4o", 1000, 100, 0.5],
    ["2026-11-03", "gpt-4o-mini", 1000, 100, 0.25],
]
TWO = {("gpt-4o", "USD"): 0.5, ("gpt-4o-mini", "USD"): 0.25}


def test_load_of_a_workbook_reads_every_sheet_with_usage(loaded: Callable[..., Loaded]) -> None:
    found = loaded(
        File(
            xlsx(
                November=ROWS, Notes=[["nothing", "here"], ["a", "b"]], October=[ROWS[0], ["2026-10-02", *ROWS[1][1:]]]
            ),
            "b.xlsx",
        )
    )
    assert spent(found) == {("gpt-4o", "USD"): 1.0, ("gpt-4o-mini", "USD"): 0.25}
    assert {(one["file"], one["usage"]) for one in found.files} == {
        ("b.xlsx › November", True), ("b.xlsx › Notes", False), ("b.xlsx › October", True)
    }  # fmt: skip
    assert spent(loaded(File(ods(ROWS), "b.ods"))) == TWO


def test_load_of_parquet_reads_nested_records(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    path = tmp_path / "usage.parquet"
    duckdb.sql(
        "COPY (SELECT unnest([DATE '2026-11-02', '2026-11-03']) AS date, unnest(['gpt-4o', 'gpt-4o-mini']) AS model, "
        "{'input_tokens': 1000, 'output_tokens': 100} AS usage, unnest([0.5, 0.25]) AS cost_usd) "
        f"TO '{path}'"
    )
    assert spent(loaded(File(path.read_bytes(), "usage.parquet"))) == TWO


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_archives_that_are_too_large_too_deep_or_broken_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MAX_UNPACKED", 4 << 20)
    monkeypatch.setattr(containers, "MAX_WORKBOOK", 1 << 20)
    bomb = zipped(**{"a.csv": b"0" * (5 << 20)})
    assert len(bomb) < 1 << 20
    many = zipped(**{f"{number}.csv": b"date,model\n" for number in range(40)})
    deep = b"date,model,cost\n2026-11-02,gpt-4o,1\n"
    for _ in range(4):
        deep = zipped(**{"a.zip": deep})
    book = zipped(**{"[Content_Types].xml": b"<x/>", "xl/sheet.xml": b"0" * (2 << 20)})
    for data, words in (
        (bomb, "unpacks to more than"),
        (many, "40 files"),
        (deep, "packed more than twice"),
        (book, "too large"),
        (zipped(**{"a.csv": bytes(range(256)) * 20})[:200], "cannot be unpacked"),
        (b"PK\x03\x04" + b"\0" * 60, "cannot be unpacked"),
        (b"PAR1" + b"\0" * 60, "cannot be unpacked"),
    ):
        with pytest.raises(AgentError, match=words):
            load([File(data, "a.bin")])
    with pytest.raises(AgentError):
        load([File(zipped(**{"../../evil.csv": b"nothing"}), "a.zip")])
    assert not list(tmp_path.parent.rglob("evil.csv"))


@settings(max_examples=settings().max_examples // 2)
@given(st.sampled_from(["a.xlsx", "a.ods", "a.parquet", "a.zip", "a.gz"]), st.data())
def test_load_of_a_damaged_container_raises_nothing_but_words(name: str, data: st.DataObject) -> None:
    good = bytearray(whole_files()[name])
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(AgentError):
        load([File(bytes(good), name)]).close()


@cache
def whole_files() -> dict[str, bytes]:
    lines = "\n".join(",".join(map(str, row)) for row in ROWS).encode()
    with tempfile.TemporaryDirectory() as folder:
        duckdb.sql(f"COPY (SELECT 'gpt-4o' AS model, 5 AS input_tokens, 0.5 AS cost_usd) TO '{folder}/a.parquet'")
        parquet = Path(folder, "a.parquet").read_bytes()
    return {
        "a.xlsx": xlsx(Usage=ROWS), "a.ods": ods(ROWS), "a.parquet": parquet, "a.zip": zipped(**{"a.csv": lines}),
        "a.gz": gzip.compress(lines),
    }  # fmt: skip


# One spend in several files


def test_usage_and_cost_of_the_same_days_are_one_spend(loaded: Callable[..., Loaded]) -> None:
    head, row = (
        "start_time_iso,amount_value,amount_currency,line_item\n",
        '2026-11-02T00:00:00Z,5,usd,"gpt-4o, input"\n',
    )
    cost = head + row
    head = "start_time_iso,model,num_model_requests,input_tokens,output_tokens\n"
    usage = head + "2026-11-02T00:00:00Z,gpt-4o,3,2000000,0\n"
    both = loaded(File(usage, "usage.csv"), File(cost, "cost.csv"))
    assert both.ask("SELECT sum(usd), sum(input) FROM usage") == [(5, 2_000_000)]
    assert any("tell of the same days" in note for note in both.notes)
    next_day = loaded(File(usage.replace("11-02", "11-03"), "usage.csv"), File(cost, "cost.csv"))
    assert next_day.ask("SELECT sum(usd) FROM usage") == [(10,)]


def test_rows_that_stand_in_two_exports_count_once(loaded: Callable[..., Loaded]) -> None:
    head = "timestamp,model,input_tokens,output_tokens,cost_usd\n"
    rows = [f"2026-11-{day:02}T10:00:00Z,gpt-4o,1000,1,{day}\n" for day in range(1, 6)]
    found = loaded(File(head + "".join(rows[:3]), "a.csv"), File(head + "".join(rows[1:]), "b.csv"))
    assert found.ask("SELECT sum(usd), count(*) FROM usage") == [(15, 5)]
    assert any("counted once" in note for note in found.notes)


def test_load_leaves_out_a_total_by_any_name(loaded: Callable[..., Loaded]) -> None:
    rows = "2026-11-02,gpt-4o,1000,5\n2026-11-03,gpt-4o,2000,2.5\n"
    for last in ("Yhteensä kaikki,,3000,7.5\n", "Wszystko,,,7.5\n"):
        found = loaded(File(("date,model,input_tokens,cost_usd\n" + rows + last).encode(), "a.csv"))
        assert found.ask("SELECT sum(cost), count(*) FROM usage") == [(7.5, 2)]
    for other, whole in (("Support plan,,,7\n", 14.5), (",gpt-4o,3000,7.5\n", 15)):
        unlike = loaded(File(("date,model,input_tokens,cost_usd\n" + rows + other).encode(), "a.csv"))
        assert unlike.ask("SELECT sum(cost) FROM usage") == [(whole,)]


def test_a_file_that_sums_up_another_counts_once(loaded: Callable[..., Loaded]) -> None:
    days = b"date,model,cost_usd\n2026-11-02,gpt-4o,5\n2026-11-03,gpt-4o,2.5\n"
    found = loaded(File(days, "days.csv"), File(b"model,cost_usd\ngpt-4o,7.5\n", "models.csv"))
    assert found.ask("SELECT sum(cost), count(*) FROM usage") == [(7.5, 2)]
    assert any("same spend" in note for note in found.notes)
    month = loaded(File(days, "days.csv"), File(days.replace(b"-11-", b"-10-"), "before.csv"))
    assert month.ask("SELECT sum(cost) FROM usage") == [(15,)]


def test_load_of_rows_that_are_all_faulty_raises_an_error_for_a_person() -> None:
    with pytest.raises(AgentError, match="No row of a"):
        load([File(b"timestamp,model,input_tokens,output_tokens\n2026-01-01,gpt-4o,-1,5\n", "a.csv")])
