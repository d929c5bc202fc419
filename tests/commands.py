"""Commands in a process of their own, with an environment that is good for a deployment."""

import os
import subprocess
import sys
from pathlib import Path

from tests.site import WAIT_TIMEOUT

ROOT = Path(__file__).resolve().parents[1]


GOOD = {
    "SECRET_KEY": "a key for tests that guards nothing but tests, and is long enough",
    "ALLOWED_HOSTS": "netra.example",
    "ALLOWED_ORIGINS": "https://netra.example",
    "DATABASE_URL": "sqlite:///var/check.sqlite3",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}


def start(*command: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in {**GOOD, **environment}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=WAIT_TIMEOUT,
    )
