"""The advisor without files: prices, models, savings, and the run as its user sees it."""

import re
from typing import Any

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.advisor.actions import ordered_steps
from agents.advisor.language.lexer import named_model
from agents.advisor.language.phrases import read
from agents.advisor.optimization import bill_measures, file_measures, general_measures
from agents.advisor.request import Workload
from agents.advisor.workload import answer, token_cost
from agents.sdk import AgentError, Call, RecordingSink, accept, decline, expire
from agents.usage.figures import digits, escaped, format_value, money
from agents.usage.prices import cheaper_candidates, common_models, find_model, price_lookup
from tests.advice import ask, lead, results, started, visible

MODELS = ["gpt-4", "gpt-4o", "gpt-5", "claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-flash", "mistral-large"]
GOLDEN = "I pay $5,000 a month for GPT-4 calls, get it down by 30 %"

amounts = st.floats(0.01, 1e7)
parts = st.floats(0, 1)


# Models and prices


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ("GPT-4 calls", "gpt-4"),
        ("gpt4o", "gpt-4o"),
        ("gpt 4o mini", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("Claude 3 Opus per month", "claude-3-opus-latest"),
        ("claude 3.5 sonnet", "claude-3-5-sonnet"),
        ("Sonnet 4.5", "claude-sonnet-4-5"),
        ("gemini 1.5 pro", "gemini-1.5-pro"),
        ("o1", "o1"),
        ("gpt-5 2 million tokens", "gpt-5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
    ],
)
def test_models_are_known_as_people_write_them(words: str, model: str) -> None:
    found = read(f"We use {words}")
    assert (found.models, found.unknown_models) == ([model], [])


@pytest.mark.parametrize("name", ["gpt-9", "claude 9 opus", "gpt-4-superturbo", "Llama 3 70b", "Claude"])
def test_an_unknown_model_is_not_taken_for_another(name: str) -> None:
    found = read(f"We use {name} for $100")
    assert found.models == []
    assert found.unknown_models
    assert ask(f"We pay $100 a month for {name}, save 10%")[2]["form"]


@pytest.mark.parametrize("name", ["ada", "command", "computer", "curie", "us", "flash"])
def test_an_ordinary_word_is_no_model(name: str) -> None:
    assert named_model(name) is None


@pytest.mark.parametrize("model", MODELS)
def test_tokens_cost_what_the_library_says(model: str) -> None:
    cost = token_cost(Workload(tokens_per="day", input_tokens=3e6, output_tokens=1e6), model)
    assert cost.price is not None
    # A small request, as long prompts have rates of their own; a thousandth of the tokens, a thousandth of the price.
    usage = genai_prices.Usage(input_tokens=3000, output_tokens=1000)
    price = genai_prices.calc_price(usage, model, provider_id=cost.price["vendor"])
    assert cost.total == pytest.approx(float(price.total_price) * 1000)


def test_cached_tokens_batches_and_long_prompts_have_their_own_rates() -> None:
    cached = token_cost(Workload(tokens_per="day", input_tokens=4e6, output_tokens=1e6, cached=50), "gpt-4o")
    usage = genai_prices.Usage(input_tokens=4000, cache_read_tokens=2000, output_tokens=1000)
    assert cached.total == pytest.approx(float(genai_prices.calc_price(usage, "gpt-4o").total_price) * 1000)
    long = token_cost(Workload(tokens_per="request", input_tokens=3e5, output_tokens=1e5), "gpt-5.5")
    usage = genai_prices.Usage(input_tokens=300_000, output_tokens=100_000)
    assert long.total == pytest.approx(float(genai_prices.calc_price(usage, "gpt-5.5").total_price))
    batch = token_cost(Workload(tokens_per="day", input_tokens=1e6, output_tokens=1e6, batched=100), "gpt-4o")
    assert batch.total == pytest.approx((2.5 + 10) / 2)


@given(st.sampled_from(MODELS), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 100), st.floats(0, 100))
def test_cache_and_batch_never_cost_more_and_tokens_never_less(
    model: str, inputs: float, outputs: float, cached: float, batched: float
) -> None:
    plain = token_cost(Workload(tokens_per="day", input_tokens=inputs, output_tokens=outputs), model)
    less = token_cost(
        Workload(tokens_per="day", input_tokens=inputs, output_tokens=outputs, cached=cached, batched=batched), model
    )
    more = token_cost(Workload(tokens_per="day", input_tokens=inputs + 1e6, output_tokens=outputs), model)
    assert 0 <= less.total <= plain.total * (1 + 1e-9)
    assert plain.total < more.total


