"""Kinds of charge: which model and which kind of token a line of a bill is about. PURE: standard library."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class Sku(NamedTuple):
    """`kind`: a role of tokens or another quantity. `scale`: tokens in a unit of the quantity. `charge`: usage, credit,
    tax, seat, tool, fee. `ai`: whether the line is about a model or an assistant."""

    model: str = ""
    kind: str = ""
    scale: float = 1.0
    charge: str = "usage"
    ai: bool = True


_KINDS = {
    "cache_write_1h": r"cache.?writ\w*.?1.?h|1h.?cache.?writ|ephemeral_1h",
    "cache_write_tokens": r"cache.?(?:writ|creat|storage)|cch.?wr",
    "cached_tokens": r"cache.?(?:read|hit)|cached|cchd|\bcache[dr]?\b.{0,12}in|context cach",
    "output_tokens": r"out?put|outp|\boutpt|completion|generated|response|\bopt\b|\bout\b|thinking",
    "uncached_tokens": r"no_cache|uncached|cache_miss|\binpu?t?\b|input|prompt|\bin\b|\binp\b",
    "requests": r"request_?count|\brequests?\b",
    "images": r"\bimages?\b",
    "searches": r"search",
}
_CHARGES = {
    "tax": r"^tax$|^vat$|\btax\b",
    "credit": r"credit|refund|promotion|discount",
    "fee": r"^fee$|rifee|support|rounding|adjustment",
}


def kind_of(text: str) -> str:
    """The kind of token or quantity that a text names; empty if it names none."""
    return next((kind for kind, pattern in _KINDS.items() if re.search(pattern, text, re.I)), "")


def _charge(line: str, usual: str = "usage") -> str:
    """The charge that a line is, by its type. `usual`: the types, with bars between them, that are usage."""
    if re.fullmatch(f"{usual}|", line.strip(), re.I):
        return "usage"
    return next((charge for charge, pattern in _CHARGES.items() if re.search(pattern, line, re.I)), "usage")


def _padded(parts: Sequence[str], count: int) -> Sequence[str]:
    return [*parts, *[""] * count][:count]


def _scale(text: str, thousand: str, million: str) -> float:
    return 1e6 if re.search(million, text, re.I) else 1e3 if re.search(thousand, text, re.I) else 1.0


_REGION = re.compile(r"^(?:[A-Z]{2,5}\d{0,2}-)(?=\w)")
_FAMILY = re.compile(
    r"\b(claude|gemini|gpt|llama|mi[sx]tral|nova|titan|command|deepseek|grok|qwen|imagen|veo|kimi)", re.I
)
MODEL = re.compile(
    r"gpt|claude|gemini|llama|mi[sx]tral|command-|deepseek|grok|qwen|kimi|nova[- ]|titan|embed|whisper|dall|sonnet|"
    r"haiku|opus|\bo[1-9]\b|davinci|phi-|imagen|veo\b|codestral|glm-|jamba",
    re.I,
)


def bedrock(parts: Sequence[str]) -> Sku:
    """A line of an AWS bill: product code, usage type, type of line, description, product name."""
    product, usage, line, description, name = _padded(parts, 5)
    place = f"{product} {name} {description}"
    ai = bool(re.search(r"bedrock|\bmodels? on aws\b", place, re.I) or _FAMILY.search(name))
    charge, text = _charge(line), f"{usage} {description}"
    stem = re.split(r"[-_: ](?=input|output|cache|text|image|batch|flex|priority|prompt|response|MP:|Units)", usage)[0]
    stem = _REGION.sub("", re.sub(r"^[A-Z0-9]+-MP:.*", "", stem))
    edition = re.match(r"(.+?) \(Amazon Bedrock Edition\)", name)
    model = edition[1] if edition else _spaced(stem) if ai and re.search("[a-z]", stem) else ""
    unit = re.search(r"per (\d+(?:\.\d+)?)?\s?(k|m|million|thousand)\b", description, re.I)
    scale = float(unit[1] or 1) * (1e3 if unit[2][0] in "kKtT" else 1e6) if unit else 1e6 if "-MP:" in usage else 1e3
    kind = kind_of(text) if charge == "usage" else ""
    if not re.search("token", text, re.I):
        kind, scale = kind if kind in ("images", "searches", "requests") else "", 1.0
    return Sku(model, kind, scale, charge, ai and charge != "tax")


def _spaced(stem: str) -> str:
    """`Claude4.5Sonnet` is `Claude Sonnet 4.5`, `NovaPro` is `Nova Pro`."""
    claude = re.fullmatch(r"(Claude)([\d.]+)(Opus|Sonnet|Haiku|Instant)(V\d)?", stem)
    if claude:
        return f"{claude[1]} {claude[3]} {claude[2]}"
    return re.sub(r"(?<=[a-z])(?=[A-Z\d])|(?<=\d)(?=[A-Z][a-z])", " ", stem).replace("_", " ").strip()


def azure(parts: Sequence[str]) -> Sku:
    """A line of an Azure bill: category, subcategory and name of the meter, product, unit, type of charge."""
    category, sub, meter, product, unit, line = _padded(parts, 6)
    place = f"{category} {sub} {product}"
    ai = bool(re.search(r"openai|foundry models|azure ai foundry|ai models|deepseek|mistral|llama|grok", place, re.I))
    ai = ai or bool(re.search("cognitive", place, re.I) and MODEL.search(meter))
    charge, name = _charge(line), list[str]()
    for word in re.findall(r"[a-z0-9.]+", meter.lower()):
        if name and (_METER_WORDS.fullmatch(word) or (re.fullmatch(r"\d{4}|\d+[km]", word) and len(name) > 1)):
            break
        name.append(word)
    model = "-".join(name) if ai and MODEL.search(meter) else ""
    scale = 1e6 if re.search(r"1\s?m\b", meter, re.I) else _scale(unit, r"1\s?k\b", r"1\s?m\b")
    if not re.search(r"[km]\b", f"{unit} {meter if scale > 1e3 else ''}", re.I):
        scale = float(found[0]) if (found := re.match(r"\d+", unit)) else 1.0
    kind = kind_of(meter) if "token" in meter.lower() or re.search(r"inp|outp|cch", meter, re.I) else ""
    return Sku(re.sub(r"^(gpt)-?(\d+)(o?)$", r"\1-\2\3", model), kind, scale, charge, ai and charge != "tax")


_METER_WORDS = re.compile(
    "inpu?t?|in|out?put|outpt?|opt|cc?hd|cached?|cachd|glo?bl?|global|regn?l?|regional|data|zone|dz|dzn|dzone|batch|"
    "tokens?|prty|pp|ft|aud|audio|txt|text|img|image|rt|std|standard|hosting|training|units?|out"
)


def google(parts: Sequence[str]) -> Sku:
    """A line of a Google Cloud bill: service, SKU, type of cost, unit."""
    service, sku, line, _ = _padded(parts, 4)
    gemini = re.search(r"gemini[ -]?(\d+(?:\.\d+)?)[ -]?(flash[ -]?lite|flash|pro|ultra|nano)?([ -]image)?", sku, re.I)
    other = _OTHER_MODEL.search(sku)
    place = re.search(r"vertex|gemini|generative|cloud ai|claude|ai platform|agent platform", service, re.I)
    ai = bool(place and (gemini or other)) or bool(re.search("gemini|claude", f"{service} {sku}", re.I))
    model = other[0] if other and ai else ""
    if gemini:
        model = re.sub("[ -]+", "-", "-".join(["gemini", *(one or "" for one in gemini.groups())])).strip("-").lower()
    charge = _charge(line, "usage|regular")
    return Sku(model, kind_of(sku) if ai else "", 1.0, charge, ai and charge != "tax")


def focus(parts: Sequence[str]) -> Sku:
    """A line of a FOCUS table: category and name of the service, SKU or resource, description, category of the charge,
    unit, provider."""
    category, service, sku, description, line, unit, provider = _padded(parts, 7)
    text, host = f"{sku} {description}", f"{service} {provider}"
    ai = bool(re.search(r"\bAI\b|machine learning", category) or re.search(_AI_HOSTS, host, re.I))
    charge = _charge(line, "usage|purchase")
    of_aws = [one for part in (sku, description) if _FAMILY.search(one := bedrock(["bedrock", part]).model)]
    plain = _ANY_MODEL.search(text)
    model = of_aws[0] if of_aws and re.search("aws|bedrock", host, re.I) else google([service, text]).model
    if not model:
        of_azure = azure([service, "openai", sku or description]).model
        model = of_azure if not plain or re.search("azure|microsoft", host, re.I) else plain[0]
    kind = kind_of(text) if re.search("token", f"{text} {unit}", re.I) else ""
    return Sku(model if ai else "", kind, _scale(unit, "thousand|1k", "million|1m"), charge, ai and charge != "tax")


_AI_HOSTS = r"openai|anthropic|bedrock|mistral|cohere|vertex ai|gemini|cursor|copilot"


def line_item(parts: Sequence[str]) -> Sku:
    """An OpenAI line item: `gpt-5-nano, input_tokens`; of a tool the name alone."""
    model, _, rest = parts[0].partition(",")
    model = model.strip()
    return Sku(model, kind_of(rest), charge="usage" if MODEL.search(model) or rest else "tool")


def claude_charge(parts: Sequence[str]) -> Sku:
    """A row of an Anthropic cost report: model, kind of token, kind of cost."""
    model, token, cost = _padded(parts, 3)
    tool = not re.fullmatch("tokens?|", cost, re.I)
    return Sku(model or cost, "" if tool else kind_of(token), charge="tool" if tool else "usage")


def counted(parts: Sequence[str]) -> Sku:
    """A row that counts one kind of token or the requests."""
    return Sku(kind=kind_of(parts[0]))


def github(parts: Sequence[str]) -> Sku:
    """A row of a GitHub bill: product, SKU, model, unit."""
    product, sku, model, unit = _padded(parts, 4)
    ai = bool(re.search("copilot|spark|models", f"{product} {sku}", re.I))
    seat = bool(re.search("month", unit, re.I)) or bool(re.search("for_business|enterprise$|seat", sku, re.I))
    kind = "seats" if seat else "requests" if re.search("request", f"{unit} {sku}", re.I) else ""
    return Sku(model or sku if ai else "", kind, charge="seat" if seat else "usage", ai=ai)


def service_name(parts: Sequence[str]) -> Sku:
    """A service of AWS Cost Explorer: `Claude Sonnet 4.5 (Amazon Bedrock Edition)`, or a usage type of Bedrock."""
    text = " ".join(part for part in parts if part)
    if re.search(r"^(?:total|tax)\b|\btax\b", text, re.I):
        return Sku(charge="tax", ai=False)
    for part in re.split(", ", text):
        edition = re.match(r"(.+?) \(Amazon Bedrock Edition\)", part)
        if edition:
            return Sku(edition[1])
    if re.search(r"bedrock", text, re.I) or _FAMILY.search(text):
        usage = next((part for part in re.split(", ", text) if re.search("token|-", part)), "")
        found = bedrock(["AmazonBedrock", usage])
        return Sku(found.model or "Amazon Bedrock", found.kind)
    return Sku(ai=False)


_OTHER_MODEL = re.compile(
    r"claude[ \w.-]*?\d(?:[.-]\d+)*(?: (?:sonnet|opus|haiku))?|imagen[ -]?\d|veo[ -]?\d|llama[ -]?[\d.]+|"
    r"mi[sx]tral[ \w.-]*?(?= (?:in|out))|text[ -]embedding[ -]\w+|embeddings?",
    re.I,
)
_ANY_MODEL = re.compile(
    r"(?:claude|gpt|gemini|mistral|llama|nova|o\d)[-\w. ]*?\d[\w.]*(?:-\d+)*"
    r"(?:[- ](?:mini|nano|pro|flash|lite|sonnet|opus|haiku|large|small|medium))*",
    re.I,
)
READERS = {
    reader.__name__: reader
    for reader in (bedrock, azure, google, focus, line_item, claude_charge, counted, github, service_name)
}
