import asyncio
import math
from typing import Any

import genai_prices
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.advisor import advisor
from agents.advisor.actions import order_actions
from agents.advisor.case import Shares
from agents.advisor.data import capacity, cost_breakdown
from agents.advisor.markdown import dollars
from agents.advisor.optimization import ASSUMED, compare_models, savings_plan
from agents.advisor.prices import cheaper_candidates, find_model, price_lookup
from agents.advisor.reader import MAX_TEXT, read_figures
from agents.advisor.reporting import add_up
from agents.agent import AgentError, Call, Message, Record, Turn

MODELS = ["gpt-4", "gpt-4o", "gpt-4o-mini", "gpt-5", "claude-3-opus-latest", "claude-sonnet-4-5", "gemini-2.5-pro"]
MODELS += ["deepseek-chat", "mistral-large-2512", "gpt-5-nano", "command-r"]
WORDS = (
    "$ € % 5 1,000 0.5 1e9 - to from by save per month a year tokens input output requests gpt-4 claude 3 opus s ms x "
    "cheaper half 60% of it is cached batch . , ; / : NaN inf ٣ ½ 10^9 budget ¤"
)
EVEN = {"batch": 0.0, "tier": 0.0, "reuse": 0.0, "repeat": 0.0, "trim": 0.0, "hit": 1.0}

parts = st.floats(0, 1)
amounts = st.floats(0.01, 1e9)
shares = st.fixed_dictionaries(dict.fromkeys(Shares.__annotations__, parts))


def ask(text: str, **given: Any) -> tuple[str, Record, Any]:
    sink = Record()
    turn = Turn(text=text, sink=sink, agent_name="advisor", **given)
    result = asyncio.run(advisor(turn))
    return turn.said, sink, result


def section(answer: str, title: str) -> str:
    return answer.partition(f"## {title}")[2].partition("\n## ")[0]


# What a message says


@pytest.mark.parametrize(
    ("text", "monthly", "period"),
    [
        ("I pay $5,000 a month", 5000, "month"),
        ("5k/month for gpt-4", 5000, "month"),
        ("$60k per year", 5000, "year"),
        ("about $1.2m annually", 100_000, "year"),
        ("USD 300 per day", 9125, "day"),
        ("our weekly bill is $1,200", 1200 * 365 / 84, "week"),
        ("$15k a quarter", 5000, "quarter"),
        ("$5.000 monthly", 5000, "month"),
        ("$1,234.50", 1234.5, "month"),
        ("we are paying 5000 for gpt-4", 5000, "month"),
        ("2,500 dollars", 2500, "month"),
        ("$5 000 a month", 5000, "month"),
        ("＄５０００ a month", 5000, "month"),
        ("It costs us $0.5 a month", 0.5, "month"),
        ("We pay $3,000-$5,000 a month", 4000, "month"),
        ("it jumped to $9,000 a month", 9000, "month"),
        ("rose from $4,000 to $9,000 a month", 9000, "month"),
        ("our budget is $700", 700, "month"),
        ("it comes to $800 a month", 800, "month"),
        ("$300/day at 100k requests per day", 9125, "day"),
    ],
)
def test_a_spend_is_read_as_dollars_a_month(text: str, monthly: float, period: str) -> None:
    [spend] = read_figures(text, [])["spends"]
    assert spend["usd_per_month"] == pytest.approx(monthly)
    assert spend["period"] == period


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("$5,000 a month, get it down by 30 %", "percent", 0.3),
        ("$5,000 a month, reduce costs by at least 30 percent", "percent", 0.3),
        ("$5,000 a month. I want it 40% cheaper", "percent", 0.4),
        ("$5,000 a month, cut it in half", "percent", 0.5),
        ("$5,000 a month. I want ４０％ less", "percent", 0.4),
        ("$5,000 a month, cut it by a third", "percent", 0.3333),
        ("$5,000 a month, make it 4x cheaper", "percent", 0.75),
        ("$5,000 a month, cut to $3,000", "ceiling", 3000),
        ("from $5,000 to $3,000 a month", "ceiling", 3000),
        ("$5,000 a month and must stay under $36k a year", "ceiling", 3000),
        ("$5,000 a month, our budget is $4,000", "ceiling", 4000),
        ("$5,000 a month, save $1,500", "saving", 1500),
    ],
)
def test_a_goal_is_told_from_the_spend(text: str, kind: str, value: float) -> None:
    figures = read_figures(text, [])
    assert [spend["usd_per_month"] for spend in figures["spends"]] == [5000]
    assert figures["goal"] is not None
    assert figures["goal"]["kind"] == kind
    assert figures["goal"]["value"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ("GPT-4 calls", "gpt-4"),
        ("GPT-4-based bots", "gpt-4"),
        ("gpt4o", "gpt-4o"),
        ("gpt 4o mini", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("Claude 3 Opus per month", "claude-3-opus-latest"),
        ("claude 3.5 sonnet", "claude-3-5-sonnet"),
        ("Sonnet 4.5", "claude-sonnet-4-5"),
        ("gemini 1.5 pro", "gemini-1.5-pro"),
        ("command r+ and more", "command-r-plus"),
        ("o1", "o1"),
    ],
)
def test_models_are_known_as_people_write_them(words: str, model: str) -> None:
    figures = read_figures(f"We use {words}", [])
    assert (figures["current"], figures["unknown"]) == ([model], [])


