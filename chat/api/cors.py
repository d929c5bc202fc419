"""Cross-origin requests of browsers to the paths of other clients' protocols: from ALLOWED_ORIGINS, never with cookies.

Under Django, so that refusals of a body have these headers, too.
"""

import re
from collections.abc import Mapping

from django.conf import settings

from chat import protocol
from chat.api.bodies import Application, Message, Receive, Scope, Send, path_of
from chat.dialects import PATHS

METHODS = b"GET, POST, DELETE"
HEADERS = (
    "authorization, content-type, last-event-id, idempotency-key, netra-thread, netra-disconnect, netra-task, "
    "netra-input, x-openwebui-chat-id, mcp-protocol-version, mcp-method, mcp-name"
)
OF_OPENAI = re.compile(r"x-stainless-[a-z-]{1,64}")  # that its clients send in a browser
EXPOSED = b"netra-thread, netra-run, retry-after, x-vercel-ai-ui-message-stream"
MAX_AGE = b"7200"  # seconds for which a browser need not ask again: the most that all of them keep


def cross_origin(application: Application) -> Application:
    """Return the HTTP application, whose answers at PATHS a page of an allowed origin may read."""

    async def cross_origin_application(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        if not PATHS.fullmatch(path_of(scope)) or origin is None:
            await application(scope, receive, send)
            return
        is_allowed = protocol.origin_allowed(scope["headers"], settings.ALLOWED_ORIGINS)
        if is_allowed and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_preflight(headers, origin, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marks = [(b"vary", b"Origin")]
                if is_allowed:
                    marks += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]
                message = {**message, "headers": [*message.get("headers", []), *marks]}
            await send(message)

        await application(scope, receive, send_marked)

    return cross_origin_application


async def _answer_preflight(headers: Mapping[bytes, bytes], origin: bytes, send: Send) -> None:
    wanted = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name for name in re.split(r"\s*,\s*", wanted.strip()) if OF_OPENAI.fullmatch(name)]
    allowed = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", ", ".join([HEADERS, *names]).encode()),
        (b"access-control-max-age", MAX_AGE),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": allowed})
    await send({"type": "http.response.body", "body": b""})
