"""A `DataLoader` whose place within the epoch can be saved and found again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from seqsetvae.batch import EventBatch
from seqsetvae.data.sampler import BatchSpec, EventBatchSampler
from seqsetvae.data.store import Store

SECONDS_BETWEEN_LOOKS = 2.0


class EventDataset(Dataset[EventBatch]):
    """One split of a store; an item is a whole batch."""

    def __init__(
        self, store: Store, split: str, max_sequence_length: int | None = None, grid_columns: int | None = None
    ) -> None:
        self.store = store
        self.split = split
        self.max_sequence_length = max_sequence_length
        self.grid_columns = grid_columns

    def __getitem__(self, spec: BatchSpec) -> EventBatch:
        return self.store.gather(self.split, spec.shard, spec.rows, self.max_sequence_length, self.grid_columns)


def end_with(process: int, worker: int) -> None:
    """In a worker: end when the process that it works for is no more.

    PyTorch's own watch asks for the parent, which is not that process where a server starts them (the default from Python 3.14 on).
    """

    def watch() -> None:
        while psutil.pid_exists(process):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class EventLoader(DataLoader[EventBatch]):
    """Yields :class:`EventBatch`; `state_dict` counts the batches handed to the training loop, not those workers fetched ahead.

    After `load_state_dict` the next iteration of that epoch yields the remaining batches only, the one after it a whole epoch.
    `len` is always that of a whole epoch, as Lightning expects.

    Reading starts with the first batch, not with `iter`: Lightning calls `iter` before it sets the epoch.
    """

    sampler: EventBatchSampler

    def __init__(self, dataset: Dataset[EventBatch], sampler: EventBatchSampler, **options: Any) -> None:
        # A generator of its own: the global random state is the model's alone, whatever the number of workers.
        if options.get("num_workers"):
            options["worker_init_fn"] = partial(end_with, os.getpid())
        super().__init__(dataset, batch_size=None, sampler=sampler, generator=torch.Generator(), **options)
        self._epoch = 0
        self._batches = 0
        self._resume: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[EventBatch]:  # type: ignore[override]
        self._epoch, start = self.sampler.epoch, 0
        if self._resume is not None:
            epoch, batches = self._resume
            self._resume = None
            start = batches if epoch == self._epoch else 0
        self._batches = self.sampler.start = start
        for batch in super().__iter__() if self.num_workers else self._in_process():
            self._batches += 1
            yield batch

    def _in_process(self) -> Iterator[EventBatch]:
        """What DataLoader does without workers, less its bookkeeping, which takes half as long as the gather itself."""
        for spec in self.sampler:
            batch = self.dataset[spec]
            yield batch.pin_memory() if self.pin_memory else batch

    def state_dict(self) -> dict[str, int]:
        """`epoch`, and how many of its `batches` this rank has handed out."""
        return {"epoch": self._epoch, "batches": self._batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place; a finished epoch continues with the start of the next."""
        epoch, batches = state["epoch"], state["batches"]
        self._resume = (epoch + 1, 0) if batches >= len(self) else (epoch, batches)
        self._epoch, self._batches = self._resume
        self.sampler.set_epoch(self._epoch)