@pytest.mark.parametrize("name", ["gpt-9", "claude 9 opus", "gpt-4-superturbo", "Llama 3 70b"])
def test_an_unknown_model_is_not_taken_for_another(name: str) -> None:
    figures = read_figures(f"We use {name} for $100", [])
    assert figures["current"] == []
    assert [unknown["words"] for unknown in figures["unknown"]] == [name]


def test_models_that_are_used_are_told_from_those_asked_about() -> None:
    figures = read_figures("We pay $100 for gpt-4 and gpt-4o, what about claude 3 opus or o1-pro?", [])
    assert (figures["current"], figures["asked"]) == (["gpt-4", "gpt-4o"], ["claude-3-opus-latest", "o1-pro"])
    figures = read_figures("move some of it to gpt-4o-mini, we pay $100 for gpt-4o", [])
    assert (figures["current"], figures["asked"]) == (["gpt-4o"], ["gpt-4o-mini"])
    assert read_figures("what about o3?", [])["current"] == ["o3"]


def test_tokens_requests_and_times_are_read() -> None:
    figures = read_figures(
        "2 million requests a day, 1,500 input / 300 output tokens per request, p95 is 4.5 s, target under 900 ms", []
    )
    assert figures["requests_per_month"] == pytest.approx(2e6 * 365 / 12)
    assert (figures["input_per_request"], figures["output_per_request"]) == (1500, 300)
    assert (figures["latency"], figures["latency_goal"]) == (4.5, 0.9)
    totals = read_figures("10M input tokens and 2M output tokens a week", [])
    assert totals["input_per_month"] == 10e6
    assert totals["output_per_month"] == pytest.approx(2e6 * 365 / 84)
    assert read_figures("prompts of 700 tokens, answers of 50 tokens", [])["output_per_request"] == 50
    assert read_figures("an input:output ratio of 4:1", [])["input_per_output"] == 4
    crowd = read_figures("$2k a month, 10,000 users, 6 requests per user per year, gpt-4o", [])
    assert crowd["requests_per_month"] == pytest.approx(5000)


def test_shares_are_told_apart() -> None:
    figures = read_figures(
        "60% of it is support tickets, 40% is cached, 20% can wait overnight; 30% of the prompt repeats, "
        "15% of requests are simple, growing by 10%. 70% gpt-4, 30% gpt-4o",
        [],
    )
    assert [(share["kind"], share["share"], share["label"]) for share in figures["shares"]] == [
        ("workload", 0.6, "support tickets"),
        ("cached", 0.4, "cached"),
        ("batch", 0.2, "can wait overnight"),
        ("repeated", 0.3, "of the prompt repeats"),
        ("simple", 0.15, "simple"),
        ("model", 0.7, "gpt-4"),
        ("model", 0.3, "gpt-4o"),
    ]
    for text in (
        "move 80% of requests to gpt-4o",
        "4/5 of the requests could go to gpt-4o",
        "go from o1 to o3 for 80%",
    ):
        assert [(share["kind"], share["share"]) for share in read_figures(text, [])["shares"]] == [("simple", 0.8)]
    assert figures["growth"] == pytest.approx(1.1)
    assert figures["goal"] is None


@pytest.mark.parametrize(
    "text",
    [
        "-$500 a month",
        "$-500",
        "$1e308 a month",
        "$" + "9" * 5000,
        "150% cached",
        "save $1e308",
        "cut by 100%",
        "cut by 250 %",
    ],
)
def test_what_cannot_be_is_left_out_and_named(text: str) -> None:
    figures = read_figures(text, [])
    assert (figures["spends"], figures["goal"], figures["shares"]) == ([], None, [])
    assert len(figures["notes"]) == 1


