"""The full training step at the source project's widths as the vocabulary grows: time and memory must not grow with it."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.step import Trainee, peak_memory, wait
from seqsetvae.batch import EventBatch
from seqsetvae.certify.table import Table
from seqsetvae.data.demo_store import open_store
from seqsetvae.training.allocator import keep_freed_memory

VARIABLES = (41, 1000, 5000, 20_000, 50_000)
"""41 as in PhysioNet 2012. Ascending: the peak of a process never falls."""
PATIENTS = 8


def measure(quick: bool = False) -> list[Table]:
    """Seconds and memory by number of variables, on stays whose times and sets are real and whose variables are drawn anew."""
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = VARIABLES[:2] if quick else VARIABLES
    trainees, batches, peaks = [], [], []
    for variables in sizes:
        trainees.append(Trainee(device, "32", compiled=False, variables=variables, embedding_width=None))
        batches.append(_batch(variables).to(device))
        for _ in range(2):
            trainees[-1].step(batches[-1])
        peaks.append(peak_memory(device))
        trainees[-1].vae.to("meta")  # the memory of one size is not counted for the next
        trainees[-1].optimizer.state.clear()
    trainees = [Trainee(device, "32", compiled=False, variables=size, embedding_width=None) for size in sizes]
    seconds: list[list[float]] = [[] for _ in sizes]
    for _ in range(2 if quick else 10):  # in rounds, so that a change of the machine's speed meets every size
        for trainee, batch, taken in zip(trainees, batches, seconds, strict=True):
            trainee.step(batch)  # the sizes before it left other data in the caches
            wait(device)
            started = time.perf_counter()
            trainee.step(batch)
            wait(device)
            taken.append(time.perf_counter() - started)
    medians = [statistics.median(taken) for taken in seconds]
    rows = [
        (
            f"{size:,}",
            f"{1e3 * median:.0f} ms",
            f"{median / medians[0]:.2f}x",
            f"{peak / 1e9:.2f} GB",
            f"{peak / peaks[0]:.2f}x",
        )
        for size, median, peak in zip(sizes, medians, peaks, strict=True)
    ]
    columns = ("variables", "step", "step / smallest", "peak memory", "peak / smallest")
    return [Table(f"Training step by size of the vocabulary, batch {PATIENTS}", columns, [tuple(row) for row in rows])]


def _batch(variables: int) -> EventBatch:
    """Real stays of the demo; each event gets a variable by Zipf's law, as codes in records are distributed."""
    store = open_store("demo")
    random = np.random.default_rng(0)
    rows = np.sort(random.permutation(store.n_subjects("train"))[:PATIENTS])
    batch = store.gather("train", 0, rows)
    share_V = 1.0 / np.arange(1, variables + 1)
    drawn_N = random.choice(variables, size=batch.n_events, p=share_V / share_V.sum())
    return replace(batch, variable_N=torch.from_numpy(drawn_N.astype(np.int64)))
