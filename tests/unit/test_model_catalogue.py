"""The catalogue of models: what the environment gives, and what is said of a model that cannot answer."""

import json
import os
import runpy
from traceback import format_exception
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from agents.llm.catalogue import entry
from agents.sdk import AgentError
from chat.catalogue import names, unavailable
from tests.commands import GOOD, ROOT, start

THREE = "fast=openai:gpt-5-mini,deep=anthropic:claude-opus-4-6,local=ollama:qwen3:8b"
SECRET = "sk-hunter2"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Any:
    """Read the settings in a good environment with what is given, and use their models."""

    def read(**environment: str) -> dict[str, Any]:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {**GOOD, **environment}.items():
            monkeypatch.setenv(name, value)
        found = runpy.run_path(str(ROOT / "netra" / "settings.py"))
        settings.NETRA_MODELS, settings.NETRA_TITLE_MODEL = found["NETRA_MODELS"], found["NETRA_TITLE_MODEL"]
        return found

    return read


def test_models_have_the_key_of_their_name_or_of_their_provider(read: Any) -> None:
    models = "fast=openai:gpt-5-mini,other=openai:gpt-5,deep=anthropic:claude-opus-4-6,local=ollama:qwen3:8b"
    read(
        NETRA_MODELS=models, OPENAI_API_KEY="sk-usual", NETRA_MODEL_OTHER_KEY="sk-own", NETRA_MODEL_LOCAL_URL="http://h"
    )
    assert names() == ["fast", "other", "deep", "local"]
    assert (entry().name, entry().model, entry().key) == ("fast", "openai:gpt-5-mini", "sk-usual")
    assert entry("other").key == "sk-own"
    assert (entry("local").provider, entry("local").own_name, entry("local").url) == ("ollama", "qwen3:8b", "http://h")


@pytest.mark.parametrize("prefix", ["NETRA_MODEL", "NETRA_MODEL_DEFAULT"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_the_usual_key_goes_to_the_usual_url_only(read: Any, provider: str, prefix: str) -> None:
    usual = {f"{provider.upper()}_API_KEY": SECRET, f"{provider.upper()}_BASE_URL": "http://usual/v1"}
    read(NETRA_MODEL=f"{provider}:x", **usual)
    assert (entry().key, entry().url) == (SECRET, "http://usual/v1")
    read(NETRA_MODEL=f"{provider}:x", **usual, **{f"{prefix}_URL": "http://h/v1"})
    assert (entry().key, entry().url, unavailable()) == ("", "http://h/v1", None)
    read(NETRA_MODEL=f"{provider}:x", **usual, **{f"{prefix}_URL": "http://h/v1", f"{prefix}_KEY": "sk-own"})
    assert (entry().key, entry().url) == ("sk-own", "http://h/v1")


def test_a_model_without_a_key_is_unavailable_with_the_reason(read: Any) -> None:
    read(NETRA_MODELS=THREE, OPENAI_API_KEY=SECRET)
    assert (unavailable("fast"), unavailable("local")) == (None, None)
    reason = str(unavailable("deep"))
    assert "“deep”" in reason
    assert "NETRA_MODEL_DEEP_KEY or ANTHROPIC_API_KEY" in reason
    with pytest.raises(AgentError, match="“deep”") as caught:
        entry("deep")
    assert caught.value.code == "unavailable"
    assert "“grand”" in str(unavailable("grand"))


@pytest.mark.parametrize("prefix", ["NETRA_MODEL", "NETRA_MODEL_DEFAULT"])
def test_one_model_alone_is_the_entry_default(read: Any, prefix: str) -> None:
    options = {"context": 8000, "images": False, "pdf": True, "reasoning": "high", "max_output": 500}
    given = {f"{prefix}_KEY": SECRET, f"{prefix}_URL": "http://h/v1", f"{prefix}_OPTIONS": json.dumps(options)}
    read(NETRA_MODEL="openai:gpt-4o", OPENAI_API_KEY="sk-usual", **given)
    assert names() == ["default"]
    assert (entry().key, entry().url, entry().options) == (SECRET, "http://h/v1", options)
    assert SECRET not in repr(entry())


def test_titles_are_made_by_the_first_model_or_the_one_that_is_named(read: Any) -> None:
    assert read(NETRA_MODELS=THREE)["NETRA_TITLE_MODEL"] == "fast"
    assert read(NETRA_MODELS=THREE, NETRA_TITLE_MODEL="local")["NETRA_TITLE_MODEL"] == "local"
    assert read()["NETRA_TITLE_MODEL"] == ""


@pytest.mark.parametrize(
    ("variable", "given", "said"),
    [
        ("NETRA_MODELS", {"NETRA_MODELS": "gpt-4o"}, "name=provider:model"),
        ("NETRA_MODELS", {"NETRA_MODELS": "a=bedrock:x"}, "openai, anthropic, ollama"),
        ("NETRA_MODELS", {"NETRA_MODELS": "A=openai:x"}, "A=openai:x"),
        ("NETRA_MODELS", {"NETRA_MODELS": "a=openai:"}, "a=openai:"),
        ("NETRA_MODELS", {"NETRA_MODELS": "a=openai:x,a=openai:y"}, "same variables"),
        ("NETRA_MODELS", {"NETRA_MODELS": "a-b=openai:x,a_b=openai:y"}, "same variables"),
        ("NETRA_MODELS", {"NETRA_MODELS": "a=openai:x", "NETRA_MODEL": "openai:y"}, "both set"),
        ("NETRA_TITLE_MODEL", {"NETRA_MODELS": "a=openai:x", "NETRA_TITLE_MODEL": "b"}, "one of: a"),
        ("NETRA_TITLE_MODEL", {"NETRA_TITLE_MODEL": "b"}, "one of: none"),
    ],
)
def test_a_wrong_catalogue_is_named(read: Any, variable: str, given: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable) as caught:
        read(**given, OPENAI_API_KEY=SECRET)
    assert said in str(caught.value)
    assert SECRET not in "".join(format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        "[]", "{", '"context"', '{"window": 5}', '{"context": 0}', '{"context": "8k"}', '{"context": true}',
        '{"max_output": 1.5}', '{"images": "yes"}', '{"pdf": 1}', '{"reasoning": "very"}', '{"reasoning": 1}',
        '{"price": 3}', '{"price": {"input": 1}}', '{"price": {"input": 1, "output": -1}}',
        '{"price": {"input": 1, "output": NaN}}', '{"price": {"input": 1, "output": 2, "sum": 3}}',
    ],
)  # fmt: skip
def test_wrong_options_are_named(read: Any, options: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="NETRA_MODEL_FAST_OPTIONS"):
        read(NETRA_MODELS="fast=openai:x", NETRA_MODEL_FAST_OPTIONS=options)


def test_a_start_warns_of_a_model_without_a_key() -> None:
    done = start("manage.py", "check", NETRA_MODELS=THREE, OPENAI_API_KEY=SECRET)
    assert done.returncode == 0
    assert "“deep” has no key" in done.stderr
    assert SECRET not in done.stderr + done.stdout