def test_other_currencies_are_not_taken_for_dollars() -> None:
    for text in ("€4.000 a month", "4000 EUR", "£5k", "C$ 90", "100 euros a day", "¥1"):
        figures = read_figures(text, [])
        assert len(figures["foreign"]) == 1, text
        assert figures["spends"] == []


@pytest.mark.parametrize("arrow", [" → ", "→", " -> ", " => "])
def test_an_arrow_leads_to_the_goal(arrow: str) -> None:
    figures = read_figures(f"latency 3 s{arrow}1 s", [])
    assert (figures["latency"], figures["latency_goal"]) == (3, 1)
    figures = read_figures(f"spend on gpt-4o: $5k{arrow}$3k a month", [])
    assert [spend["usd_per_month"] for spend in figures["spends"]] == [5000]
    assert figures["goal"] is not None
    assert (figures["goal"]["kind"], figures["goal"]["value"]) == ("ceiling", 3000)
    figures = read_figures(f"gpt-4{arrow}gpt-4o", [])
    assert (figures["current"], figures["asked"]) == (["gpt-4"], ["gpt-4o"])


@pytest.mark.parametrize(
    "text",
    [
        "We spend $2k on gpt-4o and €500 on claude sonnet 4.5",
        "claude sonnet 4.5 costs us 500 EUR a month, gpt-4o $2,000 a month",
        "We pay $700 a month for gpt-9-ultra and $2,000 a month for gpt-4o",
    ],
)
def test_dollars_belong_to_the_model_beside_them(text: str) -> None:
    answer, _, result = ask(f"{text}. Save 10%")
    assert result["monthly_spend"] == pytest.approx(2000)
    assert "`gpt-4o` | $2,000" in section(answer, "What you pay for")
    assert "claude" not in section(answer, "What you pay for")
    assert "in none of these figures" in section(answer, "How I read your message")


@pytest.mark.parametrize(
    "piece",
    [
        "$1 ",
        "9",
        "9,",
        "gpt-",
        "claude 3 ",
        "gpt 4 foo ",
        "1%",
        "a",
        "- ",
        "$5,000 a month ",
        "to ",
        "1 000 ",
        "\ufdfa",
        "by about ",
        "\n",
        "(",
        "1:1 ",
        "half of ",
    ],
)
def test_long_hostile_text_is_read_to_its_limit(piece: str) -> None:
    figures = read_figures(piece * (60_000 // len(piece)) + "$5", [])
    assert len(figures["spends"]) <= 20
    assert len(figures["notes"]) <= 10


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(WORDS.split()),
        ),
        max_size=25,
    ).map(" ".join)
)
def test_any_text_gives_figures_that_are_finite_and_not_negative(text: str) -> None:
    figures = read_figures(text, [text])
    numbers = [spend["usd_per_month"] for spend in figures["spends"]] + [share["share"] for share in figures["shares"]]
    numbers += [value for value in figures.values() if isinstance(value, float)]
    assert all(math.isfinite(number) and number >= 0 for number in numbers)


def test_a_later_message_builds_on_earlier_ones() -> None:
    figures = read_figures("and with claude 3 opus?", ["hello", "I pay $5,000 a month for GPT-4, save 30%"])
    assert [spend["usd_per_month"] for spend in figures["spends"]] == [5000]
    assert (figures["current"], figures["asked"]) == (["gpt-4"], ["claude-3-opus-latest"])
    assert figures["goal"] is not None
    newer = read_figures("and at $8,000?", ["I pay $5,000 a month for GPT-4"])
    assert [spend["usd_per_month"] for spend in newer["spends"]] == [8000]
    assert newer["current"] == ["gpt-4"]
    assert read_figures("thank you", ["I pay $5,000 a month for GPT-4"])["spends"] == []


# Prices and arithmetic


@pytest.mark.parametrize("model", MODELS)
def test_a_breakdown_costs_what_the_library_says(model: str) -> None:
    line = cost_breakdown(model, None, 3.0, 1.0, 3.0, 0.0, None)
    # A small request, as long prompts have rates of their own; a thousandth of the tokens, a thousandth of the price.
    usage = genai_prices.Usage(input_tokens=3000, output_tokens=1000)
    price = genai_prices.calc_price(usage, model, provider_id=line["price"]["vendor"])
    assert line["monthly_spend"] == pytest.approx(float(price.total_price) * 1000)


