"""`seqsetvae check`: everything that can go wrong after a day, tried in a minute."""

from __future__ import annotations

import logging
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch
from seqsetvae.config import PretrainConfig
from seqsetvae.console import console
from seqsetvae.data.verified import verify
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import resolve_uri, without_password
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.training.allocator import keep_freed_memory
from seqsetvae.training.beta_forecast import forecast_for
from seqsetvae.training.clock import clock
from seqsetvae.training.dangers import dangers
from seqsetvae.training.kernels import no_plan_for_each_shape
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.plan import Plan, make_plan

_log = logging.getLogger(__name__)

MEGABYTE = 2**20
SAFETY = 1.25
"""A run needs some room above the largest batch tried: validation, checkpoints, fragmentation."""


LARGER = (64, 256)
"""Patients per batch that are tried on a GPU whatever was planned."""
WORTH_SAYING = 1.5
"""Times the patients per second, from which on a larger batch is suggested."""


class Patients(NamedTuple):
    """Rows of a shard of the train split."""

    shard: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """One training step at one batch size."""

    batch: EventBatch
    load_seconds: float
    step_seconds: float
    peak_bytes: int
    parameters: int
    """Of the model."""

    def row(self) -> str:
        b = self.batch
        grid = "+".join(f"{rows}x{columns}" for rows, columns in b.grid)
        return (
            f"  {b.n_subjects:>8} {b.n_sets:>7} {b.n_events:>8}   {grid:<14} {b.padding_share:>7.0%} "
            f"{1e3 * self.load_seconds:>8.1f} {1e3 * self.step_seconds:>8.0f} {self.peak_bytes / MEGABYTE:>9.0f}"
        )


@dataclass(frozen=True)
class Preflight:
    """What a planned run will take, as far as a minute can tell."""

    trials: tuple[Trial, ...]
    epoch_seconds: float
    """Training steps of one epoch."""
    total_steps: int
    needed_bytes: int
    """Memory for the largest batch there can be."""
    free_bytes: int

    def __repr__(self) -> str:
        memory = f"{self.needed_bytes / MEGABYTE:.0f} of {self.free_bytes / MEGABYTE:.0f} MB"
        return f"<Preflight {self.total_steps} steps, about {clock(self.epoch_seconds)} an epoch, {memory}>"


@console()
def preflight(config: PretrainConfig) -> Preflight:
    """Try the planned run: settings, every byte of the data, a forward and a backward pass at several batch sizes, the tracking store.

    Says what it sees as it goes.

    Raises:
        InputError: the run could not work; the message says what to change.
    """
    plan = make_plan(config)
    verify(plan.data.store, again=True)
    _log.info(f"SeqSetVAE pre-flight\n{plan.describe()}\n")
    _log.info(
        f"  {'patients':>8} {'sets':>7} {'events':>8}   {'history grid':<14} {'padding':>7} {'load ms':>8} {'step ms':>8} {'peak MB':>9}"
    )
    trials = []
    for size in batch_sizes(plan):
        trials.append(try_step(plan, random_patients(plan, size)))
        _log.info(trials[-1].row())
    longest = try_longest(plan, trials)
    _log.info(f"{longest.row()}   the longest stay")
    uri, seconds = reach_store(plan)
    _log.info(f"\n  {'store':<8}{without_password(uri)} answered in {seconds:.1f} s")
    if advice := faster(trials, planned_patients(plan)):
        _log.info(f"  {'faster':<8}{advice}")
    say_survivors(plan)
    return report_estimates(plan, trials, longest)


