"""The worker processes of this machine: started, listened to, replaced, stopped."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from seqsetvae.errors import RunFailure
from seqsetvae.tuning.job import Job

STOP_SECONDS = 120
"""What a worker gets to save its run's state after SIGTERM."""
NOT_FOR_WORKERS = ("MLFLOW_RUN_ID", "SEQSETVAE_RUN_ID")
"""Environment that says what *this* process records to."""


class Workers:
    """`n_workers` processes that share this machine's threads, and its GPUs by turns.

    Args:
        job: what they work on.
        folder: for their logs.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.threads = max(1, torch.get_num_threads() // job.tune.n_workers)
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._processes: list[subprocess.Popen[str]] = []
        self._replaced = 0
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self._processes = [self._start(place) for place in range(self.job.tune.n_workers)]

    def alive(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def replace_dead(self) -> None:
        """Start a worker for each that has died; one that ended because nothing is left to do is not replaced.

        Raises:
            RunFailure: they keep dying.
        """
        for place, process in enumerate(self._processes):
            if process.poll() in (None, 0):
                continue
            self._replaced += 1
            if self._replaced > self.job.tune.n_workers * (self.job.tune.max_retries + 1):
                raise RunFailure(f"Workers keep dying (exit code {process.returncode}). See {self._log(place)}.")
            self._processes[place] = self._start(place)

    def wait(self, seconds: float = 30.0) -> None:
        """Let workers end that have nothing left to do."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask for an end after the current training step, and wait for it; a second signal to this process ends the waiting too."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _log(self, place: int) -> Path:
        return self.folder / f"worker_{place}.log"

    def _start(self, place: int) -> subprocess.Popen[str]:
        events, told = os.pipe()
        with self._log(place).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "seqsetvae.tuning.worker", str(told)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[told],
                text=True,
                env=worker_environment(place, self.threads),
                start_new_session=True,  # Ctrl-C is for the process that leads; it passes it on
            )
        os.close(told)
        assert process.stdin is not None
        process.stdin.write(self.job.to_json())
        process.stdin.close()
        threading.Thread(target=self._listen, args=(events,), daemon=True, name=f"worker {place}").start()
        return process

    def _listen(self, events: int) -> None:
        with open(events, encoding="utf-8") as lines:
            for line in lines:
                self.events.put(json.loads(line))


def worker_environment(place: int, threads: int) -> dict[str, str]:
    """Of the worker at a place: its share of the threads, and one of the GPUs."""
    environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_WORKERS}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    gpus = torch.cuda.device_count()
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[place % len(visible)]
    return environment
