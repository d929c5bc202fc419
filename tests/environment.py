"""The environment of the tests, set before the settings are read (`-p tests.environment` in pyproject.toml).

What is given wins: with DATABASE_URL and REDIS_URL the same tests run on PostgreSQL and another Redis.
"""

import atexit
import os
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
    "NETRA_LIMITS": "off",  # a site of tests/site.py has them
    "NETRA_VAR": str(folder / "var"),
}.items():
    os.environ.setdefault(name, value)
