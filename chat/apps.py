from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        # Imported for what they register: the system check, and what ends a user's sessions.
        from chat import auth, checks  # noqa: F401