def say_survivors(plan: Plan) -> None:
    """What is told before training: the beta at which nothing survives, and how many dimensions do below it."""
    if plan.config.model.prior == "learned":
        _log.info(
            f"  {'beta':<8}what survives at which beta is told for the prior N(0, I) alone: not for a learned one"
        )
        return
    told, latents = forecast_for(plan), plan.config.model.latent_dim
    if not told.nothing_to_encode:
        planned = plan.config.objective.max_beta
        betas = sorted({planned, *(10.0**power for power in range(-2, 3) if 10.0**power < told.critical_beta)})
        at = ", ".join(f"{told.survivors(beta, latents)} at {beta:g}" for beta in betas)
        beyond = f" (beyond {told.farthest_beta:.2g} nothing can)" if told.farthest_beta else ""
        dead = f"from {told.critical_beta:.2g} on nothing survives, by a forecast{beyond}"
        _log.info(f"  {'beta':<8}{dead}; of {latents} dimensions do at most {at}")
    for danger in dangers(plan, told):
        _log.warning(danger)


def planned_patients(plan: Plan) -> int:
    """Patients of a usual batch."""
    data, store = plan.config.data, plan.data.store
    planned = data.batch_size
    if data.max_events_per_batch:
        planned = max(1, data.max_events_per_batch * store.n_subjects("train") // store.n_events("train"))
    return min(planned, store.shards("train")[0].subjects)


def batch_sizes(plan: Plan) -> list[int]:
    """Powers of two up to the planned number of patients per batch; on a GPU, which small batches leave idle, some more."""
    planned, there = planned_patients(plan), plan.data.store.shards("train")[0].subjects
    more = [size for size in LARGER if planned < size <= there] if plan.config.trainer.accelerator == "gpu" else []
    return sorted({1, *(2**k for k in range(1, 11) if 2**k < planned), planned, *more})


def random_patients(plan: Plan, patients: int) -> Patients:
    """Some of the first shard."""
    rows = np.random.default_rng(plan.config.trainer.seed).permutation(plan.data.store.shards("train")[0].subjects)
    return Patients(0, np.sort(rows[:patients]))


def longest_stay(plan: Plan) -> Patients:
    """The patient with most events."""
    store = plan.data.store
    shard = max(range(len(store.shards("train"))), key=lambda number: store.shards("train")[number].longest_events)
    return Patients(shard, np.array([store.events_per_subject("train", shard).argmax()]))


def try_longest(plan: Plan, trials: list[Trial]) -> Trial:
    """A step through the longest stay; before that it is refused if memory would not hold it, since trying would end this process.

    Raises:
        InputError: there is too little memory.
    """
    patients = longest_stay(plan)
    events = int(plan.data.store.events_per_subject("train", patients.shard)[patients.rows[0]])
    limit = plan.config.data.max_sequence_length
    require_memory(plan, bytes_of(trials, min(events, limit or events)), f"The longest stay, of {events} events,")
    return try_step(plan, patients)


def try_step(plan: Plan, patients: Patients) -> Trial:
    """One forward and backward pass on a batch of these patients."""
    keep_freed_memory()
    no_plan_for_each_shape()
    trainer = plan.config.trainer
    device = torch.device("cuda" if trainer.accelerator == "gpu" else "cpu")
    store = plan.data.store
    started = time.perf_counter()
    batch = store.gather("train", *patients, plan.config.data.max_sequence_length)
    load_seconds = time.perf_counter() - started
    module = PretrainModule(plan.config, plan.build_model(), plan.total_steps).to(device)
    on_device = batch.to(device)
    autocast = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(trainer.precision)
    for attempt in range(2):  # the first pass warms caches and allocators up
        if attempt == 1 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            loss = module.vae(on_device).loss(plan.config.objective.max_beta, plan.config.objective.free_bits)
        loss.backward()
        if not torch.isfinite(loss):  # waits for the GPU
            raise InputError(
                f"A training step on {batch.n_subjects} patients of {plan.config.data.store} gives a loss of {float(loss)}."
            )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Trial(batch, load_seconds, time.perf_counter() - started, peak_memory(device), parameters)


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU since the last reset, or of this process since its start. Batch sizes are tried in ascending order."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reach_store(plan: Plan) -> tuple[str, float]:
    """Open the tracking store as the run would. Returns its address and the seconds it took to answer."""
    uri = resolve_uri(plan.config.tracking)
    started = time.perf_counter()
    open_client(uri).search_experiments(max_results=1)
    return uri, time.perf_counter() - started


def bytes_of(trials: list[Trial], events: int) -> int:
    """Memory of a training step on so many events, which it grows with; optimizer moments come on top of what was tried.

    >>> batch = EventBatch(*[torch.zeros(100)] * 3, *[torch.zeros(10)] * 3, *[torch.zeros(1)] * 3, ((1, 10),))
    >>> bytes_of([Trial(batch, 0.0, 0.0, 5000, 10)], 100)
    5080
    """
    first, last = trials[0], max(trials, key=lambda trial: trial.batch.n_events)
    per_event = max(0.0, (last.peak_bytes - first.peak_bytes) / max(1, last.batch.n_events - first.batch.n_events))
    moments = 2 * 4 * last.parameters
    return int(last.peak_bytes + per_event * max(0, events - last.batch.n_events) + moments)


def faster(trials: list[Trial], planned: int) -> str:
    """Which larger batch would take many more patients in the same time; empty where none does."""
    rates = {trial.batch.n_subjects: trial.batch.n_subjects / trial.step_seconds for trial in trials}
    best = max(trials, key=lambda trial: rates[trial.batch.n_subjects])
    size = best.batch.n_subjects
    if size <= planned or rates[size] < WORTH_SAYING * rates[planned]:
        return ""
    return f"--data.batch_size {size} takes {rates[size] / rates[planned]:.1f}x the patients/s, {best.peak_bytes / 1e9:.1f} GB"


def report_estimates(plan: Plan, trials: list[Trial], longest: Trial) -> Preflight:
    """Extrapolate time and memory to the planned run, and refuse one that does not fit. The largest batch holds the longest stays."""
    config, store = plan.config, plan.data.store
    planned = next(trial for trial in trials if trial.batch.n_subjects == planned_patients(plan))
    seconds = planned.step_seconds * plan.batches_per_epoch
    largest = config.data.max_events_per_batch or events_of_longest(plan, config.data.batch_size)
    needed = bytes_of([*trials, longest], largest)
    free = free_memory(config.trainer.accelerator == "gpu")
    _log.info(
        f"  {'time':<8}about {clock(seconds)} an epoch, {clock(seconds * config.trainer.max_epochs)} for the run (training steps)"
    )
    _log.info(
        f"  {'memory':<8}about {needed / MEGABYTE:.0f} MB for the largest batch ({largest} events); {free / MEGABYTE:.0f} MB are there"
    )
    require_memory(plan, needed, "The largest batch")
    _log.info(f"\nReady: {store.n_subjects('train')} patients, {plan.total_steps} steps.")
    return Preflight(tuple(trials), seconds, plan.total_steps, needed, free)


def require_memory(plan: Plan, needed: int, what: str) -> None:
    """Refuse a run for which there is too little memory."""
    config = plan.config
    free = free_memory(config.trainer.accelerator == "gpu")
    if needed * SAFETY > free:
        raise InputError(
            f"{what} needs about {needed * SAFETY / MEGABYTE:.0f} MB with some room to spare, but only "
            f"{free / MEGABYTE:.0f} MB are there. Lower --data.batch_size (now {config.data.batch_size}), set "
            "--data.max_events_per_batch, or cut stays with --data.max_sequence_length."
        )


def events_of_longest(plan: Plan, patients: int) -> int:
    """Events of the largest batch that chance could make: the longest stays together."""
    store = plan.data.store
    lengths = np.concatenate([store.events_per_subject("train", s) for s in range(len(store.shards("train")))])
    limit = plan.config.data.max_sequence_length
    longest = np.sort(lengths if limit is None else lengths.clip(max=limit))[-patients:]
    return int(longest.sum())


def free_memory(on_gpu: bool) -> int:
    """Bytes: what the GPU has free, or what this process holds and could still get."""
    if on_gpu:
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    limit = Path("/sys/fs/cgroup/memory.max")
    available = psutil.virtual_memory().available
    if limit.is_file() and limit.read_text().strip().isdigit():
        available = min(available, int(limit.read_text()))
    return available + psutil.Process().memory_info().rss
