"""A tool that reads a public web page. Addresses that the user did not write need approval: agents/llm/tool_policy.py.

The library resolves a name once, refuses loopback, private, link-local, metadata, multicast and reserved ranges (also
IPv4 inside IPv6), connects to the address that it checked, repeats this for each redirect, and limits the size. This
module adds a limit of the total time and accepts text only. All refusals read the same: a page that redirects must not
learn the names and addresses of the internal network.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import httpx2
from pydantic_ai import BinaryContent, ModelRetry
from pydantic_ai.common_tools.web_fetch import WebFetchResult, web_fetch_tool

from agents.sdk import AgentError, Turn

log = logging.getLogger(__name__)

REFUSAL = "This address cannot be read. Only public pages can, at whole addresses with http:// or https://."
FETCH_TIMEOUT = 20  # seconds
_BYTES = 2 * 1024 * 1024
_CHARACTERS = 50_000

_MARKS = "<>\"'`.,;:!?"
_BRACKETS = "()[]{}"


def web_fetch_for(turn: Turn) -> Callable[[str], Awaitable[WebFetchResult]]:
    """Return the tool `web_fetch`, which reads public pages."""
    library = web_fetch_tool(max_content_length=_CHARACTERS, max_download_bytes=_BYTES, timeout=FETCH_TIMEOUT)
    read = cast(Callable[[str], Awaitable[WebFetchResult | BinaryContent]], library.function)

    async def web_fetch(url: str) -> WebFetchResult:
        """Read a public web page as text. The user is asked about an address that they did not write.

        Args:
            url: The whole address, with http:// or https://.
        """
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                page = await read(url)
        except TimeoutError:
            raise AgentError(f"The page did not arrive within {FETCH_TIMEOUT} seconds.") from None
        except ModelRetry as error:
            raise _user_error(error, turn.run_id) from None
        if isinstance(page, BinaryContent):
            raise AgentError(f"This is not text but {page.media_type}.")
        return page

    return web_fetch


def written_addresses(turn: Turn) -> Callable[[str, Mapping[str, Any]], bool]:
    """Return the rule that covers calls of `web_fetch` for addresses in the user's messages of this turn."""
    written = set().union(*(_addresses(message.content) for message in turn.history if message.role == "user"))
    return lambda name, parameters: _address(str(parameters.get("url", ""))) in written


def _user_error(error: ModelRetry, run_id: str) -> AgentError:
    """Return the HTTP error of a public page, or the same refusal for any failure before an answer."""
    cause, fetched = error.__cause__, not error.message.startswith("Failed to fetch")
    while isinstance(cause, httpx2.RequestError) and isinstance(cause.__cause__, httpx2.RequestError):
        cause = cause.__cause__  # the library raises the base class, with the specific error as its cause
    match cause:
        case httpx2.HTTPStatusError():
            status = cause.response.status_code
            phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
            return AgentError(f"The page answered with the error {status} {phrase}".strip() + ".")
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.ProxyError() | httpx2.LocalProtocolError():
            pass
        case httpx2.TimeoutException():
            return AgentError(f"The page did not arrive within {FETCH_TIMEOUT} seconds.")
        case httpx2.RequestError():
            return AgentError("The connection broke, or the server does not speak HTTP.")
        case ValueError() if str(cause).startswith("Download exceeds the maximum size"):
            return AgentError(f"The page is larger than the maximum size of {_BYTES // 1024**2} MB.")
        case UnicodeError() | LookupError() | RecursionError() | ModelRetry() if fetched:
            return AgentError("The page cannot be read as text.")
    log.warning("run %s: web_fetch refused: %s: %.200s", run_id, type(cause).__name__, cause)
    return AgentError(REFUSAL, code="not_public")


def _addresses(text: str) -> set[str]:
    words = [*text.split(), *re.findall(r"https?://[^\s<>\"')\]]+", text)]
    return {_address(word.strip(marks)) for word in words for marks in (_MARKS, _MARKS + _BRACKETS)}


def _address(url: str) -> str:
    return re.sub(r"^https?://", "", url.partition("#")[0], flags=re.IGNORECASE).rstrip("/")