def test_cached_tokens_and_long_prompts_have_their_own_rates() -> None:
    line = cost_breakdown("gpt-4o", None, 4.0, 1.0, 4.0, 0.5, None)
    usage = genai_prices.Usage(input_tokens=4000, cache_read_tokens=2000, output_tokens=1000)
    assert line["monthly_spend"] == pytest.approx(float(genai_prices.calc_price(usage, "gpt-4o").total_price) * 1000)
    usage = genai_prices.Usage(input_tokens=300_000, output_tokens=100_000)
    long = cost_breakdown("gpt-5.5", None, 0.3, 0.1, 3.0, 0.0, 300_000)
    assert long["monthly_spend"] == pytest.approx(float(genai_prices.calc_price(usage, "gpt-5.5").total_price))


@settings(deadline=None)
@given(st.sampled_from(MODELS), amounts, st.floats(0.01, 100), parts)
def test_the_tokens_of_a_bill_cost_the_bill(model: str, spend: float, ratio: float, cached: float) -> None:
    line = cost_breakdown(model, spend, None, None, ratio, cached, None)
    again = cost_breakdown(model, None, line["input_mtok"], line["output_mtok"], 1.0, cached, None)
    assert line["monthly_spend"] == pytest.approx(spend)
    assert again["monthly_spend"] == pytest.approx(spend)
    assert line["input_mtok"] == pytest.approx(ratio * line["output_mtok"])


@settings(deadline=None)
@given(
    st.sampled_from(MODELS), amounts, st.floats(0.01, 100), parts, shares, st.none() | parts, st.sampled_from(MODELS)
)
def test_savings_are_neither_negative_nor_counted_twice(
    model: str, spend: float, ratio: float, cached: float, chosen: Shares, goal: float | None, asked: str
) -> None:
    line = cost_breakdown(model, spend, None, None, ratio, cached, None)
    candidates = compare_models(line, [asked])
    plan = savings_plan(line, candidates, chosen, None if goal is None else goal * spend)
    saved = [saving["saving"] for saving in plan["savings"]]
    assert all(saving >= 0 for saving in saved)
    assert sum(saved) == pytest.approx(plan["monthly_saving"])
    assert plan["monthly_saving"] <= plan["monthly_spend"]
    # A saving far below a bill is the difference of two sums of its size.
    assert plan["monthly_saving"] <= sum(saving["alone"] for saving in plan["savings"]) + spend * 1e-12
    totals = add_up([plan], order_actions([plan], [line], None, "USD"))
    assert totals["monthly_after"] >= 0
    assert totals["monthly_saving"] + totals["monthly_after"] == pytest.approx(spend)


@settings(deadline=None)
@given(st.sampled_from(MODELS), amounts, st.floats(0.5, 0.99))
def test_what_is_said_to_be_needed_reaches_the_goal(model: str, spend: float, goal: float) -> None:
    line = cost_breakdown(model, spend, None, None, 3.0, 0.0, None)
    candidates = compare_models(line, [])
    plan = savings_plan(line, candidates, ASSUMED, goal * spend)
    need = plan["need"]
    assume(need is not None)
    assert need is not None
    assert 0 < need["move"] <= 1
    target = [one for one in candidates if one["price"]["model"] == need["model"]]
    enough = savings_plan(line, target, {**ASSUMED, "move": need["move"]}, None)
    assert enough["monthly_saving"] == pytest.approx(goal * spend)


@settings(deadline=None)
@given(st.sampled_from(MODELS), amounts, st.floats(0.01, 100))
def test_candidates_are_cheaper_and_cost_their_tokens(model: str, spend: float, ratio: float) -> None:
    line = cost_breakdown(model, spend, None, None, ratio, 0.0, None)
    for one in compare_models(line, []):
        price = one["price"]
        cost = line["input_mtok"] * price["input"] + line["output_mtok"] * price["output"]
        assert one["monthly_cost"] == pytest.approx(cost)
        assert one["monthly_cost"] <= spend * 2 / 3 * (1 + 1e-9)
        assert price["model"] != model
        assert price["cache_read"] is not None


def test_only_models_that_are_sold_for_text_are_candidates() -> None:
    for model in MODELS:
        price = price_lookup(model)
        for one in cheaper_candidates(price, 100_000, None):
            assert one["cache_read"] is not None
            assert one["input"] <= price["input"]
            assert one["output"] <= price["output"]
            assert (one["context_window"] or 0) >= 100_000
            assert not {"image", "audio", "tts", "realtime", "preview"} & set(one["model"].split("-"))