def test_only_models_that_are_sold_for_text_are_candidates() -> None:
    for model in MODELS:
        price = price_lookup(model)
        for one in cheaper_candidates(price, 100_000, None):
            assert one["cache_read"] is not None
            assert one["input"] <= price["input"]
            assert one["output"] <= price["output"]
            assert (one["context_window"] or 0) >= 100_000
            assert not {"image", "audio", "tts", "realtime", "preview"} & set(one["model"].split("-"))


def test_a_batch_price_that_the_list_lacks_is_assumed_only_where_a_vendor_publishes_one() -> None:
    listed, assumed, none = price_lookup("gpt-4"), price_lookup("claude-3-opus-latest"), price_lookup("deepseek-chat")
    assert (listed["batch_input"], listed["batch_listed"]) == (15, True)
    assert (assumed["batch_input"], assumed["batch_listed"]) == (assumed["input"] / 2, False)
    assert (none["batch_input"], none["batch_listed"]) == (None, False)


def test_an_unknown_model_has_no_price() -> None:
    assert find_model("gpt-9") is None
    with pytest.raises(AgentError, match="gpt-9"):
        price_lookup("gpt-9")


def test_common_models_are_the_newest_of_their_families_and_current() -> None:
    for vendor in ("openai", "anthropic", "google"):
        names = common_models(vendor)
        assert 2 <= len(names) <= 12
        assert all(price_lookup(name)["vendor"] == vendor for name in names)


# Savings


@given(st.sampled_from(MODELS), amounts)
def test_measures_on_a_bill_are_ranges_within_the_part_that_they_are_of(model: str, spend: float) -> None:
    for one in bill_measures(spend, "USD", [model], " a month"):
        assert 0 <= one["low"] <= one["high"] <= spend / 10 * (1 + 1e-9)
        assert not one["proven"], "a bill proves nothing"
        assert one["text"].startswith("If ")
        assert one["measure"]


rows = st.fixed_dictionaries(
    {
        "model": st.just("m"), "priced_as": st.sampled_from(MODELS), "rows": st.integers(1, 10**6),
        "cost": amounts, "list_usd": amounts, "input": st.integers(1, 10**9), "cached": st.integers(0, 10**9),
        "output": st.integers(0, 10**9), "batch_cost": parts, "failed": st.integers(1, 100), "failed_cost": parts,
    }
)  # fmt: skip


@given(st.lists(rows, max_size=4), st.booleans())
def test_only_what_rows_show_is_proven_and_none_saves_more_than_is_paid(found: list[Any], cached: bool) -> None:
    measures = file_measures(found, "USD", cached)
    assert {one["lever"] for one in measures if one["proven"]} <= {"failures"}
    assert all(one["rows"] for one in measures)
    for one in measures:
        assert 0 <= one["low"] <= one["high"]
    assert len(ordered_steps(measures)) == len({one["lever"] for one in measures})


def test_a_file_that_is_all_batch_has_no_measure_for_batch() -> None:
    row = {
        "model": "m", "priced_as": "gpt-4o", "rows": 5, "cost": 10.0, "list_usd": 10.0, "input": 1000, "cached": 0,
        "output": 100, "batch_cost": 10.0, "failed": 0, "failed_cost": 0.0,
    }  # fmt: skip
    assert "batch" not in {one["lever"] for one in file_measures([row], "USD", True)}
    assert "batch" in {one["lever"] for one in file_measures([{**row, "batch_cost": 0.0}], "USD", True)}


def test_levers_are_worth_what_the_price_list_says() -> None:
    for one in general_measures():
        assert 0 < one["low"] <= one["high"] < 1000


def test_savings_come_only_where_they_are_asked_for() -> None:
    answer, _, result = ask("gpt-4o, 50k requests a month, 2k in, 400 out")
    assert result["measures"] == []
    assert "If 10 %" not in answer


# Writing


