from django.apps import AppConfig
from django.core.checks import register


class AgentsConfig(AppConfig):
    name = "agents"

    def ready(self) -> None:
        from agents.registry import check

        register(check, "agents")
