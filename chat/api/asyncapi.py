"""The AsyncAPI document of the sockets, generated from the declarations of all frames."""

from functools import cache
from typing import Any, get_args

from django.conf import settings
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.types import OpenApiTypes
from pydantic import TypeAdapter
from rest_framework.request import Request
from rest_framework.response import Response

from chat import protocol
from chat.aisdk.frames import AnyAnswer, AnyFrame
from chat.api.base import Open, origin_of
from chat.api.schema import described
from chat.protocol import AnyCommand
from chat.protocol.controls import AnyControl
from chat.protocol.events import AnyEvent

CHANNELS = {
    "main": "Receives the events of all threads of the user.",
    "factory": "Receives the events of the threads that this connection started or named.",
    "isolated": "Receives the events of the runs that this connection started.",
    "legacy": "As /ws; events have their older field names beside the names that are declared here.",
    "ai-sdk": "Receives the chunks of its own requests: the socket of AI SDK's WebSocketChatTransport.",
}
REFERENCE = "#/components/schemas/{model}"
# A channel lists their members as messages.
_UNIONS = ("ClientFrame", "ServerFrame", "NumberedEvent", "AISDKFrame", "AISDKAnswer")


class AsyncApi(Open):
    """Resource of the AsyncAPI document."""

    @described("asyncapi", {200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Return the AsyncAPI 3.0 document of the sockets: their paths, and every frame in either direction."""
        return Response(document(origin_of(request)))


def document(origin: str) -> dict[str, Any]:
    """Return the document for clients that reach the site at this origin. The view of AsyncAPI is the server's."""
    scheme, _, host = origin.partition("://")
    server = {
        "host": host,
        "pathname": settings.NETRA_BASE_PATH or "/",
        "protocol": "wss" if scheme == "https" else "ws",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"{spectacular_settings.TITLE}: WebSocket",
            "version": spectacular_settings.VERSION,
            "description": "One JSON object in each text message. Ignore frames and fields that you do not know.",
        },
        "defaultContentType": "application/json",
        "servers": {"netra": server},
        **_channels(),
    }


_SECURITY: dict[str, dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token (JWT), or an API key (netra_…).",
    },
    "subprotocol": {
        "type": "httpApiKey",
        "name": "Sec-WebSocket-Protocol",
        "in": "header",
        "description": "For clients that can set no header: offer `jwt-auth` and, beside it, `jwt.<access token>` or "
        "`bearer.<API key>`. Without either scheme the client sends `authenticate` as its first frame.",
    },
}


@cache
def _channels() -> dict[str, Any]:
    """Return the parts of the document that do not depend on the site's address."""
    native = _messages(AnyCommand), {**_messages(AnyControl), **_messages(AnyEvent)}
    passing = dict.fromkeys(CHANNELS, native) | {"ai-sdk": (_messages(AnyFrame), _messages(AnyAnswer))}
    ai_sdk: dict[str, TypeAdapter[Any]] = {"AISDKFrame": TypeAdapter(AnyFrame), "AISDKAnswer": TypeAdapter(AnyAnswer)}
    schemas = protocol.json_schemas(REFERENCE) | protocol.schemas_of(ai_sdk, REFERENCE)
    paths = {mode: path for path, mode in protocol.MODES.items()}
    operations = {}
    for mode in paths:
        for action, messages in zip(("receive", "send"), passing[mode], strict=True):
            operations[f"{action}_{mode}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{mode}"},
                "summary": "Frames from clients" if action == "receive" else "Frames to clients",
                "messages": [{"$ref": f"#/channels/{mode}/messages/{name}"} for name in messages],
            }
    return {
        "channels": {
            mode: {
                "address": path,
                "description": CHANNELS[mode],
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for messages in passing[mode] for name in messages
                },
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
            for mode, path in paths.items()
        },
        "operations": operations,
        "components": {
            "messages": {name: message for both in passing.values() for one in both for name, message in one.items()},
            "schemas": {name: schema for name, schema in schemas.items() if name not in _UNIONS},
            "securitySchemes": _SECURITY,
        },
    }


def _messages(union: Any) -> dict[str, Any]:
    """Return the message of each declaration in a union, by its name."""
    return {
        model.__name__: {
            "name": get_args(model.model_fields["type"].annotation)[0],
            "title": model.__name__,
            "summary": (model.__doc__ or "").partition("\n")[0],
            "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        }
        for model in get_args(union)
    }
