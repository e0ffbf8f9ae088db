"""What watching a run with `seqsetvae monitor` costs while it is written: processor time of the whole program, and of one look."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

import psutil

from benchmarks.analyze import make_run
from seqsetvae import names
from seqsetvae.certify.table import Table
from seqsetvae.dashboard.view import FOLLOWED
from seqsetvae.dashboard.watch import SeenRun, seen_run
from tests.support.mlflow_server import free_port

TRAINED = (
    *(names.TRAIN_LOSS, names.TRAIN_RECON, names.TRAIN_KL, names.BETA, names.GRADIENT_NORM, names.PATIENTS_PER_SECOND),
)
"""Written every half second, as with steps of 50 ms of which every tenth is recorded."""
UPDATED = tuple(key for key in FOLLOWED if key.startswith("collapse/"))
"""Written every two and a half seconds, as with an update of the collapse monitor every 50 steps."""
KEYS = (*TRAINED, *UPDATED)
INTERVAL = 2.0
SETTLE = 8.0
"""Seconds until a program has started and drawn everything once."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def measure(quick: bool = False) -> list[Table]:
    """Share of a core at a look every two seconds, by the number of points that the run has already."""
    rows: list[tuple[object, ...]] = []
    for points in (1_000, 20_000) if quick else (1_000, 50_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
            run_id = make_run(uri, points // len(KEYS), KEYS, ended=False)
            with written_to(uri, run_id, points // len(KEYS)):
                first, further = looks(uri, run_id, 4 if quick else 15)
                shares = [of_a_core(in_terminal(uri, *size), quick) for size in ((80, 24), (160, 50))]
                page = of_a_core(on_a_page(uri), quick) if browser() else None
        shown = ["no browser" if share is None else f"{share:.1%}" for share in (*shares, page)]
        rows.append((f"{points:,}", f"{1e3 * first:.0f} ms", f"{1e3 * further:.1f} ms", *shown))
    note = (
        f"{len(KEYS)} metrics of the run go on being written, {len(TRAINED)} of them every 0.5 s and {len(UPDATED)} every 2.5 s. Looks: "
        f"processor time on one thread. Shares: of one core over {3 if quick else 30} s after the start, with --update_interval "
        f"{INTERVAL:g}; the page is open in one browser, whose own time is not counted."
    )
    columns = ("points in sqlite", "first look", "each further look", "terminal 80x24", "terminal 160x50", "web page")
    return [Table("Watching a live run", columns, rows, note)]


@contextlib.contextmanager
def written_to(uri: str, run_id: str, step: int) -> Iterator[None]:
    """Meanwhile the run goes on."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client, done = MlflowClient(uri), threading.Event()

    def write() -> None:
        for tick in range(1, 10**9):
            if done.wait(0.5):
                return
            keys = KEYS if tick % 5 == 0 else TRAINED
            now = int(1000 * time.time())
            client.log_batch(run_id, [Metric(key, 20.0 + tick % 7, now, step + 10 * tick) for key in keys])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


def looks(uri: str, run_id: str, count: int) -> tuple[float, float]:
    """Processor seconds of the first look, and of the ones after it (median)."""
    run = seen_run(uri, run_id, "", 1000)
    first = seconds_of(run)
    further = []
    for _ in range(count):
        time.sleep(0.6)
        further.append(seconds_of(run))
    return first, median(further)


def seconds_of(run: SeenRun) -> float:
    """Processor seconds of one look."""
    started = time.thread_time()
    view = run.look(time.time())
    seconds = time.thread_time() - started
    if view.trouble:
        raise AssertionError(view.trouble)
    return seconds


def of_a_core(running: AbstractContextManager[subprocess.Popen[bytes]], quick: bool) -> float:
    """Processor time of a program as a share of the time that passes."""
    with running as process:
        time.sleep(SETTLE)
        program = psutil.Process(process.pid)
        before, since = sum(program.cpu_times()[:2]), time.perf_counter()
        time.sleep(3 if quick else 30)
        return (sum(program.cpu_times()[:2]) - before) / (time.perf_counter() - since)


def command(uri: str, *more: str) -> list[str]:
    """The program, as one would start it."""
    interval = ("--update_interval", str(INTERVAL))
    return [sys.executable, "-m", "seqsetvae", "monitor", "--tracking_uri", uri, *interval, *more]


@contextlib.contextmanager
def in_terminal(uri: str, width: int, height: int) -> Iterator[subprocess.Popen[bytes]]:
    """The dashboard in a terminal that reads and forgets."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command(uri), stdin=slave, stdout=slave, stderr=slave, env=environment | {"TERM": "xterm-256color"}
    )
    os.close(slave)
    reader = threading.Thread(target=_read_all, args=(master,), daemon=True)
    reader.start()
    try:
        yield process
        if process.poll() is not None:
            raise AssertionError("the dashboard has ended by itself")
    finally:
        process.terminate()
        process.wait(20)
        os.close(master)


def _read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass


def browser() -> str | None:
    """A browser of this machine."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def on_a_page(uri: str) -> Iterator[subprocess.Popen[bytes]]:
    """The dashboard as a page that one browser has open."""
    port, quiet = free_port(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(uri, "--web", "--port", str(port)), **quiet)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        time.sleep(0.5 * SETTLE)
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
        )
        page = subprocess.Popen([browser() or "", *flags, f"http://127.0.0.1:{port}"], **quiet)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            page.terminate()
            page.wait(20)
            process.terminate()
            process.wait(20)
