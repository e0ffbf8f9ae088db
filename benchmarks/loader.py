"""The loader alone, against a collate function that pads stay by stay as the source guides describe it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqsetvae.certify.table import Table
from seqsetvae.config import DataConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.module import EventDataModule
from seqsetvae.data.store import Store

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
EMBEDDING_WIDTH = 768
"""Width of the guides' cached.csv."""


def measure(quick: bool = False) -> list[Table]:
    """Patients per second in one process, both loaders over the same batches, the better of interleaved repeats."""
    seconds = 0.2 if quick else 1.0
    repeats = 1 if quick else 5
    store = open_store("demo")
    frames = _frames(store)
    embedding = torch.randn(len(store.vocabulary), EMBEDDING_WIDTH)
    rows: list[tuple[object, ...]] = []
    for batch_size in (1, 8) if quick else BATCH_SIZES:
        packed = padded = 0.0
        for _ in range(repeats):
            packed = max(packed, _rate(_packed_epochs(batch_size), seconds))
            padded = max(padded, _rate(_padded_epochs(store, frames, embedding, batch_size), seconds))
        rows.append((batch_size, f"{packed:,.0f}", f"{padded:,.0f}", f"{packed / padded:,.0f}x"))
    note = (
        f"Demo store ({store.n_subjects('train')} stays, {store.n_events('train') / store.n_subjects('train'):.0f} events each), "
        f"one process, {torch.get_num_threads()} threads. The baseline pads one pandas frame after the other to the longest of the "
        f"batch, with a {EMBEDDING_WIDTH}-wide embedding per event; its frames are in memory already. Best of {repeats}."
    )
    return [Table("Loader alone", ("batch size", "patients/s", "padded, patients/s", "ratio"), rows, note)]


def _rate(epochs: Iterator[int], seconds: float) -> float:
    """Patients per second of an endless stream of batches, given the patients of each. The first batch is not counted."""
    next(epochs)
    patients = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        patients += next(epochs)
    return patients / elapsed


def _packed_epochs(batch_size: int) -> Iterator[int]:
    loader = EventDataModule(DataConfig(batch_size=batch_size, num_workers=0)).train_dataloader()
    while True:
        for batch in loader:
            yield batch.n_subjects


def _padded_epochs(store: Store, frames: list[pd.DataFrame], embedding: Tensor, batch_size: int) -> Iterator[int]:
    row_of = {name: row for row, name in enumerate(store.vocabulary.names)}
    vocabulary = store.vocabulary
    scaling = dict(zip(vocabulary.names, zip(vocabulary.center_V, vocabulary.spread_V, strict=True), strict=True))
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(frames))
        for start in range(0, len(order), batch_size):
            chosen = [frames[row] for row in order[start : start + batch_size]]
            yield len(_padded_batch(chosen, lambda name: embedding[row_of[name]], scaling)[0])


def _padded_batch(
    frames: list[pd.DataFrame], embed: Callable[[str], Tensor], scaling: dict[str, tuple[float, float]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings (B, N, E), values and minutes (B, N) and padding mask (B, N), as the guides' `_dynamic_collate_fn` lays them out."""
    longest = max(len(frame) for frame in frames)
    variables = torch.zeros(len(frames), longest, EMBEDDING_WIDTH)
    values, minutes = torch.zeros(len(frames), longest), torch.zeros(len(frames), longest)
    is_padding = torch.ones(len(frames), longest, dtype=torch.bool)
    for i, frame in enumerate(frames):
        n = len(frame)
        variables[i, :n] = torch.stack([embed(name) for name in frame["variable"]])
        center_and_spread = np.array([scaling[name] for name in frame["variable"]])
        scaled = (frame["value"].to_numpy() - center_and_spread[:, 0]) / center_and_spread[:, 1]
        values[i, :n] = torch.tensor(scaled, dtype=torch.float32)
        minutes[i, :n] = torch.tensor(frame["minute"].to_numpy(), dtype=torch.float32)
        is_padding[i, :n] = False
    return variables, values, minutes, is_padding


def _frames(store: Store) -> list[pd.DataFrame]:
    """The train stays as the guides hold them: one frame of variable, value, minute each."""
    frames = []
    names = np.array(store.vocabulary.names, dtype=object)
    for shard, info in enumerate(store.shards("train")):
        for row in range(info.subjects):
            stay = store.gather("train", shard, np.array([row]))
            variable = stay.variable_N.numpy()
            columns = {
                "variable": names[variable],
                "value": store.vocabulary.unscale(variable, stay.value_N.numpy()),
                "minute": stay.minute_S[stay.set_N].numpy(),
            }
            frames.append(pd.DataFrame(columns))
    return frames
