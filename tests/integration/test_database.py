"""Database access from coroutines: two threads, and statements in a transaction."""

import asyncio
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connection, transaction

from chat.db.access import from_database, in_database
from chat.db.sql import execute
from chat.models import Event
from tests.site import WAIT_TIMEOUT


@pytest.mark.parametrize("call", [in_database, from_database])
def test_database_thread_survives_any_exception(call):
    def fail():
        raise KeyboardInterrupt

    async def calls():
        async with asyncio.timeout(WAIT_TIMEOUT):
            with pytest.raises(KeyboardInterrupt):
                await call(fail)
            return await call(lambda: "made")

    assert async_to_sync(calls)() == "made"


def test_nothing_waits_for_the_database_in_a_loop(db):
    execute("SELECT 1")  # the connection is there

    async def ask():
        execute("SELECT 1")

    async def write():
        with transaction.atomic():
            pass

    for function in (ask, write):
        with pytest.raises(SynchronousOnlyOperation):
            asyncio.run(function())


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_is_refused_has_committed_nothing_and_told_nobody():
    told = []

    def refused():
        with transaction.atomic():
            Event.objects.create(thread_id=uuid.uuid4(), seq=1, type="agent_delta", frame="{}")
            transaction.on_commit(lambda: told.append("the first"))

    with pytest.raises(IntegrityError):  # there is no such thread: it is looked for by the COMMIT
        refused()
    assert (Event.objects.count(), told) == (0, [])
    with transaction.atomic():
        transaction.on_commit(lambda: told.append("the second"))
        assert connection.in_atomic_block
    assert told == ["the second"]