def test_moving_everything_saves_the_difference_and_half_of_it_half() -> None:
    line = cost_breakdown("gpt-4", 5000, None, None, 3.0, 0.0, None)
    [target] = [one for one in compare_models(line, ["gpt-4o"]) if one["asked"]]
    assert target["monthly_cost"] == pytest.approx(100 * 2.5 + 100 / 3 * 10)
    whole = savings_plan(line, [target], {**EVEN, "move": 1.0}, None)  # type: ignore[typeddict-item]
    half = savings_plan(line, [target], {**EVEN, "move": 0.5}, None)  # type: ignore[typeddict-item]
    assert whole["monthly_saving"] == pytest.approx(5000 - target["monthly_cost"])
    assert half["monthly_saving"] == pytest.approx(whole["monthly_saving"] / 2)


@pytest.mark.parametrize(
    ("model", "asked", "ratio"), [("mistral-large", "gpt-5", 20.0), ("gpt-5", "mistral-large", 0.1)]
)
def test_a_model_that_is_dearer_on_one_side_is_no_target(model: str, asked: str, ratio: float) -> None:
    line = cost_breakdown(model, 1000, None, None, ratio, 0.0, None)
    candidates = compare_models(line, [asked])
    assert candidates[0]["monthly_saving"] > 0
    assert savings_plan(line, candidates, ASSUMED, None)["target"] not in (asked, None)


def test_each_lever_alone_is_worth_what_its_price_says() -> None:
    line = cost_breakdown("claude-sonnet-4-5", 800, None, None, 4.0, 0.0, None)
    price = line["price"]
    chosen: Shares = {"move": 0.0, "batch": 0.3, "tier": 0.2, "reuse": 0.25, "repeat": 0.5, "trim": 0.1, "hit": 0.8}
    alone = {saving["lever"]: saving["alone"] for saving in savings_plan(line, [], chosen, None)["savings"]}
    assert price["cache_read"] is not None
    assert price["cache_write"] is not None
    repeated = 0.8 * price["cache_read"] + 0.2 * price["cache_write"]
    assert alone["cache"] == pytest.approx(line["input_mtok"] * 0.5 * (price["input"] - repeated))
    assert alone["batch"] == pytest.approx(800 * 0.3 / 2)
    assert alone["trim"] == pytest.approx(line["input_usd"] * 0.1)
    assert alone["reuse"] == pytest.approx(800 * 0.25)
    assert not {"move", "tier"} & set(alone), "there is no target, and the list has no flex price of this model"
    line = cost_breakdown("gpt-5", 800, None, None, 4.0, 0.0, None)
    assert (line["price"]["flex_input"], line["price"]["flex_output"]) == (0.625, 5)
    alone = {saving["lever"]: saving["alone"] for saving in savings_plan(line, [], chosen, None)["savings"]}
    assert alone["tier"] == pytest.approx(800 * 0.2 / 2)


def test_a_batch_price_that_the_list_lacks_is_assumed_only_where_a_vendor_publishes_one() -> None:
    listed, assumed, none = price_lookup("gpt-4"), price_lookup("claude-3-opus-latest"), price_lookup("deepseek-chat")
    assert (listed["batch_input"], listed["batch_listed"]) == (15, True)
    assert (assumed["batch_input"], assumed["batch_listed"]) == (assumed["input"] / 2, False)
    assert (none["batch_input"], none["batch_listed"]) == (None, False)


def test_an_unknown_model_has_no_price() -> None:
    assert find_model("gpt-9") is None
    with pytest.raises(AgentError, match="gpt-9"):
        price_lookup("gpt-9")


def test_capacity_is_rate_times_time() -> None:
    load = capacity(2_628_000, 3.0, 1.0, 300, 4.0)
    assert load == {
        "requests_per_second": pytest.approx(1),
        "in_flight": pytest.approx(3),
        "in_flight_after_growth": pytest.approx(12),
        "tokens_per_second": 100,
        "latency_cut": pytest.approx(2 / 3),
        "answer_tokens_at_goal": 100,
    }
    assert set(capacity(None, None, None, None, 1.0).values()) == {None}


def test_totals_that_do_not_add_up_are_refused() -> None:
    line = cost_breakdown("gpt-4", 5000, None, None, 3.0, 0.0, None)
    plan = savings_plan(line, [], ASSUMED, None)
    steps = order_actions([plan], [line], None, "USD")
    assert add_up([plan], steps)["monthly_saving"] == plan["monthly_saving"]
    with pytest.raises(AgentError):
        add_up([{**plan, "monthly_saving": 6000}], [])
    with pytest.raises(AgentError):
        add_up([plan], steps[:-1])


