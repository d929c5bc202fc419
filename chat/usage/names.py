"""What the names of columns mean, in English and German. PURE: standard library."""

import re
from typing import Literal, NamedTuple

Role = Literal[
    "timestamp", "ended", "model", "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens",
    "cache_write_tokens", "latency_ms", "status", "user", "feature", "cost", "currency", "requests", "retry", "batch",
    "kind", "window",
]  # fmt: skip

ROLES: dict[Role, str] = {
    "timestamp": "time",
    "ended": "end of the request",
    "model": "model",
    "input_tokens": "input tokens",
    "uncached_tokens": "input tokens without the cached ones",
    "output_tokens": "output tokens",
    "cached_tokens": "cached input tokens",
    "cache_write_tokens": "tokens written to the cache",
    "latency_ms": "latency",
    "status": "status",
    "user": "user",
    "feature": "feature",
    "cost": "cost",
    "currency": "currency",
    "requests": "number of requests",
    "retry": "retries",
    "batch": "batch",
    "kind": "kind of record",
    "window": "length of the prompts",
}

CODES = ("usd", "eur", "gbp", "chf", "jpy", "cny", "inr", "cad", "aud", "sek", "nok", "dkk", "pln", "brl")

# Names as `plain_name` writes them, the best first. Those with a + are parts: all that are there are added up.
_NAMES: dict[Role, str] = {
    "timestamp": "timestamp start_time_iso start_time starting_at usage_date_utc started_at request_time requested_at "
    "event_time logged_at created_at created datetime date_time time ts date usage_date date_utc day bucket_start "
    "aggregation_timestamp bucket period hour month",
    "ended": "end_time ended_at completed_at finished_at",
    "model": "model provided_model_name model_name model_version response_model request_model gen_ai_request_model "
    "model_id snapshot_id engine deployment model_slug slug line_item",
    "input_tokens": "input_tokens prompt_tokens usage_input_tokens usage_prompt_tokens tokens_in tokens_input "
    "input_token_count prompt_token_count n_context_tokens_total context_tokens gen_ai_usage_input_tokens "
    "total_input_tokens input_tokens_total prompt_tokens_total input_usage usage_input input_token usage_details_input "
    "tokens_prompt n_prompt_tokens in_tokens input",
    "uncached_tokens": "usage_input_tokens_no_cache uncached_input_tokens input_tokens_no_cache input_uncached_tokens "
    "prompt_cache_miss_tokens",
    "output_tokens": "output_tokens completion_tokens usage_output_tokens usage_completion_tokens tokens_out "
    "tokens_output output_token_count completion_token_count n_generated_tokens_total generated_tokens "
    "candidates_token_count gen_ai_usage_output_tokens total_output_tokens output_tokens_total "
    "completion_tokens_total output_usage usage_output output_token +usage_details_output "
    "+usage_details_output_reasoning_tokens +usage_details_output_reasoning tokens_completion n_completion_tokens "
    "response_tokens out_tokens output",
    "cached_tokens": "cached_tokens input_cached_tokens cached_input_tokens usage_input_tokens_cache_read "
    "cache_read_input_tokens cache_read_tokens prompt_tokens_details_cached_tokens prompt_cache_hit_tokens "
    "tokens_cached cache_hit_tokens cached_prompt_tokens cached_content_token_count "
    "+usage_details_input_cached_tokens "
    "+usage_details_cache_read_input_tokens +usage_details_input_cache_read +usage_details_input_cached "
    "cache_read cached",
    "cache_write_tokens": "cache_write_tokens cache_creation_input_tokens cache_creation_tokens "
    "input_cache_write_tokens usage_input_tokens_cache_write +usage_input_tokens_cache_write_5m "
    "+usage_input_tokens_cache_write_1h +cache_creation_ephemeral_5m_input_tokens "
    "+cache_creation_ephemeral_1h_input_tokens +usage_details_cache_creation_input_tokens "
    "+usage_details_input_cache_creation cache_write cache_creation",
    "latency_ms": "latency request_duration duration response_time elapsed total_duration total_latency time_taken "
    "elapsed_time duration_total",
    "status": "status status_code http_status response_status success succeeded is_success ok state outcome result "
    "level is_error failed error error_code error_type error_message finish_reason",
    "user": "user user_id end_user user_email user_name username email customer customer_id account account_id client "
    "client_id tenant actor member api_key_name api_key_alias api_key api_key_id key_alias",
    "feature": "feature use_case feature_name application app app_name product component trace_name project_name "
    "workspace_name workspace request_tags tags tag project project_id workspace_id team_alias team team_id service "
    "endpoint operation task route department agent",
    "cost": "cost total_cost calculated_total_cost spend amount_value amount response_cost cost_total "
    "cost_details_total billed billed_cost price charge charged total_price",
    "currency": "currency amount_currency currency_code cost_currency",
    "requests": "requests num_model_requests num_requests n_requests request_count number_of_requests "
    "api_requests calls num_calls call_count count",
    "retry": "attempt attempt_number attempts is_retry retry retries retry_count num_retries attempted_retries",
    "batch": "batch is_batch service_tier usage_type",
    "kind": "type",
    "window": "context_window",
}  # fmt: skip