@given(st.floats(1e-6, 1e12))
def test_an_amount_is_written_within_a_thousandth(value: float) -> None:
    text = money(value, "USD")
    assert text.startswith("$")
    assert float(text[1:].replace(",", "")) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (5000, "USD", "$5,000"), (123.4, "USD", "$123.40"), (0.0042, "USD", "$0.0042"), (1280, "EUR", "€1,280"),
        (12, "CHF", "CHF 12"), (600, "", "600"), (12.34, "%", "12.3 %"), (3, "requests", "3 requests"),
        (-5, "USD", "-$5"),
    ],
)  # fmt: skip
def test_figures_are_written_with_their_unit(value: float, unit: str, text: str) -> None:
    assert (money(value, unit) if unit == "" else format_value(value, unit)) == text
    assert digits(0) == "0"


@given(st.text(max_size=200))
def test_escaped_text_is_one_short_line_without_markup(text: str) -> None:
    found = escaped(text)
    assert "\n" not in found
    assert len(found) <= 130
    for mark in "`*[]<>|#":
        assert found.count(mark) == found.count("\\" + mark)


# The run


def test_the_golden_question() -> None:
    answer, sink, result = ask(GOLDEN)
    assert lead(answer).startswith("**$1,500** a month has to go to get from $5,000 to $3,500")
    assert started(sink) == ["triage", "data", "optimization", "actions", "reporting"]
    assert {one["id"]: one["value"] for one in result["figures"]} == {
        "spend": 5000, "saving": 1500, "rest": 3500, "share": 30, "year": 18000,
    }  # fmt: skip
    assert [chip["field"] for chip in result["chips"]] == ["models", "spend", "spend_per", "currency", "saving"]
    assert result["request"]["models"] == "gpt-4"
    assert "If 10 % of it could be sent as batch: about $250 a month." in visible(answer)


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        (GOLDEN, {"figure": "saving", "before": "spend", "after": "rest", "beside": ["share", "year"]}),
        ("gpt-4o, 50k requests a month, 2k in, 400 out", {"figure": "month", "beside": ["each", "day"]}),
        (
            "Compare gpt-4o and claude-sonnet-4-5 for 1000 requests a day with 1000 input and 100 output tokens",
            {"figure": "month_1", "beside": ["month_2"]},
        ),
        (
            "1,000 requests a day, 1,000 input and 100 output tokens each on gpt-4o, 50 % cached, what a month?",
            {"figure": "month", "before": "plain_month", "after": "month", "beside": ["each", "day"]},
        ),
        (
            "We pay $100 a month for gpt-4o, traffic doubles",
            {"figure": "after", "before": "spend", "after": "after", "beside": []},
        ),
        ("Optimize my AI costs", None),
    ],
)
def test_verdict_is_the_figure_of_the_first_sentence(question: str, verdict: dict[str, Any] | None) -> None:
    answer, _, result = ask(question)
    assert result["verdict"] == verdict
    if verdict:
        figures = {one["id"]: one["text"] for one in result["figures"]}
        assert f"**{figures[verdict['figure']]}**" in lead(answer)


def test_every_figure_has_its_formula_and_price() -> None:
    for figure in ask("gpt-4o, 50k requests a month, 2k in, 400 out")[2]["figures"]:
        assert figure["formula"]
        assert figure["prices"][0].startswith("gpt-4o: $2.50 in, $10 out per million tokens, 20")


def test_each_chip_has_the_form_that_changes_it() -> None:
    result = ask("gpt-4o, 50k requests a month, 2k in, 400 out")[2]
    for chip in result["chips"]:
        assert chip["schema"]["title"]
        assert chip["schema"]["default"] == result["request"][chip["field"]]
    changed = Workload(**{**result["request"], "requests": 100_000.0})
    assert "**$900**" in answer(changed).headline


@pytest.mark.parametrize(
    ("text", "agents"),
    [
        ("hello", ["triage"]),
        ("we pay $500 a month", ["triage"]),
        ("what is the price of gpt-4o?", ["triage", "data", "reporting"]),
        ("Optimize my AI costs", ["triage", "data", "optimization", "reporting"]),
        (GOLDEN, ["triage", "data", "optimization", "actions", "reporting"]),
    ],
)
def test_the_pipeline_fits_the_question_and_the_five_events_come_in_order(text: str, agents: list[str]) -> None:
    _, sink, _ = ask(text)
    assert started(sink) == agents
    types = [event["type"] for event in sink]
    assert types.index("agent_thinking") < types.index("tool_executing") < types.index("tool_completed")
    assert all(event["summary"] for event in sink if event["type"] == "subagent_completed")
    calls = [event["tool_call_id"] for event in sink if event["type"] == "tool_executing"]
    assert sorted(calls) == sorted(event["tool_call_id"] for event in sink if event["type"] == "tool_completed")


