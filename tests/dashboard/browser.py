"""A real browser without a window: Debian's Chromium, told what to do by its own protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.mlflow_server import free_port

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1500,1300"),
)


def program() -> str:
    """Chromium; where there is none, Debian's package is installed first."""
    for attempt in range(2):
        for name in ("chromium", "chromium-browser", "google-chrome"):
            if (path := shutil.which(name)) is not None:
                return path
        if attempt == 0 and os.getuid() == 0 and shutil.which("apt-get"):
            quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "update"], check=False, env=quiet)
            subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], check=False, env=quiet)
    pytest.fail("This test needs a browser: install it with `apt-get install chromium` (as root).")


class Browser:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.requested: list[str] = []
        """Addresses that the page has asked for."""
        self.errors: list[str] = []
        """What its scripts complained of."""
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something, and keep what happens meanwhile."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            elif message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"])[:500])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def text(self) -> str:
        """What a person can read."""
        answer = self.call("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
        return answer["result"].get("value", "")

    def wait_for(self, words: str, seconds: float = 30.0) -> str:
        """Until these words can be read."""
        deadline = time.monotonic() + seconds
        while words not in (text := self.text()):
            assert time.monotonic() < deadline, f"{words!r} is not on the page after {seconds:.0f} s, but:\n{text}"
            time.sleep(0.1)
        return text

    def run(self, script: str) -> Any:
        """What a script comes to."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def click(self, element: str, seconds: float = 20.0) -> None:
        """With the mouse, on what a script comes to, once it is there."""
        middle = f"(() => {{ const r = {element}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()"
        deadline = time.monotonic() + seconds
        while (place := self.run(middle)) is None:
            assert time.monotonic() < deadline, f"there is no {element}"
            time.sleep(0.1)
        for kind in ("mousePressed", "mouseReleased"):
            where = dict(zip("xy", place, strict=True))
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextmanager
def browse(url: str) -> Iterator[Browser]:
    """A page in a fresh browser."""
    port, profile = free_port(), tempfile.mkdtemp(prefix="seqsetvae-browser-")
    command = [program(), *QUIET, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"]
    with (Path(profile) / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with connect(_tab(port), max_size=None) as socket:
            browser = Browser(socket)
            browser.call("Page.navigate", url=url)
            yield browser
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(profile, ignore_errors=True)


def _tab(port: int, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                return next(one["webSocketDebuggerUrl"] for one in json.load(answer) if one["type"] == "page")
        except (OSError, StopIteration):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
