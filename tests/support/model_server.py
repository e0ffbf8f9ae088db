"""A registered model as a user serves it: `mlflow models serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

START_SECONDS = 120


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content: Any
    """Of the JSON."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per subject."""
        return pd.DataFrame(self.content["predictions"])


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int

    def ask(self, body: bytes, content_type: str = "application/json") -> Answer:
        """POST to /invocations, through a connection of its own: the server closes one that is idle for some seconds."""
        status, content = self.send(body, {"Content-Type": content_type})
        return Answer(status, json.loads(content, parse_constant=_refuse))

    def send(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """The same with any headers, or none: the status, and the answer as it came."""
        return self._request("POST", "/invocations", body, headers)

    def answers(self) -> bool:
        """Whether it has loaded its model."""
        try:
            return self._request("GET", "/ping")[0] == 200
        except OSError:
            return False

    def _request(self, *request: Any) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(*request)
            reply = connection.getresponse()
            return reply.status, reply.read()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON, though Python reads it")


def as_json(events: pd.DataFrame) -> bytes:
    """A table of events as the body of a request."""
    return f'{{"dataframe_split": {events.to_json(orient="split", index=False, double_precision=15)}}}'.encode()


@contextlib.contextmanager
def serve(model: str, tracking_uri: str, folder: Path) -> Iterator[Served]:
    """`mlflow models serve -m MODEL --env-manager local` on a free port of the loopback interface, until the block is left.

    Args:
        model: as `-m` takes it, such as models:/seqsetvae-mortality@champion.
        tracking_uri: the store that has it.
        folder: working directory of the server; its output goes to `server.log` there.

    Raises:
        RuntimeError: it ended, or did not answer in time; with its output.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]
    # MLflow starts `uvicorn` by its name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": tracking_uri}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    served = Served(port)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not served.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield served
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
