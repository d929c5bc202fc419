"""The way to the database: its two threads, and transactions that go past Django's `atomic`."""

import asyncio
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connection, transaction

from chat.database import afterwards, from_database, in_database
from chat.models import Event
from chat.sql import execute, written
from tests.site import PATIENCE


@pytest.mark.parametrize("call", [in_database, from_database])
def test_whatever_a_call_ends_with_the_next_one_is_made(call):
    def fail():
        afterwards(lambda: exec("raise SystemExit"))
        raise KeyboardInterrupt

    async def calls():
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(KeyboardInterrupt):
                await call(fail)
            return await call(lambda: "made")

    assert async_to_sync(calls)() == "made"


def test_nothing_waits_for_the_database_in_a_loop(db):
    execute("SELECT 1")  # the connection is there

    async def ask():
        execute("SELECT 1")

    async def write():
        with written():
            pass

    for function in (ask, write):
        with pytest.raises(SynchronousOnlyOperation):
            asyncio.run(function())


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_is_refused_has_committed_nothing_and_told_nobody():
    told = []

    def refused():
        with written():
            Event.objects.create(thread_id=uuid.uuid4(), seq=1, type="agent_delta", frame="{}")
            transaction.on_commit(lambda: told.append("the first"))

    with pytest.raises(IntegrityError):  # there is no such thread: it is looked for by the COMMIT
        refused()
    assert (Event.objects.count(), told) == (0, [])
    with written():
        transaction.on_commit(lambda: told.append("the second"))
        assert connection.in_atomic_block
    assert told == ["the second"]