# German headers, as `plain_name` writes them: ranked after the English ones.
_GERMAN: dict[Role, str] = {
    "timestamp": "zeitstempel datum_uhrzeit datum_und_uhrzeit zeitpunkt datum zeit",
    "ended": "ende endzeit",
    "model": "modell modellname ki_modell sprachmodell",
    "input_tokens": "eingabe_tokens eingabe_token eingabetokens eingabetoken tokens_eingabe token_eingabe "
    "eingangstokens anzahl_eingabe_tokens eingabe",
    "output_tokens": "ausgabe_tokens ausgabe_token ausgabetokens ausgabetoken tokens_ausgabe token_ausgabe "
    "ausgangstokens anzahl_ausgabe_tokens ausgabe",
    "cached_tokens": "cache_tokens cachetokens gecachte_tokens zwischengespeicherte_tokens tokens_aus_cache",
    "latency_ms": "latenz dauer antwortzeit laufzeit",
    "status": "ergebnis zustand",
    "user": "nutzer benutzer anwender kunde mitarbeiter benutzername",
    "feature": "funktion anwendung projekt abteilung anwendungsfall bereich dienst",
    "cost": "kosten gesamtkosten betrag preis ausgaben",
    "currency": "waehrung",
    "requests": "anfragen anzahl_anfragen aufrufe anzahl_aufrufe",
    "retry": "wiederholungen",
}


class Meaning(NamedTuple):
    role: Role
    rank: int
    part: bool


_MEANINGS: dict[str, Meaning] = {}
for _first, _language in ((0, _NAMES), (100, _GERMAN)):
    for _role, _names in _language.items():
        for _rank, _name in enumerate(_names.split(), _first):
            _MEANINGS.setdefault(_name.removeprefix("+"), Meaning(_role, _rank, _name.startswith("+")))

UNITS = {"ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "secs": "s"}
UNITS |= {"seconds": "s"}


def meaning_of(path: tuple[str, ...]) -> Meaning | None:
    """What a name says; of a nested one its end counts, as far as it must."""
    for start in range(len(path)):
        plain = plain_name(".".join(path[start:]))
        found = _MEANINGS.get(plain)
        if not found:
            base, _, unit = plain.rpartition("_")
            base = base.removesuffix("_in")
            found = _MEANINGS.get(base) if unit in UNITS or unit in CODES or unit in ("cents", "in", "utc") else None
            if found and found.role not in ("cost", "latency_ms", "timestamp"):
                found = None
        if found:
            return found
    return None


def plain_name(name: str) -> str:
    """`Input Tokens`, `inputTokens` and `input.tokens` are `input_tokens`; `Cost ($)` is `cost_usd`, `Ä` is `ae`."""
    name = name[:200].translate(_UMLAUTS)
    for sign, code in (("$", " usd"), ("€", " eur"), ("£", " gbp")):
        name = name.replace(sign, code)
    name = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z\d]+", "_", name.lower()).strip("_")


_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


def shown(name: str) -> str:
    """A name from the file as it may stand in a sentence."""
    name = re.sub(r"[^\w .,:()/$€£%+-]+", " ", name).strip()
    return name[:60] + "…" if len(name) > 60 else name
