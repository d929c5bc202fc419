"""Bound on the requests that are worked on at a time, by ASGI messages alone."""

import asyncio
from collections import Counter

import pytest

from chat.accounts import sessions
from chat.api import turns
from chat.models import User
from tests.site import WAIT_TIMEOUT


class Requests:
    """Requests to an application that answers none before `release`; who is worked on stands in `working`."""

    def __init__(self) -> None:
        self.working: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.release = asyncio.Event()
        self._application = turns.in_turn(self._work)

    async def _work(self, scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        self.working[scope["who"]] += 1
        if scope["path"] == "/waits":
            await asyncio.to_thread(turns.end)
        await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.answered[scope["who"]] += 1

    def send(self, count, who, path="/api/threads", token="", address="192.0.2.1", bodies=({},)):
        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": (address, 1), "who": who}

        def request():
            messages = iter(bodies)

            async def receive():
                return {"type": "http.request", **next(messages)} if bodies else await asyncio.Event().wait()

            return self._application(scope, receive, self._drop)

        return [asyncio.create_task(request()) for _ in range(count)]

    async def _drop(self, message):
        pass

    async def settle(self):
        for _ in range(20):
            await asyncio.sleep(0)
        return dict(self.working)


@pytest.fixture
def token(db):
    return lambda name: sessions.sign_in(User.objects.create_user(f"{name}@example.com", "x"), "").access


def test_burst_of_one_user_leaves_others_their_turn(token):
    alice, bob = token("alice"), token("bob")

    async def run():
        requests = Requests()
        sent = requests.send(300, "alice", token=alice)
        assert await requests.settle() == {"alice": 4}
        sent += requests.send(1, "bob", token=bob) + requests.send(1, "visitor")
        assert await requests.settle() == {"alice": 4, "bob": 1, "visitor": 1}, "from one address, too"
        requests.release.set()
        await asyncio.gather(*sent)
        assert requests.answered == {"alice": 300, "bob": 1, "visitor": 1}

    asyncio.run(run())


def test_burst_with_tokens_that_are_none_counts_for_its_address():
    async def run():
        requests = Requests()
        sent = [task for number in range(50) for task in requests.send(1, "mallory", token=f"a.b.{number}")]
        sent += requests.send(1, "visitor", address="192.0.2.2")
        assert await requests.settle() == {"mallory": 4, "visitor": 1}
        requests.release.set()
        await asyncio.gather(*sent)

    asyncio.run(run())


def test_request_whose_body_is_on_its_way_takes_no_turn():
    async def run():
        requests = Requests()
        slow = requests.send(50, "slow", bodies=())
        sent = requests.send(1, "visitor")
        assert await requests.settle() == {"visitor": 1}
        requests.release.set()
        for task in slow:
            task.cancel()
        await asyncio.gather(*sent, *slow, return_exceptions=True)

    asyncio.run(run())


def test_request_that_only_waits_gives_its_turn_back():
    async def run():
        requests = Requests()
        sent = requests.send(50, "waiting", path="/waits")
        sent += requests.send(1, "waiting")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while requests.working["waiting"] < 51:
                await requests.settle()
        requests.release.set()
        await asyncio.gather(*sent)

    asyncio.run(run())


def test_client_that_leaves_before_its_turn_takes_none():
    async def run():
        requests = Requests()
        sent = requests.send(20, "alice")
        await requests.settle()
        for task in sent:
            task.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
        assert requests.working == {"alice": 4}
        last = requests.send(4, "bob")
        assert (await requests.settle())["bob"] == 4
        requests.release.set()
        await asyncio.gather(*last)

    asyncio.run(run())


def test_health_is_answered_while_all_others_wait():
    async def run():
        requests = Requests()
        sent = [t for number in range(20) for t in requests.send(9, "others", address=f"192.0.2.{number}")]
        assert (await requests.settle())["others"] == turns.MAX_REQUESTS
        sent += requests.send(1, "health", path="/health")
        assert (await requests.settle())["health"] == 1
        requests.release.set()
        await asyncio.gather(*sent)

    asyncio.run(run())