@pytest.mark.parametrize(
    ("amount", "text"),
    [(5000, "$5,000"), (0, "$0"), (12.345, "$12.35"), (0.0042, "$0.0042"), (1234567.8, "$1,234,568")],
)
def test_dollars(amount: float, text: str) -> None:
    assert dollars(amount) == text


# The whole agent


def test_the_golden_question() -> None:
    answer, sink, result = ask("I pay $5,000 a month for GPT-4 calls, get it down by 30 %")
    types = [event["type"] for event in sink]
    assert (sink[0]["type"], sink[0]["agent_name"]) == ("agent_thinking", "advisor")
    assert types.index("agent_thinking") < types.index("tool_executing") < types.index("tool_completed")
    assert types.index("tool_completed") < types.index("agent_delta")
    assert {event["agent_name"] for event in sink if event["type"] == "agent_delta"} == {"reporting"}
    names = ["triage", "data", "optimization", "actions", "reporting"]
    assert [event["agent_name"] for event in sink if event["type"] == "agent_started"] == names
    assert [event["agent_name"] for event in sink if event["type"] == "subagent_completed"] == names
    assert all(event["summary"] for event in sink if event["type"] == "subagent_completed")
    assert all(event["success"] for event in sink if event["type"] == "tool_completed")
    # GPT-4 costs 30 and 60 dollars a million tokens: at 3 to 1 that is 100 million in and 33.3 million out.
    assert "| `gpt-4` | $5,000 | 100 million: $3,000 | 33.3 million: $2,000 | $30 / $60 |" in answer
    assert result["monthly_spend"] == 5000
    assert 1500 <= result["monthly_saving"] < 5000
    assert result["monthly_after"] == pytest.approx(5000 - result["monthly_saving"])
    assert result["yearly_saving"] == pytest.approx(12 * result["monthly_saving"])
    assert f"You can save about {dollars(result['monthly_saving'])} a month" in answer
    assert "**Reached**: $1,500 a month" in section(answer, "Your goal")
    assert "This reaches your goal" in section(answer, "Steps")
    assert "3 input tokens for each output token" in section(answer, "Assumptions")
    assert "genai-prices" in section(answer, "Where the numbers come from")


def test_other_numbers_in_other_numbers_out() -> None:
    _, _, once = ask("I pay $5,000 a month for GPT-4")
    _, _, twice = ask("I pay $10,000 a month for GPT-4")
    _, _, other_model = ask("I pay $5,000 a month for gpt-4o-mini")
    _, _, more_moved = ask("I pay $5,000 a month for GPT-4, 90% of it is classification")
    _, _, more_batch = ask("I pay $5,000 a month for GPT-4, 80% can wait overnight")
    assert twice["monthly_saving"] == pytest.approx(2 * once["monthly_saving"])
    assert len({result["monthly_saving"] for result in (once, other_model, more_moved, more_batch)}) == 4
    assert more_moved["monthly_saving"] > once["monthly_saving"]
    assert more_batch["monthly_saving"] > once["monthly_saving"]


def test_a_bill_is_worked_out_from_requests_and_tokens() -> None:
    answer, _, result = ask("2 million requests a month, 800 input / 200 output tokens per request, on gpt-4o")
    assert result["monthly_spend"] == pytest.approx(2 * 800 * 2.5 + 2 * 200 * 10)
    assert "too short to be cached" in section(answer, "Assumptions")
    assert "Prompt caching" not in section(answer, "What saves how much")
    answer, _, _ = ask("$5,000 a month on gpt-4o, 40% is cached")
    assert "40% of the input is cached already" in section(answer, "Assumptions")
    assert "Prompt caching" not in section(answer, "What saves how much")
    _, _, unit = ask("$0.05 per request and 100k requests a month on gpt-4")
    assert unit["monthly_spend"] == pytest.approx(5000)


def test_a_bill_and_tokens_that_do_not_fit_are_named() -> None:
    answer, _, result = ask("$5,000 a month, 1 million requests, 1000 input / 100 output tokens per request, gpt-4o")
    assert result["monthly_spend"] == pytest.approx(5000)
    assert "cost $3,500 a month at list prices, not $5,000" in answer


