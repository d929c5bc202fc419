"""Messages that wait for each other's transaction."""

import asyncio

import pytest

from chat.models import Run
from chat.protocol import ProtocolError
from chat.runs import StartRequest
from chat.runs.batching import StartBatcher
from tests.factories import message
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


def together(*asked):
    """Return the result of `start` for each request, or its exception."""

    async def run():
        batcher = StartBatcher()
        async with asyncio.timeout(WAIT_TIMEOUT):
            return await asyncio.gather(*(batcher.start(one) for one in asked), return_exceptions=True)

    return asyncio.run(run())


def test_start_batcher_next_message_does_not_wait_for_another(alice):
    async def one_after_the_other():
        batcher = StartBatcher()
        async with asyncio.timeout(WAIT_TIMEOUT):
            for number in range(3):
                await batcher.start(StartRequest(alice.id, message(str(number))))

    asyncio.run(one_after_the_other())
    assert Run.objects.count() == 3


def test_start_batcher_error_reaches_only_its_caller(alice, bob):
    right, wrong = StartRequest(alice.id, message()), StartRequest(bob.id, message(agent="nobody"))
    first, second = together(right, wrong)
    assert Run.objects.get().id == first.run_id
    assert isinstance(second, ProtocolError)


def test_one_id_twice_is_one_run(alice):
    asked = StartRequest(alice.id, message(client_msg_id="one"))
    first, second = together(asked, asked)
    assert (first.run_id, first.repeated) == (second.run_id, not second.repeated)
