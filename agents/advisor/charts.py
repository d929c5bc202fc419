"""Charts: the figures of an answer as a page draws them."""

from typing import Literal

from agents.advisor.answers import ChartData, Dimension, Group, Series


def chart(
    kind: Literal["bar", "line"], title: str, labels: list[str], series: dict[str, list[float]], unit: str
) -> dict[str, ChartData]:
    named: list[Series] = [{"name": name, "values": values} for name, values in series.items()]
    return {"chart": {"type": kind, "title": title, "labels": labels, "series": named, "unit": unit}}


def breakdown_charts(dimension: Dimension, groups: list[Group]) -> list[dict[str, ChartData]]:
    """Spend in dollars, then each other currency by itself, and the mix of tokens by model."""
    kind: Literal["bar", "line"] = "line" if dimension in ("day", "month") else "bar"
    labels = [group["label"] for group in groups]
    charts = []
    if any(group["amounts"]["usd"] for group in groups):
        series = {"Spend": [group["amounts"]["usd"] for group in groups]}
        if any(group["amounts"]["compared_rows"] for group in groups):
            series["At list prices"] = [group["amounts"]["list_usd"] for group in groups]
        charts.append(chart(kind, f"Spend by {dimension}", labels, series, "USD"))
    currencies = sorted({paid["currency"] for group in groups for paid in group["amounts"]["paid"]} - {"USD"})
    for currency in currencies[:3]:
        values = [
            sum(paid["amount"] for paid in group["amounts"]["paid"] if paid["currency"] == currency) for group in groups
        ]
        charts.append(chart(kind, f"Spend by {dimension}", labels, {"Spend": values}, currency))
    tokens = [group["tokens"] for group in groups]
    if dimension == "model" and any(one["input"] or one["output"] for one in tokens):
        mix = {
            "Input": [float(one["input"] - one["cached"]) for one in tokens],
            "Cached input": [float(one["cached"]) for one in tokens],
            "Output": [float(one["output"]) for one in tokens],
        }
        charts.append(chart("bar", "Tokens by model", labels, mix, "tokens"))
    return charts
