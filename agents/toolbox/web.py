"""Reading a web page whose address the user wrote.

The library resolves a name once, refuses loopback, private, link-local, metadata, multicast and reserved ranges, IPv4
inside IPv6 too, connects to the very address it checked, does all of that again for each redirect, and stops at a size.
Here are the cap on the whole time, text only, and the rule that no text but the user's leads to an address.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import cast

from pydantic_ai import BinaryContent, ModelRetry
from pydantic_ai.common_tools.web_fetch import WebFetchResult, web_fetch_tool

from agents.agent import AgentError, Turn

SECONDS = 20
_BYTES = 2 * 1024 * 1024
_CHARACTERS = 50_000

_MARKS = "<>\"'`.,;:!?"
_BRACKETS = "()[]{}"


def web_fetch_for(turn: Turn) -> Callable[[str], Awaitable[WebFetchResult]]:
    """The tool `web_fetch` for the addresses that stand in the user's messages of this turn."""
    written = set().union(*(_addresses(message.content) for message in turn.history if message.role == "user"))
    library = web_fetch_tool(max_content_length=_CHARACTERS, max_download_bytes=_BYTES, timeout=SECONDS)
    read = cast(Callable[[str], Awaitable[WebFetchResult | BinaryContent]], library.function)

    async def web_fetch(url: str) -> WebFetchResult:
        """Read a public web page as text. Only addresses that the user wrote can be read.

        Args:
            url: The whole address, with http:// or https://.
        """
        if not re.match(r"https?://", url, re.IGNORECASE):
            raise AgentError("Only http:// and https:// addresses can be read.")
        if _address(url) not in written:
            raise AgentError("Only an address that the user wrote can be read. Ask for it.", code="not_asked_for")
        try:
            async with asyncio.timeout(SECONDS):
                page = await read(url)
        except TimeoutError:
            raise AgentError(f"The page did not come within {SECONDS} seconds.") from None
        except ModelRetry as error:
            raise AgentError(error.message) from None
        if isinstance(page, BinaryContent):
            raise AgentError(f"This is no text but {page.media_type}.")
        return page

    return web_fetch


def _addresses(text: str) -> set[str]:
    words = [*text.split(), *re.findall(r"https?://[^\s<>\"')\]]+", text)]
    return {_address(word.strip(marks)) for word in words for marks in (_MARKS, _MARKS + _BRACKETS)}


def _address(url: str) -> str:
    return re.sub(r"^https?://", "", url.partition("#")[0], flags=re.IGNORECASE).rstrip("/")
