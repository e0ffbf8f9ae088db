"""What watching for collapse costs: time on the training thread, and memory, at the source project's widths and batch 8."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from seqsetvae.certify.table import Table
from seqsetvae.config import MonitorConfig, PretrainConfig, TrainerConfig
from seqsetvae.figures.collapse import draw_collapse
from seqsetvae.training.loop import train_unrecorded
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.plan import make_plan

STANDARD = MonitorConfig(update_frequency=50, on_collapse="warn", verbose=False)
"""The standard preset's frequency, whatever the length of the run."""


class TimedMonitor(CollapseMonitor):
    """Keeps the seconds that each step spends in it, and the processor seconds of the figures of each step."""

    def __init__(self, config: MonitorConfig) -> None:
        self.seconds: list[float] = []
        self.draw_seconds: list[float] = []
        super().__init__(config, draw=self._timed_draw)

    def on_train_batch_end(self, *args: Any) -> None:
        started = time.perf_counter()
        super().on_train_batch_end(*args)
        self.seconds.append(time.perf_counter() - started)

    def _timed_draw(self, *args: Any) -> dict[str, bytes]:
        started = time.thread_time()
        figures = draw_collapse(*args)
        self.draw_seconds.append(time.thread_time() - started)
        return figures


class Clock(pl.Callback):
    """Seconds of each whole step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def measure(quick: bool = False) -> list[Table]:
    """Time in the monitor as a share of training, and peak memory of trainings with and without it."""
    steps = 60 if quick else 500
    monitor, clock = train(STANDARD, steps)
    step = statistics.median(clock.seconds)
    updates = [seconds for seconds in monitor.seconds if seconds > 5 * statistics.median(monitor.seconds)]
    drawn = statistics.mean(monitor.draw_seconds)
    share = sum(monitor.seconds) / sum(clock.seconds)
    rows: list[tuple[object, ...]] = [
        ("keeping a step's posteriors", "every step", f"{1e3 * statistics.median(monitor.seconds):.3f} ms", ""),
        ("an update with its check", "every 50 steps", f"{1e3 * statistics.median(updates):.0f} ms", ""),
        ("all of it on the training thread", f"{steps} steps of {1e3 * step:.0f} ms", "", f"{share:.2%}"),
        ("two figures, on another thread", "every 500 steps", f"{1e3 * drawn:.0f} ms", f"{drawn / 500 / step:.2%}"),
    ]
    memory = extra_memory(quick)
    note = (
        "Share: of training time; of one core for the figures. Every fifth update asks the decoder, while a posterior looks "
        f"collapsed every one. Peak memory with the monitor minus without it, paired processes: {memory:+.0f} MB (median). The guides "
        "promise 1-2 % and 10-20 MB."
    )
    return [Table("Collapse monitor, batch 8", ("what", "how often", "time", "share"), rows, note)]


def train(config: MonitorConfig, steps: int) -> tuple[TimedMonitor, Clock]:
    """Train SeqSetVAE at the source widths on the demo stays, watched."""
    plan = make_plan(
        PretrainConfig(trainer=TrainerConfig(max_epochs=1000, max_steps=steps, accelerator="cpu"), monitor=config)
    )
    monitor = TimedMonitor(plan.config.monitor)
    clock = Clock()
    watched: list[pl.Callback] = [] if config.disable_metrics_monitoring else [monitor]
    train_unrecorded(plan, [*watched, clock])
    return monitor, clock


def extra_memory(quick: bool) -> float:
    """MB that the peak of a process grows by when it watches itself: median over pairs of fresh processes."""
    program = (
        "import resource, sys\n"
        "from benchmarks.monitor import train\n"
        "from seqsetvae.config import MonitorConfig\n"
        "train(MonitorConfig(update_frequency=4, on_collapse='warn', verbose=False, "
        "disable_metrics_monitoring=sys.argv[1] == 'off'), 12)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(how: str) -> float:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", program, how], env=environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout.split()[-1]) * 1024 / 1e6

    return statistics.median(peak("on") - peak("off") for _ in range(1 if quick else 3))
