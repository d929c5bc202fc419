"""The Django app: system checks, signal receivers, and the objects of which each process has one."""

from django.apps import AppConfig
from django.conf import settings


class ChatConfig(AppConfig):
    """The app `chat`. `rate_limiter` and `connection_limiter` are read through chat.limits."""

    name = "chat"

    def ready(self) -> None:
        """Register what the app has to register, and make this process's objects."""
        from chat import catalogue, checks  # noqa: F401
        from chat.accounts import audit, signals  # noqa: F401
        from chat.db import search  # noqa: F401

        self.make_limiters(settings.REDIS_URL)

    def make_limiters(self, redis_url: str) -> None:
        """Make the limiters, which connect at their first use."""
        from chat.limits.connections import ConnectionLimiter
        from chat.limits.rates import RateLimiter
        from chat.limits.redis_scripts import RedisScripts

        scripts = RedisScripts(redis_url)
        self.rate_limiter, self.connection_limiter = RateLimiter(scripts), ConnectionLimiter(scripts)
