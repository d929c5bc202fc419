"""Bring the catalogues of templates, Python and agents up to date with the texts there, and compile them.

`django.po` has the texts of pages and mails, `agents.po` those that agents say (chat/translation.py). It needs neither
GNU gettext nor a network. What is new in a catalogue is empty: translate it, and run this again.
"""

import os
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

import django
from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.apps import apps
from django.utils.translation import templatize

from agents.usage import asked, figures, rates
from agents.usage.reading import values
from chat.dashboard import names
from chat.devserver import environment
from chat.usage import formats
from chat.usage.names import ROLES

ROOT = Path(__file__).resolve().parents[1]
CATALOGUES = sorted((ROOT / "chat/locale").glob("*/LC_MESSAGES/*.po"))
TEMPLATES = ROOT / "chat/pages/templates"
# What libraries say in another tone than the pages do, or do not translate.
OF_LIBRARIES = (
    "Enter a valid email address.",
    "Reset password",
    "Raw passwords are not stored, so there is no way to see the user’s password.",
)
KEYWORDS = {"_": None, "gettext": None, "gettext_lazy": None, "gettext_noop": None, "ngettext": (1, 2)}
AGENTS_KEYWORDS = {"t": None, "tn": (1, 2), "tc": ((1, "c"), 2)}
ABOUT = {"django": "texts of pages and mails", "agents": "texts of agents"}

Found = tuple[str, str | tuple[str, ...], str | None]  # path, text or its plural forms, context


def toml(path: str) -> dict[str, Any]:
    """Return the tables of a file of the repository."""
    return tomllib.loads((ROOT / path).read_text())


def agents_texts() -> Iterator[Found]:
    """Yield every text that an agent translates: those in calls, and those in tables that a variable names."""
    for path in [*sorted((ROOT / "agents").rglob("*.py")), *sorted((ROOT / "chat/usage").rglob("*.py"))]:
        for _, text, _, context in extract("python", BytesIO(path.read_bytes()), AGENTS_KEYWORDS):
            yield str(path.relative_to(ROOT)), text, context
    table = toml("agents/advisor/fields.toml")
    goals = [goal["title"] for goal in table["goals"].values() if "title" in goal]
    plain = [table[name].values() for name in ("titles", "needs", "said", "per", "several", "prices", "refusals")]
    levers = [lever.values() for lever in table["levers"].values()]
    for text in [*goals, *table["scales"], *table["nouns"].split(), *chain(*plain, *levers)]:
        yield "agents/advisor/fields.toml", text, None
    hints = get_type_hints(asked.Query).values()
    for text in (choice for hint in hints for choice in get_args(hint) if isinstance(choice, str) and choice):
        yield "agents/usage/asked.py", text.replace("_", " "), None
    for text in [*figures.FORMULAS.values(), *figures.EFFECTS.values(), rates.FORMULA]:
        yield "agents/usage/figures.py", text, None
    for text in toml("agents/advisor/language/words.toml")["conversions"].values():
        yield "agents/advisor/language/words.toml", text, None
    for text, _, _ in values.problems():
        yield "agents/usage/reading/values.py", text, None
    for text in chain(ROLES.values(), *([one.title, *one.notes] for one in formats.FORMATS)):
        yield "chat/usage/names.toml", text, None


def texts() -> Iterator[Found]:
    """Yield every text that Django translates."""
    for path in [*sorted(TEMPLATES.rglob("*.*")), *sorted((ROOT / "chat").rglob("*.py"))]:
        source = path.read_text()
        if path.suffix != ".py":
            source = templatize(source, origin=path.name)
        elif "django.utils.translation" not in source:
            continue
        for _, text, _, _ in extract("python", BytesIO(source.encode()), KEYWORDS):
            yield str(path.relative_to(ROOT)), text, None
    for text in names.texts(apps.get_app_config("chat").get_models()):
        yield "chat/models", text, None
    for text in OF_LIBRARIES:
        yield "tools/messages.py", text, None


def read(path: Path) -> Catalog:
    """Return the catalogue of this file."""
    with path.open("rb") as file:
        catalogue = read_po(file, locale=path.parents[1].name, domain=path.stem)
    # Else Babel puts the time of now into what is compiled.
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    return catalogue


def updated(known: Catalog) -> Catalog:
    """Return the catalogue with all texts that there are, and no others; what was translated stays so."""
    fresh = Catalog(known.locale, domain=known.domain)
    for path, text, context in agents_texts() if known.domain == "agents" else texts():
        message = fresh.add(text, locations=[(path, None)], context=context)
        if (old := known.get(message.id, context)) and not old.fuzzy:
            message.string = old.string
    return fresh


def written(catalogue: Catalog) -> bytes:
    """Return the catalogue as a .po file, without dates."""
    file = BytesIO()
    write_po(file, catalogue, width=0, omit_header=True, include_lineno=False)
    header = f"# {catalogue.locale.english_name} {ABOUT[str(catalogue.domain)]}, kept by `make messages`.\n"
    header += 'msgid ""\nmsgstr ""\n'
    header += '"Content-Type: text/plain; charset=utf-8\\n"\n'
    header += f'"Language: {catalogue.locale}\\n"\n"Plural-Forms: {catalogue.plural_forms}\\n"\n\n'
    return header.encode() + file.getvalue()


def compiled(catalogue: Catalog) -> bytes:
    """Return the catalogue as a .mo file."""
    file = BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def main() -> int:
    """Update and compile every catalogue. Return the number of texts that are not translated."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "netra.settings"
    environment.prepare()
    django.setup()
    missing = 0
    for path in CATALOGUES:
        catalogue = updated(read(path))
        path.write_bytes(written(catalogue))
        path.with_suffix(".mo").write_bytes(compiled(read(path)))
        left = [message.id for message in catalogue if message.id and not all(message.string or [""])]
        missing += len(left)
        print(f"{path.relative_to(ROOT)}: {len(catalogue)} texts, {len(left)} not translated", *left, sep="\n  ")
    return missing


if __name__ == "__main__":
    sys.exit(bool(main()))
