"""Runs that wait for an agent that no live worker offers."""

import time
import uuid

from django.conf import settings

from chat import runs
from chat.db.access import from_database, in_database


class UnservedAgents:
    """Agents that queued runs wait for and no live worker offers.

    Their runs fail once the state has lasted NETRA_RUN_TIMEOUT without a break: the agent's workers may be restarting,
    or a deployment may reach its last worker later.
    """

    def __init__(self, worker_id: uuid.UUID) -> None:
        self._worker_id = worker_id
        self._since: dict[str, float] = {}  # agent -> seconds of the monotonic clock

    async def fail_overdue(self) -> None:
        """Fail the runs whose agent has been unserved for too long. Raises Django's database errors."""
        now, before = time.monotonic(), self._since
        self._since = {}  # a query that fails breaks the period
        if not await from_database(runs.live_workers().filter(id=self._worker_id).exists):
            return  # a worker without a live heartbeat of its own may see other live workers as dead
        self._since = {agent: before.get(agent, now) for agent in await from_database(runs.unserved_agents)}
        overdue = [agent for agent, since in self._since.items() if now - since > settings.NETRA_RUN_TIMEOUT]
        if overdue:
            await in_database(runs.fail_unserved, overdue)
