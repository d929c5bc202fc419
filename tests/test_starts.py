"""Messages that wait for each other's transaction."""

import asyncio

import pytest

from chat import starts
from chat.models import Run
from chat.protocol import ProtocolError
from chat.runs import Asked
from tests.site import PATIENCE
from tests.test_runs import message

pytestmark = pytest.mark.django_db(transaction=True)


def together(*asked):
    """What `start` gives for each, or raises."""

    async def run():
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(starts.start(one) for one in asked), return_exceptions=True)

    return asyncio.run(run())


def test_the_next_message_of_who_was_just_answered_does_not_wait_for_another(alice):
    async def one_after_the_other():
        async with asyncio.timeout(PATIENCE):
            for number in range(3):
                await starts.start(Asked(alice.id, message(str(number))))

    asyncio.run(one_after_the_other())
    assert Run.objects.count() == 3


def test_what_one_did_wrong_is_told_to_that_one(alice, bob):
    right, wrong = Asked(alice.id, message()), Asked(bob.id, message(agent="nobody"))
    first, second = together(right, wrong)
    assert Run.objects.get().id == first.run_id
    assert isinstance(second, ProtocolError)


def test_one_id_twice_is_one_run(alice):
    asked = Asked(alice.id, message(client_msg_id="one"))
    first, second = together(asked, asked)
    assert (first.run_id, first.repeated) == (second.run_id, not second.repeated)
