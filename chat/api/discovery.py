"""REST: the URLs of the API and the sockets."""

from django.conf import settings
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from chat import protocol
from chat.api.base import Open, origin_of
from chat.api.schema import described
from chat.api.serializers import ServicesSerializer, SocketConfigSerializer

ROUTES = {"health": "ready", "schema": "schema", "asyncapi": "asyncapi", "docs": "docs"}  # of services
# Paths of other clients' protocols, and of streams over HTTP: below the base path, with names in braces.
DIALECTS = {
    "openai": "/v1",
    "ai_sdk": "/api/chat",
    "ag_ui": "/agui/{agent}",
    "mcp": "/mcp",
    "events": "/api/threads/{thread_id}/events",
}


def dialects(origin: str = "") -> dict[str, str]:
    """Return the URLs of these paths by their names."""
    return {name: origin + settings.NETRA_BASE_PATH + path for name, path in DIALECTS.items()}


class Services(Open):
    @described("services", {200: ServicesSerializer})
    def get(self, request: Request) -> Response:
        """Return the URLs of the API, the sockets and the documentation."""
        origin = origin_of(request)
        paths = {"api": f"{settings.NETRA_BASE_PATH}/api", "auth": f"{settings.NETRA_BASE_PATH}/auth"}
        paths |= {name: reverse(f"chat:{route}") for name, route in ROUTES.items()}
        paths |= dialects()
        sockets = {"url": socket_url(origin), "config": origin + reverse("chat:socket_config")}
        services = {name: {"url": origin + path} for name, path in paths.items()}
        return Response({"services": {**services, "websocket": sockets}})


class SocketConfig(Open):
    @described("socket_config", {200: SocketConfigSerializer})
    def get(self, request: Request) -> Response:
        """Return what a client needs to connect: `paths` by mode, subprotocols, seconds, limits in bytes and counts."""
        return Response(
            {
                "url": socket_url(origin_of(request)),
                "dialects": dialects(origin_of(request)),
                "paths": {mode: reverse(f"chat:socket_{mode}") for mode in protocol.MODES.values()},
                "subprotocols": protocol.UPGRADE_REQUIRED["subprotocols"],
                "heartbeat_interval": protocol.HEARTBEAT_INTERVAL,
                "authenticate_timeout": settings.NETRA_AUTHENTICATE_SECONDS,
                "limits": protocol.LIMITS,
            }
        )


def socket_url(origin: str) -> str:
    return f"ws{origin.removeprefix('http')}{reverse('chat:socket_main')}"
