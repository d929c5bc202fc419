"""The lock files: in step with requirements*.txt, hashed, and the source of every installation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["requirements", "requirements-dev", "requirements-npm"]


def direct(name: str) -> set[str]:
    """Return the pins of NAME.txt, such as `psycopg[binary,pool]==3.3.9`, and of the files that it includes."""
    found = set()
    for line in (ROOT / f"{name}.txt").read_text().splitlines():
        if included := re.fullmatch(r"-r (\S+)\.txt", line):
            found |= direct(included[1])
        elif pin := line.partition("#")[0].strip():
            found.add(pin.lower())
    return found


def locked(name: str) -> dict[str, str]:
    """Return each pin of NAME.lock with the text below it: its hashes and a comment with the packages that need it."""
    text = (ROOT / f"{name}.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {re.split(r" [;\\]", entry, maxsplit=1)[0].replace(" ", ""): entry for entry in entries}


@pytest.mark.parametrize("name", NAMES)
def test_lock_file_and_its_source_have_the_same_direct_dependencies(name):
    asked = {pin for pin, entry in locked(name).items() if re.search(r"-r requirements\S*\.txt", entry)}
    assert asked == direct(name), f"{name}.lock is older than {name}.txt: run `make lock` and commit both"


@pytest.mark.parametrize("name", NAMES)
def test_lock_file_has_hashes_and_no_address(name):
    assert [pin for pin, entry in locked(name).items() if "--hash=sha256:" not in entry] == []
    text = (ROOT / f"{name}.lock").read_text()
    assert re.findall(r"\S*://\S*|^--.*", text, flags=re.MULTILINE) == []


def test_lock_file_of_developers_contains_the_one_of_servers():
    developers = locked("requirements-dev")
    hashes = re.compile(r"sha256:\w+")
    for pin, entry in locked("requirements").items():
        assert hashes.findall(entry) == hashes.findall(developers.get(pin, "")), f"{pin} differs: run `make lock`"


def test_installations_require_hashes():
    for file, command in (("Makefile", "pip install"), ("deploy/Dockerfile", "pip install")):
        lines = [line for line in (ROOT / file).read_text().splitlines() if command in line]
        assert lines
        assert [line for line in lines if "--require-hashes" not in line] == []
