"""What recording a run costs the training thread: ours beside Lightning's own MLFlowLogger, local and 200 ms away, in one run.

seqsetvae bench --only tracking
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import torch

from seqsetvae.certify.table import Table
from seqsetvae.config import TrackingConfig
from tests.support.mlflow_server import MlflowServer, Proxy, free_port

if TYPE_CHECKING:
    from seqsetvae.tracking.write.run import Run

N_METRICS = 20
STEP_SECONDS = 0.05
AWAY_SECONDS = 0.2


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
    from seqsetvae.tracking.write.start import start_run

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
