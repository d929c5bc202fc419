"""Run the tests of clients of others, which are written in JavaScript, against a site."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "interop"
TIMEOUT = 240  # seconds


def run(site: Any, script: str) -> None:
    """Run a script of tests/interop as two new users of the site."""
    alice, bob = site.register(), site.register()
    key = alice.http("POST", "/auth/keys", {"name": "reader", "scopes": ["read"]}).json()["key"]
    run_script(script, NETRA_URL=site.url, NETRA_ALICE=alice.access, NETRA_BOB=bob.access, NETRA_READ_KEY=key)


def run_script(script: str, **environment: str) -> None:
    """Run a script of tests/interop, and show its report if a test fails."""
    if not (FOLDER / "node_modules").is_dir() and "CI" not in os.environ:
        pytest.skip("the clients are not installed: make install-dev")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    older = int(re.findall(r"\d+", version)[0]) < 22  # where WebSocket is an experiment
    options = ["--no-warnings", *(["--experimental-websocket"] if older else [])]
    done = subprocess.run(
        ["node", *options, "--test", "--test-reporter=spec", script],
        cwd=FOLDER,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
