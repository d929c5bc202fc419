"""ARCHITECTURE.md's invariants. A failure says what to do instead."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from chat.pages import views as pages

ROOT = Path(__file__).resolve().parents[2]
PURE = ["chat/protocol", "chat/dialects", "chat/usage", "agents/sdk", "chat/translation.py"]
PURE += ["chat/realtime/flow_control.py", "chat/realtime/subscriptions.py", "chat/runs/slots.py", "chat/runs/titles.py"]
PURE += ["agents/llm/streams/thoughts.py", "agents/toolbox/schemas.py"]
PURE += ["chat/assistants/definition.py", "chat/assistants/changes.py"]
DECLARATIVE = {"pydantic", "pydantic_core"}  # of chat/protocol: it declares frames and does nothing by itself
RECORD = "chat/runs/"
MAX_MODULES, MAX_LINES = 12, 450
# One module a resource.
MANY_MODULES = {"chat/api"}
NO_USER = {
    "auth/register", "auth/login", "auth/refresh", "auth/logout", "auth/providers",
    "auth/sso/<slug:provider_id>/login", "auth/sso/<slug:provider_id>/callback", "auth/sso/<slug:provider_id>/logout",
    "auth/mcp/callback",  # its state names the user
    "auth/mcp/client.json",  # authorization servers read it
    "health", "api/health", "metrics", "api/schema", "api/asyncapi", "api/docs", "api/discovery/services",
    "ws", "ws/factory", "ws/isolated", "ws/legacy", "ws/ai-sdk", "ws/config",
}  # fmt: skip
# Shells without a word of a user in them.
PAGES = {"", "login", "login/done", "signup", "settings", "inputs", "c/<slug:thread_id>"}
SHARED = {"s/<str:token>"}  # its readers: tests/integration/test_sharing.py
FIXED = {"favicon.ico", "robots.txt"}


def modules(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@cache
def calls(tree: ast.Module) -> list[tuple[str, int]]:
    """Every call as it is written, e.g. `layer.post`, with its line."""
    return [(ast.unparse(node.func), node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize(
    ("package", "forbidden"), [("chat", ("agents", "netra")), ("agents", ("netra",)), ("netra", ("agents",))]
)
def test_imports_run_one_way(package, forbidden):
    for path, tree in modules(package):
        wrong = {name for name in imports(tree) if name.split(".")[0] in forbidden}
        assert not wrong, f"{path} imports {wrong}: pass what it needs as data, or move the code to where it belongs"


def pure_modules() -> set[str]:
    paths = {
        path for name in PURE for path in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name])
    }
    return {str(path.relative_to(ROOT)) for path in paths}


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("path", sorted(pure_modules()))
def test_pure_modules_import_the_standard_library(path):
    names = imports(ast.parse((ROOT / path).read_text()))
    allowed = {module_name(pure) for pure in pure_modules()}
    known = sys.stdlib_module_names | (DECLARATIVE if path.startswith("chat/protocol/") else set())
    wrong = {name for name in names if name.split(".")[0] not in known and name not in allowed}
    assert not wrong, f"{path} is pure, but imports {wrong}: do the impure part where it is called"


def test_worker_and_toolbox_import_no_agent():
    agents = ("agents.advisor", "agents.assistant", "agents.echo")
    for path, tree in modules("agents/worker", "agents/toolbox", "agents/usage", "agents/llm", "agents/sdk"):
        wrong = {name for name in imports(tree) if name.startswith(agents)}
        assert not wrong, f"{path} imports {wrong}: what agents share belongs into agents/llm or agents/toolbox"


def test_tests_import_no_other_test_module():
    for path, tree in modules("tests", "tools"):
        wrong = {name for name in imports(tree) if re.match(r"tests\.(unit|integration|e2e)\b", name)}
        assert not wrong, f"{path} imports {wrong}: move what tests share to tests/factories.py or a module beside it"


def test_packages_and_modules_stay_small():
    packages = {path.parent for name in ("chat", "agents", "netra") for path in (ROOT / name).rglob("*.py")}
    for package in packages:
        name = str(package.relative_to(ROOT))
        found = [path for path in package.glob("*.py") if path.name != "__init__.py"]
        few = len(found) <= MAX_MODULES or name in MANY_MODULES or package.name == "migrations"
        assert few, f"{name} has {len(found)} modules: at most {MAX_MODULES}"
    for path, _ in modules("chat", "agents", "netra"):
        lines = len((ROOT / path).read_text().splitlines())
        assert lines <= MAX_LINES, f"{path} has {lines} lines: at most {MAX_LINES}"


SCRIPTS = ROOT / "chat/pages/static/chat"
IMPORT = re.compile(r"^import (?:[^;]* from )?\"([^\"]+)\";", re.M)
# What each layer of the page's scripts may import besides itself: state knows neither the server nor the page.
SCRIPT_LAYERS = {"text": set(), "state": set(), "net": {"state", "text"}, "markdown": {"text", "ui"}}
SCRIPT_LAYERS |= {"ui": {"net", "state", "text", "markdown"}}


def script_imports(script: Path) -> list[str]:
    """The modules that a script imports: paths below the static folder, or names of libraries."""
    names = IMPORT.findall(script.read_text())
    own = [name for name in names if name.startswith(".")]
    paths = [str((script.parent / name).resolve().relative_to(SCRIPTS)) for name in own]
    return paths + [name for name in names if name not in own]


def test_page_scripts_and_styles_stay_small():
    for path in [*SCRIPTS.rglob("*.js"), *SCRIPTS.rglob("*.css")]:
        lines = len(path.read_text().splitlines())
        assert lines <= MAX_LINES, f"{path.relative_to(SCRIPTS)} has {lines} lines: at most {MAX_LINES}"


def test_page_scripts_import_only_layers_below():
    for script in SCRIPTS.glob("*/*.js"):
        layer = script.parent.name
        layers = {name.split("/")[0] for name in script_imports(script) if "/" in name}
        wrong = layers - SCRIPT_LAYERS[layer] - {layer}
        assert not wrong, f"{script.name} of {layer} imports {wrong}: pass what it needs, or move it"


def test_page_preloads_every_script_that_it_imports():
    seen, left = set(), ["ui/app.js"]
    while left:
        name = left.pop()
        if name not in seen and name.endswith(".js"):
            left += script_imports(SCRIPTS / name)
        seen.add(name)
    seen.remove("#strings")
    own = {f"chat/{name}" for name in seen if name.endswith(".js")} - {"chat/ui/app.js"}
    preloaded = {name for name in pages.MODULES if not name.startswith("vendor/")}
    assert preloaded == own, f"LAYERS in chat/pages/views.py: {preloaded ^ own}"
    libraries = {name.split("/")[1] for name in pages.MODULES if name.startswith("vendor/")}
    assert libraries == {name for name in seen if not name.endswith(".js")}


def test_only_the_write_service_publishes():
    for path, tree in modules("chat", "agents", "netra"):
        if path.startswith((RECORD, "chat/realtime/")):
            continue
        wrong = {name for name, _ in calls(tree) if name.endswith((".group_send", ".group_add", ".publish"))}
        wrong |= {name for name in imports(tree) if name.startswith(("chat.realtime.pubsub", "chat.realtime.redis"))}
        assert "channel_layer.publish" not in (ROOT / path).read_text(), f"{path} publishes: let {RECORD} do it"
        assert not wrong, f"{path} uses {wrong}: add a function to {RECORD} that publishes"


def test_only_the_write_service_writes_its_tables():
    writes = re.compile(r"\b(Thread|Message|Run|Event|Worker)\.objects\b.*\.(create|update|delete|bulk_create)$", re.S)
    for path, tree in modules("chat", "agents", "netra"):
        if path.startswith(RECORD):
            continue
        wrong = [f"{name}, line {line}" for name, line in calls(tree) if writes.search(name)]
        assert not wrong, f"{path} writes rows of the write service ({wrong}): add a function to {RECORD}"


def test_only_settings_read_the_environment():
    allowed = {
        "netra/env.py",
        "netra/settings.py",
        "netra/asgi.py",
        "chat/devserver/environment.py",
    }
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
    ours = [path for path, _ in routes(get_resolver()) if path not in PAGES | NO_USER | FIXED | SHARED]
    assert len(ours) >= 15
    for path in ours:
        filled = re.sub(r"<[^>]+>", "00000000-0000-4000-8000-000000000000", path)
        answers = {client.generic(method, "/" + filled).status_code for method in ("GET", "POST", "PATCH", "DELETE")}
        assert answers <= {401, 405, 404}, f"/{path} answers {answers} without a token: let it demand a user"
        assert 401 in answers or answers == {404}, f"/{path} never asks for a token"


def test_every_route_has_a_name_of_its_own():
    names = [entry.name for path, entry in routes(get_resolver()) if path]
    assert None not in names, "name every route in chat/urls.py: code and templates reverse it"
    assert len(set(names)) == len(names)


def test_every_invariant_names_a_test_that_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert text.count("**Invariant") == 11
    for file, name in re.findall(r"`(test_\w+\.py)?::(\w+)`", text):
        (source,) = [path.read_text() for path in (ROOT / "tests").rglob(file or "test_architecture.py")]
        assert f"def {name}(" in source, f"ARCHITECTURE.md names {name}, which is not there"


def test_every_test_that_a_document_names_exists():
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    tests |= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for document in (ROOT / "docs" / "reliability.md", ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md"):
        named = set(re.findall(r"test_\w+", document.read_text()))
        assert named <= tests, f"{document.name} names tests that are not there: {sorted(named - tests)}"


DOCUMENTED = [
    *(f"agents/{name}" for name in ("advisor", "assistant", "llm", "sdk", "toolbox", "usage", "worker")),
    *(
        f"chat/{name}"
        for name in ("accounts", "admin", "api", "assistants", "dashboard", "db", "devserver", "dialects", "limits")
    ),
    *(f"chat/{name}" for name in ("management", "mcp_client", "mcp_server", "models", "oidc", "pages", "protocol")),
    *(f"chat/{name}" for name in ("realtime", "runs", "streams", "usage")),
    "netra",
    "tests",
    "tools",
]
NO_FIRST_WORD = re.compile(
    r"(what|whatever|who|whose|whoever|where|wherever|whether|when|which|how|why|that|this|these|those|there|here|it|its|they|"
    r"their|he|she|so many|as many|all that|of|for|from|as|nobody|somebody|anybody)\b",
    re.I,
)


@pytest.mark.parametrize("package", DOCUMENTED)
def test_docstrings_begin_with_a_verb_or_a_noun(package):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path, tree in modules(package):
        docs = {ast.get_docstring(node) or "": node for node in ast.walk(tree) if isinstance(node, kinds)}
        wrong = [doc.splitlines()[0] for doc in docs if NO_FIRST_WORD.match(doc)]
        assert not wrong, f"{path}: {wrong}: say what the function does, or what the class or the module is"
