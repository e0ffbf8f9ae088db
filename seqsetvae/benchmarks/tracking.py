"""What recording a run costs the training thread: ours beside Lightning's own MLFlowLogger, local and 200 ms away, in one run.

python -m seqsetvae.benchmarks.tracking
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch

from seqsetvae.benchmarks.table import Table
from seqsetvae.config import TrackingConfig

if TYPE_CHECKING:
    from seqsetvae.tracking.run import Run

N_METRICS = 20
STEP_SECONDS = 0.05
AWAY_SECONDS = 0.2
HOP_BY_HOP = {"transfer-encoding", "connection", "content-length", "host"}


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MlflowServer:
    """A real `mlflow server` on the loopback interface, in a process group of its own so that it can be stopped and continued."""

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
        stores = ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--artifacts-destination"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *stores, str(self.folder / "artifacts")], stdout=log, stderr=log, start_new_session=True
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

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
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


def measure(quick: bool = False) -> list[Table]:
    """Time on the training thread per call for 20 metrics, and the time of whole steps with and without recording."""
    steps = 20 if quick else 100
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        calls, whole = [], []
        for place, uri in _stores(Path(folder)):
            ours, step_rows = _measure_ours(uri, steps)
            calls += [
                _row(place, "seqsetvae", ours),
                _row(place, "Lightning's MLFlowLogger", _measure_lightning(uri, steps)),
            ]
            whole += [(place, *row) for row in step_rows]
    return [
        Table(
            "Recording 20 metrics: time the training thread spends in the call",
            ("store", "logger", "median ms", "slowest ms", "share of a 50 ms step, every 10 steps", "every step"),
            calls,
            f"{steps} calls each, one after a step of {STEP_SECONDS * 1000:.0f} ms of matrix products on one CPU thread. The server is a "
            f"real `mlflow server` behind a proxy that adds {AWAY_SECONDS * 1000:.0f} ms to each request. Shares are of the mean.",
        ),
        Table(
            "Whole steps with recording on and off",
            ("store", "recorded", "step ms, off", "step ms, on", "on / off", "background CPU ms per step"),
            whole,
            "Medians over blocks of 20 steps, off and on by turns. The last column is the processor time of the writing and shipping "
            "threads: at most this much can be missing to a step that needs Python, and it is there also on a busy machine.",
        ),
    ]


def _stores(folder: Path) -> Iterator[tuple[str, str]]:
    """A local sqlite file, then a server that is `AWAY_SECONDS` away."""
    yield "sqlite, local", f"sqlite:///{folder / 'mlflow.db'}"
    server = MlflowServer(folder)
    port = free_port()
    # In a process of its own: as a thread it would compete with the step that is measured.
    proxy = multiprocessing.get_context("spawn").Process(target=_serve_proxy, args=(server.uri, port), daemon=True)
    try:
        server.start()
        proxy.start()
        while True:
            with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.1)
        yield "server, 200 ms away", f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        server.kill()


def _serve_proxy(upstream: str, port: int) -> None:
    Proxy(upstream, AWAY_SECONDS, port).serve_forever()


def _make_step() -> Callable[[], None]:
    """About `STEP_SECONDS` of real work on one CPU thread, as many small operations as a training step has."""
    matrix = torch.randn(128, 128)
    torch.set_num_threads(1)

    def work(n: int) -> float:
        started = time.perf_counter()
        for _ in range(n):
            torch.mm(matrix, matrix)
        return time.perf_counter() - started

    work(100)
    n = max(1, int(200 * STEP_SECONDS / work(200)))
    return lambda: (work(n), None)[1]


def _metrics(step: int) -> dict[str, torch.Tensor]:
    return {f"metric_{i}": torch.tensor(float(step + i)) for i in range(N_METRICS)}


def _timed(call: Callable[[int], None], step: Callable[[], None], steps: int) -> list[float]:
    seconds = []
    for number in range(steps):
        step()
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    return seconds


def _measure_ours(uri: str, steps: int) -> tuple[list[float], list[tuple[object, ...]]]:
    from seqsetvae.tracking.runs import start_run

    step = _make_step()
    with start_run(
        TrackingConfig(tracking_uri=uri), kind="benchmark", run_name=None, params={}, config_yaml="", tags={}
    ) as run:
        calls = _timed(lambda number: run.log_metrics(_metrics(number), number), step, steps)
        rows: list[tuple[object, ...]] = []
        for every, when in ((10, "every 10 steps"), (1, "every step")):
            off, on, background = _blocks(step, run, every, steps // 10)
            rows.append((when, f"{1000 * off:.2f}", f"{1000 * on:.2f}", f"{on / off:.3f}", f"{1000 * background:.2f}"))
    return calls, rows


def _blocks(step: Callable[[], None], run: Run, every: int, n_blocks: int) -> tuple[float, float, float]:
    """Median seconds of a step without and with recording, over blocks of 20 steps by turns; background CPU per recorded step."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    run.flush()
    in_background = time.process_time() - time.thread_time()
    for number in range(20 * 2 * n_blocks):
        recording = number // 20 % 2 == 1
        started = time.perf_counter()
        step()
        if recording and number % every == 0:
            run.log_metrics({f"every_{every}/{key}": value for key, value in _metrics(number).items()}, number)
        seconds[recording].append(time.perf_counter() - started)
    run.flush()
    in_background = time.process_time() - time.thread_time() - in_background
    return statistics.median(seconds[False]), statistics.median(seconds[True]), in_background / len(seconds[True])


def _measure_lightning(uri: str, steps: int) -> list[float]:
    from lightning.pytorch.loggers import MLFlowLogger

    logger = MLFlowLogger(experiment_name="lightning", tracking_uri=uri)
    logger.log_metrics({"first": 0.0}, 0)
    # As the trainer does before it calls a logger: tensors become numbers on the training thread.
    return _timed(
        lambda number: logger.log_metrics({key: value.item() for key, value in _metrics(number).items()}, number),
        _make_step(),
        steps,
    )


def _row(place: str, logger: str, seconds: list[float]) -> tuple[object, ...]:
    mean = statistics.fmean(seconds)
    shares = (f"{100 * mean / (every * STEP_SECONDS):.2f} %" for every in (10, 1))
    return place, logger, f"{1000 * statistics.median(seconds):.2f}", f"{1000 * max(seconds):.2f}", *shares


if __name__ == "__main__":
    print("\n\n".join(table.markdown() for table in measure()))
