"""`embed`: posterior and state of every stay of a store as a Parquet table, stays by stays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from seqsetvae.atomic import atomic_write
from seqsetvae.config import EmbedConfig, TrackingConfig
from seqsetvae.console import console
from seqsetvae.data.aligned import align, listed
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import TaskStore, names_of, open_task, up_to_hours
from seqsetvae.errors import InputError
from seqsetvae.progress import ProgressBar
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.loading import find_model

_log = logging.getLogger(__name__)

STAYS_AT_A_TIME = 64
VECTOR = pa.list_(pa.float32())
WHO = (("subject_id", pa.string()), ("split", pa.string()), ("minute", pa.float64()), ("sets", pa.int32()))
VECTORS = (("mean", VECTOR), ("variance", VECTOR), ("state", VECTOR))


def schema_of(store: Store) -> pa.Schema:
    """A row per stay, or per set: when, how many sets, the outcome, the posterior and the state.

    In columns: minutes from the first event to the set, the number of sets up to it, the outcome (NaN: none), mean and variance of the
    set's posterior, and the state of the history after it. An outcome of several numbers has a column for each.
    """
    names = names_of(store)
    outcomes = ["outcome"] if len(names) == 1 else [f"outcome_{name}" for name in names]
    return pa.schema([*WHO, *((name, pa.float32()) for name in outcomes), *VECTORS])


@dataclass(frozen=True)
class EmbedResult:
    """The table that was written."""

    output: Path
    rows: int
    stays: int
    """Of the store, or of the outcomes asked for."""
    left_out: Mapping[str, int]
    """Events of variables that the model does not know, by variable."""
    without_stay: int
    """Outcomes that are of no stay."""

    def __repr__(self) -> str:
        return f"<EmbedResult {self.output}: {self.rows:,} rows of {self.stays:,} stays>"


@console()
def embed(config: EmbedConfig, tracking: TrackingConfig) -> EmbedResult:
    """Write the table. The file is there whole or not at all.

    Raises:
        InputError: the model or the store does not exist, the model knows none of its variables, or the table cannot be written.
    """
    model, _ = find_model(config.model, tracking)
    store = open_store(config.store)
    if config.is_table:
        store = open_task(store, config.at, config.task, None, config.kind)
    splits = store.splits if config.split == "all" else (config.split,)
    stays = sum(store.n_subjects(split) for split in splits)
    output, schema, rows = Path(config.output), schema_of(store), 0
    left_out: dict[str, int] = {}
    try:
        with (
            atomic_write(output) as file,
            pq.ParquetWriter(file, schema) as writer,
            ProgressBar(total=stays, desc="embed", unit="stay", disable=not config.progress_bar) as bar,
        ):
            for split in splits:
                for packed, seen in _pieces(store, split, model, left_out):
                    cut = packed if config.hours is None else up_to_hours(packed, config.hours)
                    if cut.n_subjects:
                        writer.write_table(rows_of(model, cut, split, schema, every_set=config.at == "every_set"))
                        rows += cut.n_subjects if config.at != "every_set" else len(cut.minute_S)
                    bar.update(seen)
            if not rows:
                raise InputError(
                    f"{config.store}: no stay has an event by then that the model knows. Nothing was written."
                )
    except OSError as error:
        raise InputError(f"--embed.output {output}: cannot be written ({error.strerror or error}).") from error
    widths = f"mean and variance {model.config.latent_dim}, state {model.config.width + model.vae.read_width} wide"
    _log.info(f"{output}: {rows:,} rows of {stays:,} stays; {widths}")
    if left_out:
        _log.info(f"  variables unknown to the model are left out: {listed(left_out)}")
    without_stay = store.without_stay if isinstance(store, TaskStore) else 0
    if isinstance(store, TaskStore) and without_stay:
        _log.info(f"  {without_stay:,} of {store.rows:,} outcomes are of no stay and left out")
    return EmbedResult(output, rows, stays, left_out, without_stay)


@torch.inference_mode()
def rows_of(model: Pretrained, packed: Packed, split: str, schema: pa.Schema, *, every_set: bool) -> pa.Table:
    """Rows of some stays, in the vocabulary of the model: the last set of each, or all."""
    batch = gather(packed, np.arange(packed.n_subjects), model.vocabulary)
    posterior = model.vae.encode(batch)
    state_SD = model.vae.state(posterior.mu_SZ, batch)
    ends = torch.from_numpy(packed.first_set[1:].astype(np.int64) - 1)
    chosen_R = torch.arange(batch.n_sets) if every_set else ends
    subject_R = batch.subject_S[chosen_R]
    vectors = (posterior.mu_SZ, posterior.logvar_SZ.exp(), state_SD)
    columns = [
        pa.array([str(packed.subject_id[row]) for row in subject_R.tolist()], pa.string()),
        pa.array([split] * len(chosen_R), pa.string()),
        pa.array(batch.minute_S[chosen_R].numpy()),
        pa.array((batch.position_S[chosen_R] + 1).numpy().astype(np.int32)),
        *(pa.array(outcome_R) for outcome_R in batch.label_B[subject_R].reshape(len(chosen_R), -1).T.numpy()),
        *(_vectors(x_SF[chosen_R].float().numpy()) for x_SF in vectors),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _pieces(store: Store, split: str, model: Pretrained, left_out: dict[str, int]) -> Iterator[tuple[Packed, int]]:
    """Some stays at a time in the vocabulary of the model, and how many of the store they are; `left_out` takes unknown variables."""
    n_subjects = store.n_subjects(split)
    for start in range(0, n_subjects, STAYS_AT_A_TIME):
        rows = np.arange(start, min(start + STAYS_AT_A_TIME, n_subjects))
        aligned = align(store, split, model.vocabulary, rows)
        for name, count in aligned.unknown.items():
            left_out[name] = left_out.get(name, 0) + count
        yield aligned.packed, len(rows)


def _vectors(x_RF: NDArray[np.float32]) -> pa.ListArray:
    offsets = np.arange(len(x_RF) + 1, dtype=np.int32) * x_RF.shape[1]
    return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(x_RF).reshape(-1), type=VECTOR)
