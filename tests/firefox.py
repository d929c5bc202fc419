"""The chat page in a real Firefox, driven by WebDriver BiDi, which every Firefox speaks itself.

Playwright drives a Firefox of its own build only, or one that knows the newest commands of BiDi.
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.site import WAIT_TIMEOUT, wait_until

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
NO_FIREFOX = "this test needs a Firefox on the PATH: `apt-get install firefox-esr`"
needs_firefox = pytest.mark.skipif(not FIREFOX and os.environ.get("CI") != "true", reason=NO_FIREFOX)
ENTER = "\ue007"
# A closed port as the proxy of all but this machine: Firefox fetches nothing from anywhere else.
NOWHERE = {"proxyType": "manual", "httpProxy": "127.0.0.1:9", "sslProxy": "127.0.0.1:9"}


class Tab:
    """A tab of a running Firefox. `complaints`: what its console says of errors."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.complaints: list[str] = []
        self._send("session.new", capabilities={"alwaysMatch": {"proxy": NOWHERE}})
        self._send("session.subscribe", events=["log.entryAdded"])
        (first,) = self._send("browsingContext.getTree")["contexts"]
        self._context: str = first["context"]

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command. Returns its result; events that come before it are kept."""
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            found: dict[str, Any] = json.loads(self._socket.recv(WAIT_TIMEOUT))
            if found["type"] == "event" and found["params"]["level"] == "error":
                self.complaints.append(found["params"]["text"])
            if found.get("id") == id:
                assert found["type"] == "success", f"{method}: {found}"
                return dict(found["result"])

    def open(self, url: str) -> None:
        self._send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def reload(self) -> None:
        self._send("browsingContext.reload", context=self._context, wait="complete")

    def texts(self, selector: str) -> list[str]:
        """The visible text of each element that is shown."""
        code = """(css) => [...document.querySelectorAll(css)].filter((one) => one.checkVisibility())
          .map((one) => one.innerText.trim())"""
        arguments = [{"type": "string", "value": selector}]
        target = {"context": self._context}
        found = self._send(
            "script.callFunction", functionDeclaration=code, arguments=arguments, target=target, awaitPromise=False
        )
        return [one["value"] for one in found["result"]["value"]]

    def click(self, selector: str) -> None:
        """Press the mouse on the element, once it is shown."""
        wait_until(lambda: self.texts(selector), selector)
        locator = {"type": "css", "value": selector}
        (node, *_) = self._send("browsingContext.locateNodes", context=self._context, locator=locator)["nodes"]
        element = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        steps = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": element},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._act({"type": "pointer", "id": "mouse", "actions": steps})

    def type(self, text: str) -> None:
        """Press these keys, wherever the focus is."""
        steps = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": steps})

    def _act(self, actions: dict[str, Any]) -> None:
        self._send("input.performActions", context=self._context, actions=[actions])


@contextmanager
def firefox(profile: Path) -> Iterator[Tab]:
    """Run a Firefox without a window."""
    assert FIREFOX, NO_FIREFOX
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with (profile / "firefox.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = profile / "WebDriverBiDiServer.json"
        wait_until(lambda: process.poll() is not None or (address.exists() and address.read_text()), "Firefox")
        assert process.poll() is None, (profile / "firefox.log").read_text(errors="replace")
        port = json.loads(address.read_text())["ws_port"]
        with connect(f"ws://127.0.0.1:{port}/session", max_size=None, open_timeout=WAIT_TIMEOUT) as socket:
            yield Tab(socket)
    finally:
        process.kill()
        process.wait()
