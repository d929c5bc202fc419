from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        # Imported for what they register: the system check, what ends a user's sessions, and what is kept of it.
        from chat import audit, auth, checks  # noqa: F401
