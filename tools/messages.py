"""Bring the catalogues of templates and Python up to date with the texts there, and compile them.

It needs neither GNU gettext nor a network. What is new in a catalogue is empty: translate it, and run this again.
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import django
from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.apps import apps
from django.utils.translation import templatize

from chat.dashboard import names
from chat.devserver import environment

ROOT = Path(__file__).resolve().parents[1]
CATALOGUES = sorted((ROOT / "chat/locale").glob("*/LC_MESSAGES/django.po"))
TEMPLATES = ROOT / "chat/pages/templates"
# What libraries say in another tone than the pages do, or do not translate.
OF_LIBRARIES = (
    "Enter a valid email address.",
    "Reset password",
    "Raw passwords are not stored, so there is no way to see the user’s password.",
)
KEYWORDS = {"_": None, "gettext": None, "gettext_lazy": None, "gettext_noop": None, "ngettext": (1, 2)}


def texts() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """Yield (path, text or its plural forms) of every text that Django translates."""
    for path in [*sorted(TEMPLATES.rglob("*.*")), *sorted((ROOT / "chat").rglob("*.py"))]:
        source = path.read_text()
        if path.suffix != ".py":
            source = templatize(source, origin=path.name)
        elif "django.utils.translation" not in source:
            continue
        for _, text, _, _ in extract("python", BytesIO(source.encode()), KEYWORDS):
            yield str(path.relative_to(ROOT)), text
    for text in names.texts(apps.get_app_config("chat").get_models()):
        yield "chat/models", text
    for text in OF_LIBRARIES:
        yield "tools/messages.py", text


def read(path: Path) -> Catalog:
    """Return the catalogue of this file."""
    with path.open("rb") as file:
        catalogue = read_po(file, locale=path.parents[1].name)
    # Else Babel puts the time of now into what is compiled.
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    return catalogue


def updated(known: Catalog) -> Catalog:
    """Return the catalogue with all texts that there are, and no others; what was translated stays so."""
    fresh = Catalog(known.locale)
    for path, text in texts():
        message = fresh.add(text, locations=[(path, None)])
        if (old := known.get(message.id)) and not old.fuzzy:
            message.string = old.string
    return fresh


def written(catalogue: Catalog) -> bytes:
    """Return the catalogue as a .po file, without dates."""
    file = BytesIO()
    write_po(file, catalogue, width=0, omit_header=True, include_lineno=False)
    header = f"# {catalogue.locale.english_name} texts of pages and mails, kept by `make messages`.\n"
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
