"""An upgrade from the release before sign-in by a provider: users, sessions, conversations and tokens are kept."""

from pathlib import Path

import httpx

from tests.site import WAIT_TIMEOUT, Site, empty

# Apps whose tables came with sign-in by a provider, and the newest migration of before.
BEFORE = (("oidc", "zero"), ("socialaccount", "zero"), ("account", "zero"), ("chat", "0004_run_waiting"))
NEW_TABLES = ("account_emailaddress", "socialaccount_socialaccount", "netra_cache")


def migrate(site: Site, *target: str) -> None:
    process = site.start("manage.py", "migrate", "-v", "0", *target, log="migrate")
    assert process.wait() == 0, site.log("migrate")


def stop(site: Site) -> None:
    """End web process and workers as a restart does."""
    for process in (site.web, *site.workers):
        assert process is not None
        process.terminate()
        process.wait(WAIT_TIMEOUT)


def test_database_of_before_is_migrated_and_nobody_is_signed_out(tmp_path: Path) -> None:
    with empty(tmp_path) as site:
        site.start_redis()
        site.create_database()
        site.start_web()
        site.worker()
        alice, bob = site.register("alice"), site.register("bob")
        socket = alice.connect()
        first = socket.ask("one two three")
        thread = first["thread_id"]
        socket.answer(first["run_id"])
        bobs = bob.connect()
        bobs.answer(bobs.ask("for bob")["run_id"])
        # A run is under way when the site stops, and its socket has seen the beginning.
        second = socket.ask("x", agent="slow", thread_id=thread)
        socket.receive("agent_delta", run_id=second["run_id"])
        seen = socket.events(thread)
        stop(site)
        assert socket.closed() != 4401

        for target in BEFORE:
            migrate(site, *target)
        site.shell(
            "from django.db import connection\n"
            f"assert not set({NEW_TABLES}) & set(connection.introspection.table_names())\n"
            "with connection.cursor() as cursor:\n"
            "    columns = connection.introspection.get_table_description(cursor, 'chat_session')\n"
            "assert not [column.name for column in columns if column.name.startswith('provider')]"
        )
        migrate(site)

        site.start_web()
        site.worker()
        # The access token of before opens a socket, and what was missed meanwhile comes without a gap.
        socket = alice.connect()
        assert socket.hello["data"]["user_id"] == alice.id
        page = {"after": seen[-1]["seq"], "more": True}
        while page["more"]:
            socket.send({"type": "resume", "thread_id": thread, "after": page["after"]})
            page = socket.receive("resumed")
        socket.receive("agent_delta", run_id=second["run_id"])
        socket.send({"type": "stop_agent", "run_id": second["run_id"]})
        socket.answer(second["run_id"])
        numbers = {event["seq"] for event in (*seen, *socket.events(thread))}
        assert numbers == set(range(1, max(numbers) + 1)), "what is new may come before what is resumed"
        question, answer, *_ = alice.http("GET", f"/api/threads/{thread}/messages").json()["messages"]
        assert (question["content"], answer["content"].strip()) == ("one two three", "one two three")
        assert bob.http("GET", f"/api/threads/{thread}").status_code == 404
        # So does the refresh token, once, and the password.
        spend = {"refresh_token": alice.refresh}
        fresh = httpx.post(f"{site.url}/auth/refresh", json=spend, timeout=WAIT_TIMEOUT)
        assert fresh.status_code == 200, fresh.text
        assert len(alice.http("GET", "/auth/sessions").json()["sessions"]) == 1
        login = {"email": bob.email, "password": bob.password}
        assert httpx.post(f"{site.url}/auth/login", json=login, timeout=WAIT_TIMEOUT).status_code == 200
        for user in (alice, bob):
            assert user.http("GET", "/auth/me").json()["email_verified"] is False
        site.shell(
            "from allauth.account.models import EmailAddress\n"
            "rows = EmailAddress.objects.order_by('user_id').values_list('email', 'primary', 'verified')\n"
            f"assert list(rows) == [({alice.email!r}, True, False), ({bob.email!r}, True, False)], list(rows)"
        )