def test_several_models_share_a_bill() -> None:
    answer, sink, result = ask("$10k a month: 70% GPT-4, 30% GPT-4o-mini, save $2,000")
    goals = [e["parameters"]["goal_saving"] for e in sink if e.get("tool_name") == "savings_plan" and "parameters" in e]
    assert sorted(goals) == pytest.approx([600, 1400])
    assert result["monthly_spend"] == pytest.approx(10_000)
    assert "| `gpt-4` | $7,000 |" in answer
    assert "| `gpt-4o-mini` | $3,000 |" in answer
    answer, _, _ = ask("I pay $5,000 for GPT-4 and $2,000 for Claude 3 Opus per month")
    assert "| `claude-3-opus-latest` | $2,000 |" in answer
    _, _, result = ask("We pay $8,000 a month in total, $5,000 on GPT-4 and $3,000 for Claude 3 Opus")
    assert result["monthly_spend"] == pytest.approx(8000)
    _, _, result = ask("GPT-4: $5k, Claude 3 Opus: $3k, Gemini 1.5 Pro: $2k")
    assert result["monthly_spend"] == pytest.approx(10_000)
    answer, _, _ = ask("$10k a month: 70% on GPT-4, the rest on GPT-4o-mini")
    assert "| `gpt-4o-mini` | $3,000 |" in answer
    answer, _, _ = ask("I pay $900 a month for gpt-4o and claude sonnet 4.5")
    assert "split evenly" in section(answer, "Assumptions")


def test_a_goal_out_of_reach_says_what_is_missing_and_what_would_do() -> None:
    answer, _, result = ask("We spend $5,000 a month on gpt-4, cut it by 90%, 20% of it is simple")
    missing = 4500 - result["monthly_saving"]
    assert f"{dollars(missing)} a month is missing" in section(answer, "Your goal")
    assert "would be reached by moving" in section(answer, "Your goal")
    answer, _, _ = ask("We spend $5,000 a month on gpt-4, save $6,000 a month")
    assert "Not possible" in section(answer, "Your goal")
    answer, _, _ = ask("We spend $5,000 a month on gpt-4, we want to stay under $8,000")
    assert "within $8,000 already" in section(answer, "Your goal")


def test_a_model_that_was_asked_about_is_the_one_worked_out() -> None:
    answer, _, _ = ask("We pay $1,200 a week for gpt-4, what about gpt-4o-mini or o1-pro?")
    assert "moves from gpt-4 to gpt-4o-mini" in answer
    assert "`o1-pro`" in section(answer, "All of gpt-4 elsewhere")
    assert "**more**" in answer


@pytest.mark.parametrize(
    "text", ["hello", "", "Tell me a joke", "NaN dollars, infinity $ inf", "🙂" * 100, "\x00\ud800"]
)
def test_without_figures_it_says_what_it_needs_and_invents_nothing(text: str) -> None:
    answer, sink, result = ask(text)
    assert "Tell me what you pay" in answer
    assert answer.count("$") == 1, "only the example has an amount"
    assert result is None
    assert [event["agent_name"] for event in sink if event["type"] == "agent_started"] == [
        "triage",
        "data_helper",
        "reporting",
    ]


def test_an_unknown_model_is_named_with_its_nearest() -> None:
    answer, _, result = ask("We use gpt-9 at $1000 a month, save 20%")
    assert "no price of a model “gpt-9”" in answer
    assert "gpt-5" in answer
    assert "save $200 a month" in answer
    assert result is None


def test_another_currency_is_not_converted_but_parts_are_given() -> None:
    answer, _, result = ask("Our bill is €4.000 a month for gpt-4o, cut it by 20%")
    _, _, in_dollars = ask("Our bill is $4.000 a month for gpt-4o, cut it by 20%")
    assert f"{in_dollars['saved_share']:.1%}" in section(answer, "What saves how much")
    assert "$4" not in answer
    assert "do not convert" in answer
    assert result is None


def test_a_part_to_be_saved_is_worked_out_without_a_bill() -> None:
    answer, _, result = ask("Cut GPT-4 spend by 30 %")
    _, _, paid = ask("I pay $1,000 for GPT-4, cut it by 30 %")
    assert f"You can save about {paid['saved_share']:.0%} of the bill" in answer
    assert "30.0% of the bill was to be saved" in section(answer, "Your goal")
    assert "Your bill in dollars a month" in section(answer, "What I need to know")
    assert result is None


