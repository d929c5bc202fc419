"""The Django app: system checks, signal receivers, and the objects of which each process has one."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class ChatConfig(AppConfig):
    """The app `chat`.

    The limiters are read through chat.limits, `assistants` through chat.assistants.listing, `connections` through
    chat.realtime.connections.
    """

    name = "chat"

    def ready(self) -> None:
        """Register what the app has to register, and make this process's objects."""
        from chat import catalogue, checks  # noqa: F401
        from chat.accounts import audit, signals  # noqa: F401
        from chat.assistants import versions
        from chat.assistants.listing import AssistantList
        from chat.db import search  # noqa: F401
        from chat.mcp_client import revocation  # noqa: F401
        from chat.realtime.connections import ConnectionRegistry

        post_migrate.connect(versions.make_first, sender=self, dispatch_uid="assistants")
        self.assistants = AssistantList()
        self.connections = ConnectionRegistry()
        self.make_limiters(settings.REDIS_URL)

    def make_limiters(self, redis_url: str) -> None:
        """Make the limiters, which connect at their first use."""
        from chat.limits.connections import ConnectionLimiter
        from chat.limits.rates import RateLimiter
        from chat.limits.redis_scripts import RedisScripts

        scripts = RedisScripts(redis_url)
        self.rate_limiter, self.connection_limiter = RateLimiter(scripts), ConnectionLimiter(scripts)
