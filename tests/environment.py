"""The environment of the tests, set before the settings are read (`-p tests.environment` in pyproject.toml).

What is given wins: with DATABASE_URL and REDIS_URL the same tests run on PostgreSQL and another Redis.
"""

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp(prefix="netra-test-"))
atexit.register(shutil.rmtree, folder, ignore_errors=True)

for name, value in {
    "SECRET_KEY": "a key for tests that guards nothing but tests",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    "ALLOWED_ORIGINS": "http://localhost:8000,http://testserver",
    "DATABASE_URL": f"sqlite:///{folder}/unit.sqlite3",
    "REDIS_URL": f"unix://{folder}/valkey.sock",
    "NETRA_HTTPS": "off",
    "NETRA_RATE_LIMITS": "off",  # a site of tests/site.py has them
    "NETRA_USER_SHARE": "1",  # there a user has a share; a claim of a test's own takes all that it asks for
    "NETRA_DATA_DIR": str(folder / "var"),
}.items():
    os.environ.setdefault(name, value)

# Each worker of pytest-xdist has a database of a given Redis. pytest-django does the same for PostgreSQL.
worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
if found := re.fullmatch(r"(rediss?://[^/]+)(?:/(\d*))?", os.environ["REDIS_URL"]):
    os.environ["REDIS_URL"] = f"{found[1]}/{int(found[2] or 0) + int(worker)}"
