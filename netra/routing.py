"""Routes of WebSockets: each path of the protocol leads to the consumer with its connection mode."""

from typing import Any
from urllib.parse import unquote

from channels.routing import URLRouter
from django.urls import path, re_path

from chat import protocol
from chat.aisdk.consumer import AiSdkConsumer
from chat.realtime.connections import registry
from chat.realtime.consumers import ChatConsumer
from chat.runs.batching import StartBatcher

_parts = {"registry": registry(), "batcher": StartBatcher()}
_consumer = ChatConsumer.as_asgi(**_parts)
_consumers = {"ai-sdk": AiSdkConsumer.as_asgi(**_parts)}

websocket_urlpatterns = [
    *(
        path(route.removeprefix("/"), _consumers.get(mode, _consumer), {"mode": mode})
        for route, mode in protocol.MODES.items()
    ),
    re_path("", _consumer, {"mode": ""}),  # the consumer refuses the handshake and counts it
]
_router = URLRouter(websocket_urlpatterns)


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Route a connection by its path below the base path.

    URLRouter removes every slash in front of a path; a path with two of them is not one of the protocol.
    """
    base = scope.get("root_path", "")
    below = unquote(scope["path"].removeprefix(base))
    if below.startswith("//"):
        await _consumer({**scope, "url_route": {"args": (), "kwargs": {"mode": ""}}}, receive, send)
    else:
        await _router({**scope, "path": base + below}, receive, send)
