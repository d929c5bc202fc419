"""ARCHITECTURE.md's invariants. A failure says what to do instead."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

ROOT = Path(__file__).resolve().parent.parent
PURE = ["chat/protocol.py", "chat/delivery.py", "chat/title.py", "agents/agent.py", "agents/tools.py"]
PURE += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "chat" / "usage").glob("*.py"))
RECORD = {"chat/runs.py", "chat/events.py", "chat/retention.py"}
NO_USER = {
    "auth/register", "auth/login", "auth/refresh", "auth/logout", "health", "api/health", "metrics", "api/schema",
    "api/docs", "api/discovery/services", "ws", "ws/factory", "ws/isolated", "ws/legacy", "ws/config",
}  # fmt: skip
PAGES = {"", "login", "signup", "settings", "c/<id:thread_id>"}  # shells without a word of a user in them


def modules(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every call as it is written, e.g. `layer.post`, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.mark.parametrize(
    ("package", "forbidden"), [("chat", ("agents", "netra")), ("agents", ("netra",)), ("netra", ("agents",))]
)
def test_imports_run_one_way(package, forbidden):
    for path, tree in modules(package):
        wrong = {name for name in imports(tree) if name.split(".")[0] in forbidden}
        assert not wrong, f"{path} imports {wrong}: pass what it needs as data, or move the code to where it belongs"


@pytest.mark.parametrize("path", PURE)
def test_pure_modules_import_the_standard_library(path):
    names = imports(ast.parse((ROOT / path).read_text()))
    allowed = {name.removesuffix(".py").replace("/", ".") for name in PURE} | {"agents"}
    wrong = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names and name not in allowed}
    assert not wrong, f"{path} is pure, but imports {wrong}: do the impure part where it is called"


def test_only_the_record_signals():
    for path, tree in modules("chat", "agents", "netra"):
        text = (ROOT / path).read_text()
        if path not in RECORD:
            assert not re.search(r"\blayer\.post\b", text), f"{path} signals: add a function to {RECORD} that does"
        if path != "chat/layer.py":
            wrong = {name for name, _ in calls(tree) if name.endswith((".group_send", ".group_add"))}
            assert not wrong, f"{path} calls {wrong}: chat/layer.py alone speaks to the channel layer"


def test_only_its_own_modules_write_the_record():
    writes = re.compile(r"\b(Thread|Message|Run|Event|Worker)\.objects\b.*\.(create|update|delete|bulk_create)$", re.S)
    for path, tree in modules("chat", "agents", "netra"):
        if path in RECORD:
            continue
        wrong = [f"{name}, line {line}" for name, line in calls(tree) if writes.search(name)]
        assert not wrong, f"{path} writes the record ({wrong}): add a function to {RECORD}"


def test_only_settings_read_the_environment():
    allowed = {"netra/settings.py", "netra/asgi.py", "chat/embedded.py", "chat/management/commands/up.py"}
    for path, _ in modules("chat", "agents", "netra"):
        if path not in allowed:
            text = (ROOT / path).read_text()
            assert not re.search(r"\benviron\b|\bgetenv\b", text), f"{path}: read it in netra/settings.py"


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            if not path.startswith("admin"):
                yield from routes(entry, path)
        else:
            yield path, entry


def test_views_demand_a_user(client, db):
    ours = [path for path, _ in routes(get_resolver()) if path not in PAGES | NO_USER]
    assert len(ours) >= 15
    for path in ours:
        filled = re.sub(r"<[^>]+>", "00000000-0000-4000-8000-000000000000", path)
        answers = {client.generic(method, "/" + filled).status_code for method in ("GET", "POST", "PATCH", "DELETE")}
        assert answers <= {401, 405, 404}, f"/{path} answers {answers} without a token: let it demand a user"
        assert 401 in answers or answers == {404}, f"/{path} never asks for a token"


def test_every_invariant_names_a_test_that_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert text.count("**Invariant") == 10
    for file, name in re.findall(r"`(test_\w+\.py)?::(\w+)`", text):
        source = (ROOT / "tests" / (file or "test_architecture.py")).read_text()
        assert f"def {name}(" in source, f"ARCHITECTURE.md names {name}, which is not there"


def test_every_test_that_a_document_names_exists():
    tests = {
        name for path in (ROOT / "tests").glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    tests |= {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    for document in (ROOT / "docs" / "reliability.md", ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md"):
        named = set(re.findall(r"test_\w+", document.read_text()))
        assert named <= tests, f"{document.name} names tests that are not there: {sorted(named - tests)}"
