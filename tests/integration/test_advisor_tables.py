"""The advisor's form about a table that no format declares, and its answer for the next file of the same user."""

import asyncio
import io
import json
import zipfile
from typing import Any

import pytest

from agents.advisor import advisor
from agents.sdk import Turn, Waiting, accept, decline, expire
from agents.toolbox.tables import chosen, table_form
from chat import runs
from chat.protocol import encoded_size, forms
from chat.usage import recognise
from tests import factories
from tests.usage_files import File

pytestmark = pytest.mark.django_db(transaction=True)
BILL = (
    "Lieferant;Monat;Modell;Netto;Brutto\n"
    "OpenAI;Okt 2026;gpt-4o;1.234,50;1.469,06\n"
    "Anthropic;Okt 2026;claude-sonnet-4-5;200,00;238,00\n"
)
NET = {"column_4": "cost", "currency": "EUR"}


def turn(user: Any, text: str = "What did we spend?", *answers: Any, name: str = "bill.csv", data: Any = BILL) -> Turn:
    return Turn(text=text, user_id=str(user.id), agent_name="advisor", attachments=[File(data, name)], answers=answers)


def asked(one: Turn) -> Any:
    """Return the request that the turn waits for."""
    with pytest.raises(Waiting) as waits:
        asyncio.run(advisor(one))
    [request] = waits.value.requests
    return request


def said(one: Turn) -> str:
    asyncio.run(advisor(one))
    return one.said


def answer_in_thread(user: Any, request: Any, content: dict[str, Any]) -> None:
    """Store the request as one of a run of the user, and the answer to it."""
    runs.start(user.id, factories.message("What did we spend?"))
    factories.accept(user, factories.ask(factories.claim_one(), schema=request.schema), content)


def test_an_unknown_table_is_asked_about_with_samples_meanings_and_totals(alice: Any) -> None:
    request = asked(turn(alice))
    columns = [one for name, one in request.schema["properties"].items() if name.startswith("column_")]
    assert [one["title"] for one in columns] == ["Lieferant", "Monat", "Modell", "Netto", "Brutto"]
    assert columns[0]["description"] == "For example: OpenAI · Anthropic"
    assert [one["default"] for one in columns] == ["", "timestamp", "model", "", ""]
    titles = [{one["const"]: one["title"] for one in column["oneOf"]} for column in columns]
    assert titles[3]["cost"] == "Cost: adds up to 1,434"
    assert titles[4]["cost"] == "Cost: adds up to 1,707"
    assert "1,434 if “Netto” is the cost; 1,707 if “Brutto” is the cost" in request.message


def test_the_total_is_that_of_the_column_that_was_chosen(alice: Any) -> None:
    assert said(turn(alice, "What did we spend?", accept(NET))).startswith("You spent **€1,434** on 2026-10-01.")
    gross = {"column_5": "cost", "currency": "eur"}
    assert said(turn(alice, "What did we spend?", accept(gross))).startswith("You spent **€1,707** on 2026-10-01.")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "Choose the column that is the cost"),
        ({"column_4": "cost"}, "Say the currency"),
        ({"column_4": "cost", "currency": "€"}, "Say the currency"),
        ({"column_4": "cost", "column_5": "cost", "currency": "EUR"}, "“Netto”, “Brutto”. Choose one."),
    ],
)
def test_an_answer_that_does_not_say_enough_is_asked_again_as_it_was_filled_in(
    alice: Any, content: dict[str, str], problem: str
) -> None:
    request = asked(turn(alice, "What did we spend?", accept(content)))
    assert problem in request.message
    for name, value in content.items():
        assert request.schema["properties"][name]["default"] == value


@pytest.mark.parametrize("given", [decline("I do not know"), expire()])
def test_without_an_answer_there_is_no_figure_and_the_columns_are_named(alice: Any, given: Any) -> None:
    text = said(turn(alice, "What did we spend?", given))
    assert "“bill.csv” is not read" in text
    assert "“Netto”, “Brutto”" in text
    assert not any(letter.isdigit() for letter in text)


def test_an_answer_holds_for_the_next_file_with_this_header_of_the_same_user(alice: Any, bob: Any) -> None:
    answer_in_thread(alice, asked(turn(alice)), {"column_2": "timestamp", "column_3": "model", **NET})
    november = BILL.replace("Okt", "Sep").replace("1.234,50", "34,50")
    assert said(turn(alice, data=november, name="next.csv")).startswith("You spent **€234.50** on 2026-09-01.")
    assert (
        asked(turn(alice, data=november.replace("Netto", "Summe"))).schema["properties"]["column_4"]["title"] == "Summe"
    )
    assert asked(turn(bob, data=november))


def test_an_unknown_table_in_an_archive_is_asked_about_unless_another_is_known(alice: Any) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("bill.csv", BILL)
    assert "1,434 if “Netto”" in asked(turn(alice, data=archive.getvalue(), name="bills.zip")).message
    assert "€1,434" in said(turn(alice, "Total?", accept(NET), data=archive.getvalue(), name="bills.zip"))
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(
            "usage.csv", "timestamp,model,input_tokens,output_tokens,cost_usd\n2026-09-01,gpt-4o,1800,240,3\n"
        )
    text = said(turn(alice, data=archive.getvalue(), name="bills.zip"))
    assert text.startswith("You spent **$3**")
    assert "bill.csv is not read" in text


@pytest.mark.parametrize("width", [2, 19, 200])
def test_a_form_about_a_table_is_within_the_limits_however_wide_it_is(width: int) -> None:
    header = [f"Spalte mit einem ziemlich langen Namen und der Nummer {number}" for number in range(width)]
    data = ",".join(header) + "\n" + "\n".join(",".join([f"{row}5.{row}"] * width) for row in range(1, 4)) + "\n"
    table = recognise(data.encode(), "wide.csv").proposal
    assert table
    schema = table_form(table, {header[0][:60] + "…": "$1"})
    assert forms.form_schema(schema) == schema
    assert encoded_size(schema) <= forms.MAX_SCHEMA
    filled = forms.form_answer(schema, {"column_1": "cost", "currency": "USD"})
    choice, problem = chosen(schema, filled)
    assert choice, problem
    assert recognise(data.encode(), "wide.csv", {table["header"]: choice}).usage
    assert json.dumps(choice)
