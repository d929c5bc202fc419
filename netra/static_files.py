"""Static files: served although they may be replaced while the process runs, and made smaller by `collectstatic`."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware

Root = str | os.PathLike[str] | None


class StaticFiles(ServeStaticMiddleware):  # type: ignore[misc]
    """The files that were found at the start. A file that has changed since is read anew.

    ServeStatic keeps the length of a file from the start: a browser that is sent less waits for the rest. Its own
    `autorefresh` looks for the path of every request, static or not, in 2 ms. One `stat` is enough here.
    """

    def __init__(self, get_response: Any) -> None:
        self._known: dict[str, tuple[str, Root, int, int]] = {}
        super().__init__(get_response)

    def add_file_to_dictionary(
        self, url: str, path: str, root: Root = None, stat_cache: dict[str, os.stat_result] | None = None
    ) -> None:
        """Add a file, and remember its state."""
        super().add_file_to_dictionary(url, path, root=root, stat_cache=stat_cache)
        state = (stat_cache or {}).get(path) or os.stat(path)
        self._known[url] = (path, root, state.st_mtime_ns, state.st_size)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve a static file, or pass the request on."""
        self._renew(request.path_info)
        return cast(HttpResponseBase, await super().__call__(request))

    def _renew(self, url: str) -> None:
        """Read a file again if it was replaced, and forget one that is gone until it is there again."""
        if url not in self._known:
            return
        path, root, changed_at, size = self._known[url]
        try:
            state = os.stat(path)
        except OSError:
            self.files.pop(url, None)
            return
        if (state.st_mtime_ns, state.st_size) != (changed_at, size) or url not in self.files:
            self.add_file_to_dictionary(url, path, root)


# A line of code may begin with a comment, too: only comments with a line of their own are left out.
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/[ \t]*|//[^\n]*)\n", re.M | re.S)


class Scripts(StaticFilesStorage):
    """The files of `collectstatic`: the page's own scripts have no comments, a third of what a browser would load."""

    def post_process(
        self, paths: Mapping[str, Any], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str, bool]]:
        """Shorten the scripts that were collected. Yield (name, name, True) for each."""
        for name in paths:
            if dry_run or not (name.startswith("chat/") and name.endswith(".js")):
                continue
            path = Path(self.path(name))
            path.write_text(without_comments(path.read_text(encoding="utf-8")), encoding="utf-8")
            yield name, name, True


def without_comments(script: str) -> str:
    """Return the script without the comments that have lines of their own."""
    return _COMMENT.sub("", script)
