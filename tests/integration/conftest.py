import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat import runs
from chat.models import User
from tests import turns
from tests.factories import message
from tests.redis_layers import Server


@pytest.fixture
def thread(alice: User) -> uuid.UUID:
    """Return the thread of Alice's only run, which is queued for `tests.turns.execute`."""
    turns.DONE.clear()
    return runs.start(alice.id, message("begin")).thread_id


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks: Any) -> Any:
    """Return the context that holds what a test's transaction does on commit, and with `execute=True` does it."""
    return django_capture_on_commit_callbacks


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """Start a Redis of the test's own."""
    server = Server(tmp_path)
    yield server
    server.site.stop()
