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
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.checks.registry import registry

from chat.api import bodies, cors, turns
from chat.mcp_server.application import with_mcp
from chat.realtime import channel_layer
from chat.realtime import daphne_reader
from chat.realtime import daphne_writer
from chat.streams.requests import observed
from netra.base_path import mounted
from netra.routing import websocket

# daphne runs no system checks by itself. Agents are checked where they are played.
problems = [p for p in run_checks(tags=sorted(registry.tags_available() - {"agents"})) if p.level >= ERROR]
if problems:
    sys.exit("Netra cannot start:\n" + "\n".join(str(problem) for problem in problems))

daphne_writer.install()
daphne_reader.install()
_http = cors.cross_origin(bodies.bounded(observed(with_mcp(turns.in_turn(django_application)))))
_router = ProtocolTypeRouter({"http": _http, "websocket": websocket})

# What is there now stays: to look through it for garbage, again and again, takes some 80 ms each time.
gc.collect()
gc.freeze()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one request or connection below NETRA_BASE_PATH."""
    channel_layer.get_layer().attach()
    if "path" in scope:
        scope = mounted(scope, settings.NETRA_BASE_PATH)
    await _router(scope, receive, send)
