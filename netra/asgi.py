"""The web process: HTTP to Django, WebSockets to the consumer."""

import gc
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netra.settings")

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

try:
    django_application = get_asgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"Netra cannot start: {error}")

from channels.routing import ProtocolTypeRouter
from django.core.checks import ERROR, run_checks
from django.core.checks.registry import registry

from chat import layer, writing
from chat.consumers import ChatConsumer

# daphne runs no system checks by itself. Agents are checked where they are played.
problems = [p for p in run_checks(tags=sorted(registry.tags_available() - {"agents"})) if p.level >= ERROR]
if problems:
    sys.exit("Netra cannot start:\n" + "\n".join(str(problem) for problem in problems))

writing.install()
_router = ProtocolTypeRouter({"http": django_application, "websocket": ChatConsumer.as_asgi()})

# What is there now stays: to look through it for garbage, again and again, takes some 80 ms each time.
gc.collect()
gc.freeze()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    layer.attach()
    await _router(scope, receive, send)
