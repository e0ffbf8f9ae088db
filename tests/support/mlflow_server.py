"""A real `mlflow server` of one's own, and a proxy in front of it that makes it slow or failing."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

# Without the runner of MLflow's own jobs: eight more processes of each server, which nothing here asks anything of.
SERVER_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
HOP_BY_HOP = {"transfer-encoding", "connection", "content-length", "host"}


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MlflowServer:
    """A real `mlflow server` on the loopback interface, in a process group of its own so that it can be stopped and continued.

    Its database is `mlflow.db` in its folder; where there is one already (the fixture `new_store`), it starts sooner.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 120.0) -> None:
        """Start it and wait until it answers. Raises :class:`TimeoutError` after `timeout` seconds."""
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        stores = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--artifacts-destination"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *stores, str(self.folder / "artifacts")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | SERVER_ENVIRONMENT,
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        raise TimeoutError(f"mlflow server did not answer within {timeout} s; see {self.folder / 'server.log'}.")

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Proxy(ThreadingHTTPServer):
    """A reverse proxy on the loopback interface that makes a good server slow (`delay`, seconds) or failing (`status`, e.g. 500)."""

    daemon_threads = True

    def __init__(self, upstream: str, delay: float = 0.0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Forward)
        self.upstream = upstream
        self.delay = delay
        self.status: int | None = None
        self.requests = 0
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"

    def run_in_thread(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True, name="proxy").start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are what this proxy is for."""


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _body(self) -> bytes:
        """The whole of it: what is left of one would be read as the next request. An empty file comes in chunks, none of them."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # what follows the last chunk
            pass
        return b"".join(chunks)

    def _forward(self) -> None:
        body = self._body()
        self.server.requests += 1
        time.sleep(self.server.delay)
        if self.server.status is not None:
            self._answer(self.server.status, [], b"out of order")
            return
        upstream = http.client.HTTPConnection(urlsplit(self.server.upstream).netloc, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
        try:
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            self._answer(response.status, response.getheaders(), response.read())
        except OSError:
            self._answer(502, [], b"no server")
        finally:
            upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
