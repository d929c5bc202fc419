"""The base path under which the site lives (`NETRA_BASE_PATH`), in the scope of a request. Pure."""

from collections.abc import Mapping
from typing import Any


def mounted(scope: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return the scope with `base` as its `root_path` and at the front of its `path`, as ASGI has it.

    A proxy keeps the base path or removes it. A server's `--root-path` adds it to the path (uvicorn) or does not
    (daphne). All of these name the same page. The client's header `Daphne-Root-Path` does not count.
    A path without a slash in front is given one: a redirect of `GET .evil.example` would end the host's name with it.
    """
    below: str = "/" + scope["path"].removeprefix("/")
    for _ in range(2 if base else 0):  # one from the proxy, one from the server
        if below == base or below.startswith(f"{base}/"):
            below = below[len(base) :]
    return {**scope, "path": base + below, "root_path": base}
