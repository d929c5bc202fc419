import uuid

import pytest

from chat import runs
from chat.models import User
from tests import turns
from tests.factories import message


@pytest.fixture
def thread(alice: User) -> uuid.UUID:
    """Return the thread of Alice's only run, which is queued for `tests.turns.execute`."""
    turns.DONE.clear()
    return runs.start(alice.id, message("begin")).thread_id
