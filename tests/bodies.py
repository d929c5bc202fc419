"""Bodies that nobody wants, posted to every kind of path by a client without an account.

    python -m tests.bodies PORT COUNT [KIND …]

posts COUNT of each kind at a time and prints which answers came, as JSON: {kind: {status: count}}.
"""

import asyncio
import json
import sys
from collections import Counter

PATHS = (
    "/api/attachments",
    "/api/threads",
    "/auth/login",
    "/admin/login/",
    "/",
    "/login",
    "/nowhere",
    "/ws",
    "/metrics",
    "/static/chat/ui/app.js",
)
BODY_SIZE = 10_000_000
MULTIPART, FORM = "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"


def _chunked(body: bytes, size: int) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _parts(size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n'
    return part * (size // len(part)) + b"--b--\r\n"


def bodies() -> dict[str, tuple[str, bytes]]:
    """By kind: the headers that tell of a body, and the body."""
    parts, fields, large = _parts(BODY_SIZE), b"a=1&" * (BODY_SIZE // 4), b"x" * BODY_SIZE
    small = _parts(60_000)
    return {
        "large": (f"Content-Type: text/plain\r\nContent-Length: {BODY_SIZE}", large),
        "parts": (f"Content-Type: {MULTIPART}\r\nContent-Length: {len(parts)}", parts),
        "fields": (f"Content-Type: {FORM}\r\nContent-Length: {len(fields)}", fields),
        "chunked": (f"Content-Type: {MULTIPART}\r\nTransfer-Encoding: chunked", _chunked(parts, 8000)),
        "within": (f"Content-Type: {MULTIPART}\r\nContent-Length: {len(small)}", small),
        "slow": (f"Content-Type: {FORM}\r\nContent-Length: 60000", b"a=1&" * 100),
        "tiny chunks": (f"Content-Type: {MULTIPART}\r\nTransfer-Encoding: chunked", _chunked(small, 1)),
    }


async def _post(port: int, path: str, headers: str, body: bytes) -> str:
    """The status; "none" where the connection was closed without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n\r\n".encode())
        for at in range(0, len(body), 65_536):
            writer.write(body[at : at + 65_536])
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        line = await reader.readline()
    except ConnectionError:
        line = b""
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    return line.split()[1].decode() if line else "none"


async def _main(port: int, count: int, kinds: list[str]) -> dict[str, dict[str, int]]:
    found = {}
    for kind, body in bodies().items():
        if not kinds or kind in kinds:
            posts = (_post(port, PATHS[number % len(PATHS)], *body) for number in range(count))
            found[kind] = dict(Counter(await asyncio.gather(*posts)))
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))))
