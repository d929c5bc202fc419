"""Models and kinds of token in the lines of cloud bills, as the vendors write them."""

import pytest

from chat.usage.skus import azure, bedrock, google, line_item, service_name

EDITION = "Claude Opus 4.8 (Amazon Bedrock Edition)"


@pytest.mark.parametrize(
    ("product", "usage", "description", "name", "model", "kind", "scale"),
    [
        ("AmazonBedrock", "USE1-Claude4.5Sonnet-input-tokens", "$0.003 per 1K tokens", "Amazon Bedrock",
         "Claude Sonnet 4.5", "uncached_tokens", 1e3),
        ("AmazonBedrock", "EUW1-Claude3Haiku-output-tokens", "", "", "Claude Haiku 3", "output_tokens", 1e3),
        ("AmazonBedrock", "USE1-NovaPro-output-tokens-batch", "$0.0016 per 1K", "", "Nova Pro", "output_tokens", 1e3),
        ("x1", "USE1-MP:USE1_InputTokenCount-Units", "", EDITION, "Claude Opus 4.8", "uncached_tokens", 1e6),
        ("x1", "USE1-MP:USE1_CacheReadInputTokenCount-Units", "", EDITION, "Claude Opus 4.8", "cached_tokens", 1e6),
        ("x1", "USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units", "", EDITION,
         "Claude Opus 4.8", "cache_write_1h", 1e6),
    ],
)  # fmt: skip
def test_bedrock_reads_usage_types(
    product: str, usage: str, description: str, name: str, model: str, kind: str, scale: float
) -> None:
    found = bedrock([product, usage, "Usage", description, name])
    assert (found.model, found.kind, found.scale, found.ai) == (model, kind, scale, True)


def test_bedrock_leaves_other_services_and_taxes_out() -> None:
    assert not bedrock(["AmazonEC2", "BoxUsage:t3.large", "Usage", "", "Amazon EC2"]).ai
    assert not bedrock(["AmazonBedrock", "", "Tax", "Tax for product code AmazonBedrock", "Amazon Bedrock"]).ai
    assert bedrock(["AmazonBedrock", "USE1-NovaPro-input-tokens", "Credit", "", "Amazon Bedrock"]).charge == "credit"


@pytest.mark.parametrize(
    ("meter", "unit", "model", "kind", "scale"),
    [
        ("gpt 4o 1120 Inp glbl Tokens", "1K", "gpt-4o", "uncached_tokens", 1e3),
        ("gpt-4o-mini-0718-Outp-glbl Tokens", "1K", "gpt-4o-mini", "output_tokens", 1e3),
        ("GPT 5 mini inpt Glbl 1M Tokens", "1M", "gpt-5-mini", "uncached_tokens", 1e6),
        ("GPT 5 cchd inpt DZone 1M Tokens", "1M", "gpt-5", "cached_tokens", 1e6),
        ("gpt 4.1 nano Batch Inp glbl Tokens", "1K", "gpt-4.1-nano", "uncached_tokens", 1e3),
        ("o4-mini 0416 Outp glbl Tokens", "1K", "o4-mini", "output_tokens", 1e3),
        ("text embedding 3 large glbl Tokens", "1K", "text-embedding-3-large", "", 1e3),
    ],
)
def test_azure_reads_names_of_meters(meter: str, unit: str, model: str, kind: str, scale: float) -> None:
    found = azure(["Foundry Models", "Azure OpenAI", meter, "Azure OpenAI", unit, "Usage"])
    assert found[:3] == (model, kind, scale)
    assert found.ai
    assert not azure(["Azure AI Search", "", "Standard S1 Unit", "Azure AI Search", "1 Hour", "Usage"]).ai


@pytest.mark.parametrize(
    ("sku", "model", "kind"),
    [
        ("Gemini 2.5 Flash GA Text Input - Predictions", "gemini-2.5-flash", "uncached_tokens"),
        ("Generate content output token count gemini 3 flash short output text", "gemini-3-flash", "output_tokens"),
        ("Gemini 2.0 Flash Lite Text Output - Predictions", "gemini-2.0-flash-lite", "output_tokens"),
        ("Generate_content cached input token count Gemini 2.5 flash", "gemini-2.5-flash", "cached_tokens"),
        ("Claude Sonnet 4.5 Input Tokens", "Claude Sonnet 4.5", "uncached_tokens"),
    ],
)
def test_google_reads_skus(sku: str, model: str, kind: str) -> None:
    found = google(["Vertex AI", sku, "Usage", "count"])
    assert (found.model, found.kind, found.ai) == (model, kind, True)
    assert not google(["Cloud Run", "CPU Allocation Time", "Usage", ""]).ai


def test_other_readers_tell_models_from_tools_and_totals() -> None:
    assert line_item(["gpt-5-nano, cached input"])[:2] == ("gpt-5-nano", "cached_tokens")
    assert line_item(["web search tool calls"]).charge == "tool"
    assert service_name([EDITION]).model == "Claude Opus 4.8"
    assert not service_name(["Amazon Elastic Compute Cloud - Compute"]).ai
