"""Whole training on a GPU, in one table: what it does, how busy it keeps the card, and what each choice of kernels brings.

seqsetvae bench --only gpu, or from a copied checkout without installation: `PYTHONPATH=. python -m seqsetvae bench --only gpu`. Without
a GPU it runs on the CPU at small sizes, which tells nothing but that it runs.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.pretrain import Beside, train
from benchmarks.step import EMBEDDING_WIDTH, Trainee, matmul_rate, peak_memory, step_flops, wait
from seqsetvae.batch import EventBatch
from seqsetvae.certify.table import Table
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.history import CausalHistory
from seqsetvae.training.module import PretrainModule

STEPS = {8: 200, 64: 160, 256: 100}
"""Optimizer steps by batch size."""
WARM = 20
"""Steps after which every step counts for the longest."""
SAME_STEPS = 10
"""First steps whose losses are compared with those of the same training without graphs: what a GPU's own order of sums leaves apart."""
BESIDE = 40
"""Steps that are taken beside their bare step."""
EVERY_SECONDS = 0.05


class Steps(pl.Callback):
    """When each step ended, by the clock of the device, and the floating-point operations of each batch."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.marks: list[Any] = []
        self.losses: list[torch.Tensor] = []
        self.flops: list[float] = []
        self.first_seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: EventBatch, batch_idx: int
    ) -> None:
        if not self.marks:
            wait(pl_module.device)
            self.first_seconds = time.perf_counter() - self._started
        shown = cast(PretrainModule, pl_module).step_metrics
        self.losses += [] if shown is None else [shown.recon]
        self.flops.append(step_flops(ModelConfig(), batch, len(open_store("demo").vocabulary), EMBEDDING_WIDTH))
        self.marks.append(mark(pl_module.device))
        trainer.should_stop |= len(self.marks) > self.number

    def seconds(self) -> list[float]:
        """Of each step but the first."""
        pairs = zip(self.marks[:-1], self.marks[1:], strict=True)
        if isinstance(self.marks[0], float):
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1e3 for before, after in pairs]


def mark(device: torch.device) -> Any:
    """A point in the device's time."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


@contextmanager
def utilization(device: torch.device) -> Iterator[list[int]]:
    """Percent of the time in which the GPU was busy, read while something runs; nothing on a CPU."""
    readings: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.wait(EVERY_SECONDS):
            readings.append(torch.cuda.utilization(device))

    reader = threading.Thread(target=read, daemon=True)
    if device.type == "cuda":
        reader.start()
    yield readings
    done.set()


def measure(quick: bool = False) -> list[Table]:
    """Whole training by batch size, then the step on fresh batches by kind of attention with its distance from float64."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "bf16-mixed" if device.type == "cuda" else "32"
    steps = STEPS if device.type == "cuda" and not quick else {8: 26}
    rate = matmul_rate(device, precision)()
    rows = [_whole(size, number, device, rate) for size, number in steps.items()]
    where = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads: no GPU is here"
    )
    note = (
        f"Real stays, source widths, {precision}, a fresh batch at every step, monitor, tracking and checkpoints on. Busy: median of the "
        f"readings. Bare step: kernel by kernel, on the same batches. FLOP "
        f"share: useful operations over those of a matrix product on this card ({rate / 1e12:.1f} TFLOP/s). Longest: after "
        f"the first {WARM}."
    )
    columns = (
        "batch",
        "patients/s",
        "without graphs",
        "losses apart",
        "bare step",
        "busy",
        "FLOP share",
        "first step",
        "longest / median",
        "memory",
    )
    return [Table(f"Whole training on {where}", columns, rows, note), _attention(device, precision, quick)]


def _whole(size: int, number: int, device: torch.device, rate: float) -> tuple[object, ...]:
    """A run of which every step is timed, one without CUDA graphs, and one beside its bare step."""
    timed, beside = Steps(number), Beside(BESIDE)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with utilization(device) as busy:
        train(size, timed)
    memory = peak_memory(device)
    by_kernel = Steps(min(number, WARM + BESIDE))
    train(size, by_kernel, cuda_graphs=False)
    train(size, beside)
    steady = timed.seconds()[WARM:]
    pairs = zip(timed.losses[:SAME_STEPS], by_kernel.losses[:SAME_STEPS], strict=True)
    apart = max(abs(float(one / other) - 1.0) for one, other in pairs)
    share = statistics.median(bare / real for bare, real in zip(beside.bare, beside.real, strict=True))
    return (
        size,
        f"{size * len(steady) / sum(steady):,.0f}",
        f"{size / statistics.mean(by_kernel.seconds()[WARM:]):,.0f}",
        f"{apart:.1e}",
        f"{share:.0%}",
        f"{statistics.median(busy):.0f}%" if busy else "",
        f"{sum(timed.flops[-len(steady) :]) / sum(steady) / rate:.1%}",
        f"{timed.first_seconds:.1f} s",
        f"{max(steady) / statistics.median(steady):.1f}",
        f"{memory / 1e9:.2f} GB",
    )


def _attention(device: torch.device, precision: str, quick: bool) -> Table:
    """The step on fresh batches by kind of attention, and how far the ELBO of stays is from that in float64 on the CPU."""
    on_gpu = device.type == "cuda"
    kinds: dict[str, tuple[bool, Any]] = {"on the grid": (False, nullcontext())}
    if on_gpu:
        others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        kinds = {
            "on the grid, cuDNN": (False, sdpa_kernel(SDPBackend.CUDNN_ATTENTION)),
            "on the grid, other kernels": (False, sdpa_kernel(others)),
            "packed": (True, nullcontext()),
        }
    store = open_store("demo")
    trainee = Trainee(device, precision, compiled=False, variables=len(store.vocabulary))
    order = np.random.default_rng(0).permutation(store.n_subjects("train"))
    batches = [store.gather("train", 0, np.sort(rows)) for rows in np.array_split(order, 40 if quick else 5)]
    weights = deepcopy(trainee.vae.state_dict())
    exact = deepcopy(trainee.vae).cpu().double()
    noise_SZ = torch.randn(batches[0].n_sets, exact.latent_dim)
    with torch.no_grad():
        true_B = exact(in_double(batches[0]), noise_SZ.double()).elbo_B(batches[0])
    rows: list[tuple[object, ...]] = []
    for kind, (packed, kernels) in kinds.items():
        cast(CausalHistory, trainee.vae.history).packed = packed
        trainee.vae.load_state_dict(weights)
        with kernels:
            with torch.no_grad(), trainee.autocast:
                here = batches[0].to(device)
                elbo_B = trainee.vae(here, noise_SZ.to(device)).elbo_B(here).cpu()
            trainee.step(batches[0].to(device))
            seconds = [_seconds(trainee, batch.to(device)) for batch in batches[1:]]
        rows.append(
            (kind, f"{1e3 * statistics.median(seconds):.1f} ms", f"{float((elbo_B / true_B - 1.0).abs().max()):.1e}")
        )
    columns = ("attention", "step on a fresh batch", "largest relative error of an ELBO")
    return Table(f"Attention, batch {batches[0].n_subjects}", columns, rows)


def _seconds(trainee: Trainee, batch: EventBatch) -> float:
    wait(batch.value_N.device)
    started = time.perf_counter()
    trainee.step(batch)
    wait(batch.value_N.device)
    return time.perf_counter() - started


def in_double(batch: EventBatch) -> EventBatch:
    """A batch whose numbers are float64."""
    return replace(batch, value_N=batch.value_N.double())
