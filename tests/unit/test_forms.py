"""Forms: schemas and answers. The page's forms.js passes the same table of cases."""

import json
from pathlib import Path

import pytest

from chat.protocol import ProtocolError, forms

CASES = json.loads((Path(__file__).resolve().parents[1] / "forms.json").read_text())


@pytest.mark.parametrize("case", CASES["schemas"], ids=lambda case: json.dumps(case["schema"])[:60])
def test_a_schema_is_a_form_s_or_its_place_is_named(case):
    if "place" not in case:
        assert forms.form_schema(case["schema"])["type"] == "object"
        return
    with pytest.raises(TypeError) as error:
        forms.form_schema(case["schema"])
    assert str(error.value).startswith(f"{case['place']}: ")


@pytest.mark.parametrize("case", CASES["answers"], ids=lambda case: json.dumps(case)[:60])
def test_an_answer_gives_values_or_names_the_field(case):
    schema = forms.form_schema(case.get("schema", case.get("property")))
    if "values" in case:
        answer = forms.form_answer(schema, case["content"])
        assert answer == case["values"]
        assert list(answer) == list(case["values"])
        return
    with pytest.raises(ProtocolError) as error:
        forms.form_answer(schema, case["content"])
    assert error.value.code == "invalid_message"
    assert (error.value.field, error.value.message) == (case["field"], f"{case['field']} {case['message']}")


def test_a_form_is_bounded():
    many = {str(number): {"type": "string"} for number in range(21)}
    with pytest.raises(TypeError, match="at most 20"):
        forms.form_schema({"type": "object", "properties": many})
    with pytest.raises(TypeError, match="1 to 200"):
        forms.form_schema({"type": "string", "enum": [str(number) for number in range(201)]})
    with pytest.raises(TypeError, match="at most 16384"):
        forms.form_schema({"type": "string", "description": "x" * 17_000})
    with pytest.raises(TypeError, match="must be JSON"):
        forms.form_schema({"type": "object", "properties": {"a": {"type": "string", "description": "\ud800"}}})
    with pytest.raises(ProtocolError, match="at most 32768 bytes"):
        forms.form_answer(forms.form_schema(None), "x" * 33_000)


NO_JSON = {"infinity": float("inf"), "nan": float("nan"), "surrogate": "\ud800", "set": {1}, "digits": 10**5000}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_an_answer_that_no_client_can_send_names_its_place_too(content):
    with pytest.raises(ProtocolError, match="content must be JSON"):
        forms.form_answer(forms.form_schema(None), content)


@pytest.mark.parametrize(
    ("format", "text"),
    [("uri", "http://" + "a" * 30_000 + " "), ("email", "a" * 15_000 + "@" + "b." * 8_000), ("date", "2" * 32_000)],
)
def test_a_long_text_that_almost_fits_is_refused_in_linear_time(format, text):
    with pytest.raises(ProtocolError, match=r"content\.value must be"):
        forms.form_answer(forms.form_schema({"type": "string", "format": format}), text)


def test_a_form_without_a_schema_asks_for_a_text():
    assert forms.form_answer(forms.form_schema(None), "words") == {"value": "words"}
