import asyncio
import contextvars
import dataclasses
import datetime
import json
import math
import threading
import uuid
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.sdk import tools

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=20,
)


@dataclasses.dataclass
class Row:
    name: str
    when: Any = None


@given(json_values)
def test_json_values_survive_and_are_copies(value: Any) -> None:
    copy = tools.jsonable(value, "result")
    assert json.loads(json.dumps(copy, allow_nan=False)) == value
    if isinstance(value, dict | list):
        assert copy is not value


def test_tuples_and_dataclasses_become_lists_and_objects() -> None:
    pair = namedtuple("pair", "a b")
    value = {"rows": (Row("x", Row("y")),), "pair": pair(1, 2)}
    assert tools.jsonable(value, "result") == {
        "rows": [{"name": "x", "when": {"name": "y", "when": None}}],
        "pair": [1, 2],
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"rows": [Row("a"), Row("b", datetime.datetime(2026, 1, 1))]}, r"result\.rows\[1\]\.when: datetime"),
        ([1.0, math.nan], r"result\[1\]: nan"),
        ({"a": -math.inf}, r"result\.a: -inf"),
        ({"a": {1: 2}}, r"result\.a: a key of type int"),
        ({"a": {1, 2}}, r"result\.a: set"),
        (b"bytes", "result: bytes"),
        (Row, "result: type"),
        (2**5000, "result: an integer of 5001 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_anything_else_is_a_type_error_that_names_the_place(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        tools.jsonable(value, "result")


def test_a_value_that_contains_itself_is_a_type_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="nested deeper"):
        tools.jsonable(circle, "result")


def test_text_that_cannot_be_sent_or_stored_is_replaced_everywhere() -> None:
    value = {"a\x00": ["\ud800", "ok 😀"], "b": Row("\udfff")}
    assert tools.jsonable(value, "x") == {"a\ufffd": ["\ufffd", "ok 😀"], "b": {"name": "\ufffd", "when": None}}


def test_wrong_and_missing_parameters_are_named_with_the_tool() -> None:
    def price(model: str, share: float = 1.0) -> str:
        return model

    assert tools.check(price, {"model": "x"}) == {"model": "x"}
    with pytest.raises(TypeError, match=r"price.*model"):
        tools.check(price, {})
    with pytest.raises(TypeError, match=r"price.*colour"):
        tools.check(price, {"model": "x", "colour": "red"})
    with pytest.raises(TypeError, match=r"price: parameters\.model: object"):
        tools.check(price, {"model": object()})
    with pytest.raises(TypeError, match="a tool is a function, not str"):
        tools.check("price", {})  # type: ignore[arg-type]


def test_a_plain_tool_runs_in_a_thread_with_the_callers_context() -> None:
    word = contextvars.ContextVar("word", default="unset")

    def look() -> tuple[str, bool]:
        return word.get(), threading.current_thread() is threading.main_thread()

    async def main() -> Any:
        word.set("set")
        return await tools.run(look, {})

    assert asyncio.run(main()) == ("set", False)


def test_an_async_tool_is_awaited_also_when_it_does_not_look_like_one() -> None:
    async def double(n: int) -> int:
        return 2 * n

    assert asyncio.run(tools.run(double, {"n": 2})) == 4
    assert asyncio.run(tools.run(lambda n: double(n), {"n": 3})) == 6


@pytest.mark.parametrize("kind", [StopIteration, SystemExit])
def test_a_tool_can_neither_hang_nor_end_the_worker(kind: type[BaseException]) -> None:
    def bad() -> None:
        raise kind

    async def bad_too() -> None:
        raise kind

    for tool in (bad, bad_too):
        with pytest.raises(RuntimeError):
            asyncio.run(asyncio.wait_for(tools.run(tool, {}), 10))


def test_once_marks_functions_and_methods() -> None:
    class Bank:
        @tools.once
        def pay(self) -> None: ...

        def look(self) -> None: ...

    assert tools.is_once(Bank().pay)
    assert not tools.is_once(Bank().look)


def test_a_calls_id_depends_on_all_of_the_call_and_on_nothing_else() -> None:
    run, other = uuid.uuid4(), uuid.uuid4()
    base = tools.call_id(run, ("a",), "t", {"x": 1, "y": 2}, 1)
    assert base == tools.call_id(run, ("a",), "t", {"y": 2, "x": 1}, 1)
    others = {
        tools.call_id(other, ("a",), "t", {"x": 1, "y": 2}, 1),
        tools.call_id(run, ("a", "b#1"), "t", {"x": 1, "y": 2}, 1),
        tools.call_id(run, ("a",), "u", {"x": 1, "y": 2}, 1),
        tools.call_id(run, ("a",), "t", {"x": 1, "y": 3}, 1),
        tools.call_id(run, ("a",), "t", {"x": 1, "y": 2}, 2),
    }
    assert len(others | {base}) == 6