def test_a_lever_that_is_named_is_answered_first() -> None:
    answer, _, result = ask("We pay $5,000 a month for gpt-4o. Use caching to cut 50%")
    [cache] = [lever for lever in result["levers"] if lever["lever"] == "cache"]
    assert answer.startswith(f"**Prompt caching** by itself saves about {dollars(cache['alone'])} a month")
    assert "which is not enough for the $2,500" in answer
    # What is left after prompt caching has to shrink to half of the bill.
    needed = math.ceil((1 - 2500 / (5000 - cache["alone"])) * 100)
    assert f"stored answers would have to serve {needed}% of all requests" in answer


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("Reduce latency from 3 s to 1 s", ["67% less", "Stream the answer", "is not known"], ["bill", "$"]),
        ("Prepare for 3x usage", ["3 times as much", "times 3", "Your limits"], ["67%", "$"]),
    ],
)
def test_speed_and_load_without_a_file_are_answered_and_asked_for(text: str, has: list[str], lacks: list[str]) -> None:
    answer, _, result = ask(text)
    assert all(words in answer for words in has)
    assert not any(words in answer for words in lacks)
    assert "one row a request" in section(answer, "What I need to know")
    assert result is None


def test_models_without_a_bill_are_compared_by_price() -> None:
    answer, _, result = ask("Is gpt-4o cheaper than claude 3.5 sonnet?")
    assert "| `gpt-4o` | OpenAI | $2.5 | $1.25 | $10 |" in answer
    assert "Input is 17% cheaper on gpt-4o" in answer
    assert result is None


def test_speed_and_load_come_from_the_message_alone() -> None:
    answer, _, result = ask(
        "gpt-4o takes 3 s for 300 token answers, 2,628,000 requests a month, from 3 s to 1 s; 2x traffic"
    )
    load, times = section(answer, "Load"), section(answer, "What the times say")
    assert "60 requests a minute" in load
    assert "At 3 s each, 3 are in flight on average; with 2 times the traffic it is 6 in flight" in load
    assert "100 output tokens a second" in times
    assert "From 3 s to 1 s is 67% less" in times
    assert "100 tokens fit into 1 s" in times
    assert f"2 times the traffic costs {dollars(2 * result['monthly_spend'])} a month" in answer
    assert "How long your requests take" in section(answer, "What is not known")


def test_the_thread_is_remembered() -> None:
    first = "I pay $5,000 a month for GPT-4"
    history = [Message("user", first), Message("assistant", "$9,999,999"), Message("user", "cut it by 40%")]
    answer, _, result = ask("cut it by 40%", history=history)
    assert result["monthly_spend"] == 5000
    assert "$2,000 a month was to be saved" in answer
    assert "earlier message" in answer


@pytest.mark.parametrize(
    ("tool", "name", "kept"),
    [
        ("price_lookup", "data", "I can read this"),
        ("savings_plan", "optimization", "| `gpt-4` | $5,000 |"),
        ("order_actions", "actions", "You can save about"),
    ],
)
def test_a_failing_subagent_is_named_and_the_rest_goes_on(tool: str, name: str, kept: str) -> None:
    class Failing(Record):
        async def emit(self, event: dict[str, Any]) -> None:
            if event.get("tool_name") == tool:
                raise ConnectionError("secret")
            await super().emit(event)

    sink = Failing()
    turn = Turn(text="I pay $5,000 a month for GPT-4", sink=sink, agent_name="advisor")
    asyncio.run(advisor(turn))
    assert f"{name}: an internal error" in section(turn.said, "What failed on the way")
    assert kept in turn.said
    assert "secret" not in turn.said
    [failed] = [event for event in sink if event["type"] == "subagent_completed" and event["agent_name"] == name]
    assert failed["summary"] == f"{name} failed with an internal error"


def test_a_second_attempt_reuses_every_call_and_answers_the_same() -> None:
    text = "I pay $5,000 a month for GPT-4 and $900 for claude sonnet 4.5, save 30%, 2M requests, 2 s"
    answer, sink, result = ask(text)
    done = {e["tool_call_id"]: Call(True, e["result"]) for e in sink if e["type"] == "tool_completed"}
    again, events, result_again = ask(text, calls=done, attempt=2)
    assert (again, result_again) == (answer, result)
    assert all(event["reused"] for event in events if event["type"] == "tool_completed")


def test_a_long_message_stays_small_in_its_events() -> None:
    answer, sink, _ = ask("I pay $5,000 a month for GPT-4. " + "x" * 60_000)
    assert "You can save" in answer
    assert "Only the first 20,000 characters" in answer
    [read] = [event for event in sink if event["type"] == "tool_executing" and event["tool_name"] == "read_figures"]
    assert len(read["parameters"]["text"]) == MAX_TEXT


def test_what_a_user_writes_cannot_break_the_answers_markup() -> None:
    answer, _, _ = ask("$5,000 a month for GPT-4, 60% of it is `<b>|evil|</b>` [x](javascript:1), €5`|x")
    assert "<b>" not in answer
    assert "javascript" not in answer
