"""The full training step (forward, backward, clipping, optimizer) at the source project's widths, against the machine's matmul rate.

Floating-point operations are counted by formula (:func:`step_flops`), useful work only: no padding, and of the causal attention
only the half that is not masked. Everything element-wise (norms, ReLU, softmax, rotations, likelihood, optimizer) counts as zero.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from seqsetvae.batch import EventBatch
from seqsetvae.certify.table import Table
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.set_encoder import VALUE_FREQUENCIES
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.allocator import keep_freed_memory

BATCH_SIZES = (1, 2, 4, 8, 16)
EMBEDDING_WIDTH = 768
GUIDES_SPEED = {1: "1.0x", 4: "2.5x", 8: "4.0x", 16: "6.0x"}
GUIDES_MEMORY = {1: "2.5 GB", 4: "6.0 GB", 8: "12.0 GB"}


def step_flops(config: ModelConfig, batch: EventBatch, variables: int, embedding_width: int) -> float:
    """Floating-point operations of one training step: 2 per multiply-add; a weight matrix is used once forward and twice backward.

    With N events, S sets, S_b sets of subject b, D width, F ff_dim, Z latent, H heads, V variables, E embedding width, Q Fourier
    features, L levels and M history layers, the multiply-adds of a forward pass are

        events      N [L (D^2 + 2 D F + D H) + D^2 + D H]
        sets        S [L D^2 + D + D^2 + 2 D Z + Z D + M (4 D^2 + 2 D F) + D F + 3 F V]
        attention   M sum_b S_b (S_b + 1) D
        inputs      N Q D + V E 2 D                  (no gradient flows into data: once backward)
    """
    d, f, z, h = config.width, config.ff_dim, config.latent_dim, config.heads
    levels, layers = config.levels, config.history_layers
    sets_B = np.bincount(batch.subject_S.cpu().numpy()).astype(float)
    events = batch.n_events * (levels * (d * d + 2 * d * f + d * h) + d * d + d * h)
    per_set = levels * d * d + d * d + 2 * d * z + z * d + layers * (4 * d * d + 2 * d * f) + d * f + 3 * f * variables
    attention = layers * float((sets_B * (sets_B + 1)).sum()) * d
    inputs = batch.n_events * 2 * VALUE_FREQUENCIES * d + variables * embedding_width * 2 * d + batch.n_sets * d
    return 2.0 * (3.0 * (events + batch.n_sets * per_set + attention) + 2.0 * inputs)


@dataclass
class Case:
    """One batch size and what was measured of it."""

    batch: EventBatch
    step: Callable[[], None]
    flops: float
    peak_bytes: int = 0
    seconds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


class Trainee:
    """A model with its optimizer, as in a pretraining run; its variables come as frozen embeddings or, with no width, are learned."""

    def __init__(
        self,
        device: torch.device,
        precision: str,
        compiled: bool,
        variables: int,
        embedding_width: int | None = EMBEDDING_WIDTH,
    ) -> None:
        torch.manual_seed(0)
        self.variables = variables
        frozen_VE = None if embedding_width is None else torch.randn(variables, embedding_width)
        self.vae = SeqSetVAE(ModelConfig(), variables, frozen_VE).to(device)
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), lr=1e-4, fused=True)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
        if compiled:
            self.vae.compile(dynamic=True)

    def step(self, batch: EventBatch) -> None:
        with self.autocast:
            loss = self.vae(batch).loss(0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure(quick: bool = False) -> list[Table]:
    """Speed and memory by batch size; on a GPU once for each precision, and compiled."""
    if torch.cuda.is_available():
        settings = [("32", False), ("bf16-mixed", False), ("bf16-mixed", True)]
        return [_measure(torch.device("cuda"), precision, compiled, quick) for precision, compiled in settings]
    return [_measure(torch.device("cpu"), "32", False, quick)]


def _measure(device: torch.device, precision: str, compiled: bool, quick: bool) -> Table:
    keep_freed_memory()
    trainee = Trainee(device, precision, compiled, len(open_store("demo").vocabulary))
    sizes = BATCH_SIZES if device.type == "cpu" else (*BATCH_SIZES, 64, 256)
    cases = [_case(trainee, size, device) for size in sizes]
    matmul = matmul_rate(device, precision)
    for case in cases:  # ascending: the peak of a process never falls
        for _ in range(3):
            case.step()
        case.peak_bytes = peak_memory(device)
    for _ in range(1 if quick else 4):  # rounds, so that a change of the machine's speed meets every size
        for case in cases:
            case.step()  # the sizes before it left other data in the caches
            for _ in range(3 if quick else 6):
                before = matmul()
                started = time.perf_counter()
                case.step()
                wait(device)
                case.seconds.append(time.perf_counter() - started)
                rate = 0.5 * (before + matmul())
                case.shares.append(case.flops / case.seconds[-1] / rate)
    return _table(cases, device, precision, compiled)


def _table(cases: list[Case], device: torch.device, precision: str, compiled: bool) -> Table:
    base = cases[0].batch.n_subjects / statistics.median(cases[0].seconds)
    rows: list[tuple[object, ...]] = []
    for case in cases:
        size = case.batch.n_subjects
        seconds = statistics.median(case.seconds)
        rows.append(
            (
                size,
                f"{size / seconds:.1f}",
                f"{size / seconds / base:.1f}x",
                GUIDES_SPEED.get(size, ""),
                f"{case.flops / seconds / 1e9:.0f}",
                f"{statistics.median(case.shares):.0%}",
                f"{case.peak_bytes / 1e9:.2f} GB",
                GUIDES_MEMORY.get(size, ""),
            )
        )
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    title = f"Training step on {where}, precision {precision}{', compiled' if compiled else ''}"
    columns = (
        "batch",
        "patients/s",
        "speed",
        "guides",
        "GFLOP/s",
        "share of matmul rate",
        "peak memory",
        "guides' memory",
    )
    note = (
        "Share: GFLOP/s of the step over GFLOP/s of a product of the shape of its largest layer, (events x width) (width x ff) "
        "at batch 8 with its two gradients, timed right before and after each step. Median of the pairs."
    )
    return Table(title, columns, rows, note)


def _case(trainee: Trainee, size: int, device: torch.device) -> Case:
    store = open_store("demo")
    rows = np.random.default_rng(0).permutation(store.n_subjects("train"))[:size]
    batch = store.gather("train", 0, np.sort(rows)).to(device)
    flops = step_flops(ModelConfig(), batch, trainee.variables, EMBEDDING_WIDTH)
    return Case(batch, lambda: trainee.step(batch), flops)


def matmul_rate(device: torch.device, precision: str) -> Callable[[], float]:
    """Measures floating-point operations per second of the step's largest layer, forward and backward."""
    n, d, f = (3500 if device.type == "cpu" else 100_000), ModelConfig().width, ModelConfig().ff_dim
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    x, weight, gradient = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((n, d), (d, f), (n, f)))
    outputs = [torch.empty(*shape, device=device, dtype=dtype) for shape in ((n, f), (n, d), (d, f))]

    def rate() -> float:
        started = time.perf_counter()
        repeats = 3
        for _ in range(repeats):
            torch.mm(x, weight, out=outputs[0])
            torch.mm(gradient, weight.t(), out=outputs[1])
            torch.mm(x.t(), gradient, out=outputs[2])
        wait(device)
        return repeats * 3 * 2.0 * n * d * f / (time.perf_counter() - started)

    for _ in range(3):
        rate()
    return rate


def wait(device: torch.device) -> None:
    """Until the GPU has done what it was told; a CPU has already."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU, or of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
