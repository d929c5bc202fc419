"""Scripts as collectstatic makes them, and the first load of the page."""

import gzip
from pathlib import Path

from django.contrib.staticfiles import finders
from django.core.management import call_command

from chat.pages import views as pages
from netra.static_files import without_comments
from tests.scripts import SCRIPTS, tokens

MAX_FIRST_LOAD = 200_000  # bytes, compressed


def test_scripts_without_comments_have_the_same_tokens():
    for path in SCRIPTS.rglob("*.js"):
        source = path.read_text()
        assert tokens(without_comments(source)) == tokens(source), path.name
    assert (
        without_comments("/** a\n * b */\nx(); // c\n  // d\n/** e */ y();\n/* f */\n") == "x(); // c\n/** e */ y();\n"
    )


def test_first_load_of_the_page_has_its_bound(tmp_path, settings):
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)  # a second time changes nothing
    shared = ["base", "controls", "notice"]
    styles = [*pages.STYLES, *(f"chat/css/{name}.css" for name in shared)]
    for language, tables in pages.TABLES.items():
        scripts = [*pages.MODULES, *(f"chat/text/{name}.js" for name in tables), "chat/ui/app.js", "chat/ui/theme.js"]
        size = sum(len(gzip.compress((tmp_path / name).read_bytes(), 6)) for name in (*scripts, *styles))
        assert size <= MAX_FIRST_LOAD, f"{language}: {size} bytes; load later what is not needed for the first view"
    source, made = Path(str(finders.find("chat/ui/app.js"))), tmp_path / "chat/ui/app.js"
    assert made.read_text() == without_comments(source.read_text())
