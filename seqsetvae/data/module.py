"""`EventDataModule`: a store and its settings as Lightning takes them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray

from seqsetvae.config import DataConfig
from seqsetvae.config.settling import settle_data
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.loader import EventDataset, EventLoader
from seqsetvae.data.sampler import EventBatchSampler
from seqsetvae.data.store import Store
from seqsetvae.data.vocabulary import Vocabulary


class EventDataModule(LightningDataModule):
    """Train, validation and test loaders of a store, for this process's share of the batches.

    Use with `Trainer(use_distributed_sampler=False)`: the sampler deals the batches out to the ranks itself.

    Args:
        config: Settings, with gaps or settled.
        seed: Of the order of the batches.
        on_gpu: Whether a GPU trains on them; None: where PyTorch has one.

    Raises InputError at construction if the store cannot be opened.
    """

    def __init__(self, config: DataConfig, seed: int = 0, *, on_gpu: bool | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.store: Store = open_store(config.store)
        on_gpu = torch.cuda.is_available() if on_gpu is None else on_gpu
        self.config = settle_data(config, on_gpu=on_gpu, patients=self.store.n_subjects("train"))

    @property
    def vocabulary(self) -> Vocabulary:
        return self.store.vocabulary

    def batches_per_epoch(self, world_size: int = 1, nodes: int = 1) -> int:
        """Training batches per epoch and rank, the same in every epoch."""
        return len(self._sampler("train", 0, world_size, nodes))

    def train_dataloader(self) -> EventLoader:
        return self._loader("train")

    def val_dataloader(self) -> EventLoader:
        return self._loader("valid")

    def test_dataloader(self) -> EventLoader:
        return self._loader("test")

    def _loader(self, split: str) -> EventLoader:
        trainer = self.trainer
        place = (trainer.global_rank, trainer.world_size, trainer.num_nodes) if trainer else (0, 1, 1)
        config = self.config
        dataset = EventDataset(self.store, split, config.max_sequence_length, self._grid_columns())
        return EventLoader(
            dataset,
            self._sampler(split, *place),
            num_workers=config.num_workers,
            pin_memory=config.pin_memory,
            persistent_workers=config.persistent_workers and config.num_workers > 0,
        )

    def _sampler(self, split: str, rank: int, world_size: int, nodes: int) -> EventBatchSampler:
        return EventBatchSampler(
            [self._lengths(split, shard) for shard in range(len(self.store.shards(split)))],
            batch_size=self.config.batch_size,
            max_events_per_batch=self.config.max_events_per_batch,
            shuffle=split == "train",
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            nodes=nodes,
        )

    def _lengths(self, split: str, shard: int) -> NDArray[Any]:
        lengths = self.store.events_per_subject(split, shard)
        limit = self.config.max_sequence_length
        return lengths if limit is None else lengths.clip(max=limit)

    def _grid_columns(self) -> int | None:
        """Sets of the longest stay of any split where the shape must not change, else None."""
        if self.config.use_dynamic_padding:
            return None
        longest = max(self.store.longest(split)[1] for split in self.store.splits)
        return min(longest, self.config.max_sequence_length or longest)