def test_the_thread_is_remembered() -> None:
    answer, _, _ = ask("cut it by 40%", earlier=("I pay $5,000 a month for GPT-4",))
    assert "**$2,000** a month has to go" in lead(answer)
    answer, _, _ = ask("and on gpt-4.1?", earlier=("gpt-4o, 50k requests a month, 2k in, 400 out",))
    assert "**$360** a month on gpt-4.1" in lead(answer)
    answer, _, _ = ask("what is that per year?", earlier=("gpt-4o, 50k requests a month, 2k in, 400 out",))
    assert "**$5,400** a year" in lead(answer)
    answer, _, _ = ask("what is the price of gpt-5?", earlier=("gpt-4o, 50k requests a month, 2k in, 400 out",))
    assert "gpt-5 costs **$1.25**" in lead(answer)


def test_what_an_earlier_message_left_open_stays_open() -> None:
    _, _, result = ask("what is that per year?", earlier=("We pay $8,000 a month for GPT-4o, 60% is classification.",))
    assert "60%" in result["form"]["message"]


def test_another_currency_is_converted_only_at_a_rate_that_the_user_gives() -> None:
    earlier = ("I pay $5,000 a month for GPT-4, save 10%",)
    _, _, result = ask("in euros please", earlier=earlier)
    assert "rate" in result["form"]["schema"]["required"]


@pytest.mark.parametrize(("tool", "name"), [("workload_figures", "data"), ("bill_measures", "optimization")])
def test_a_failing_subagent_is_named_and_the_rest_goes_on(tool: str, name: str) -> None:
    class Failing(RecordingSink):
        async def emit(self, event: dict[str, Any]) -> None:
            if event.get("tool_name") == tool:
                raise ConnectionError("secret")
            await super().emit(event)

    said, sink, _ = ask(GOLDEN, sink=Failing())
    assert f"{name}: an internal error" in said
    assert "secret" not in said
    [failed] = [event for event in sink if event["type"] == "subagent_completed" and event["agent_name"] == name]
    assert failed["summary"] == f"{name} failed with an internal error"


def test_a_second_attempt_reuses_every_call_and_answers_the_same() -> None:
    said, sink, result = ask(GOLDEN)
    done = {e["tool_call_id"]: Call(True, e["result"]) for e in sink if e["type"] == "tool_completed"}
    again, events, result_again = ask(GOLDEN, calls=done, attempt=2)
    assert (again, result_again) == (said, result)
    assert all(event["reused"] for event in events if event["type"] == "tool_completed")


def test_a_long_message_is_asked_about_and_stays_small_in_its_events() -> None:
    said, sink, result = ask("I pay $5,000 a month for GPT-4, save 30%. " + "x" * 60_000)
    assert "only the first 20,000 characters were read" in said
    assert result["form"]
    assert all(len(str(event)) < 30_000 for event in sink)


def test_what_a_user_writes_cannot_break_the_answers_markup() -> None:
    said, _, _ = ask("$5,000 a month for GPT-4, 60% of it is `<b>|evil|</b>` [x](javascript:1), €5`|x, save 5 <i>%")
    assert "<b>" not in said
    assert "javascript" not in said


def test_every_dollar_of_an_answer_is_in_the_result_of_a_tool() -> None:
    said, sink, _ = ask(GOLDEN)
    told = str([event["result"] for event in sink if event["type"] == "tool_completed"])
    for one in re.findall(r"\$[\d,.]*\d", said):
        assert one in told, one
    assert results(sink, "workload_figures")


def test_an_answered_form_is_worked_out_and_a_declined_one_is_not() -> None:
    text = "gpt-4o, 50k requests a month"
    values = {"input_tokens": 2000, "output_tokens": 400, "tokens_per": "request"}
    said, _, result = ask(text, answers=[accept(values)])
    assert "**$450** a month" in lead(said)
    assert result["request"]["input_tokens"] == 2000
    said, _, result = ask(text, answers=[accept({**values, "requests_by": "user"}), accept({"users": 10})])
    assert "**$4,500** a month" in lead(said)
    for answer_ in (decline("no"), expire()):
        said, _, _ = ask(text, answers=[answer_])
        assert "$" not in said
        assert said
