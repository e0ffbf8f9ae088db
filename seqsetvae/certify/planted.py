"""Data whose factors are known: standard Gaussian, planted where a VAE can find them, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

WIDTH, FACTORS, CLASSES, IMAGE, LENGTH = 8, 3, 4, 8, 12
"""Elements of a row; factors behind it; classes of rows; pixels of an image's side; places of a series."""
Batch = dict[str, Tensor]
"""`x` what is encoded, (N, ...); `planted` the factors, (N, F); `class` of each row, (N,)."""
Source = Callable[[int, torch.Generator], Batch]


def _fixed(*shape: int) -> Tensor:
    """The same for all runs: they differ in samples, weights and noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


LOADING_FX = torch.linalg.qr(_fixed(WIDTH, FACTORS))[0].T * torch.tensor([[2.8], [2.0], [1.5]])
"""Variances 7.84, 4 and 2.25: a decoder of variance 1 loses the last of them at a beta of 8.1, the noise in the data included."""
CLASS_MEANS_CX = 2.0 * _fixed(CLASSES, WIDTH)


def factors(rows: int, generator: torch.Generator) -> Batch:
    """x = f L + noise of variance 0.25."""
    f = torch.randn(rows, FACTORS, generator=generator)
    x = f @ LOADING_FX + 0.5 * torch.randn(rows, WIDTH, generator=generator)
    return {"x": x, "planted": f, "class": torch.zeros(rows, dtype=torch.long)}


def classes(rows: int, generator: torch.Generator) -> Batch:
    """The same about the mean of one of four classes."""
    batch = factors(rows, generator)
    of_class = torch.randint(CLASSES, (rows,), generator=generator)
    return {"x": batch["x"] + CLASS_MEANS_CX[of_class], "planted": batch["planted"], "class": of_class}


def noise(rows: int, generator: torch.Generator) -> Batch:
    """Nothing but noise: every element on its own, with the decoder's own variance."""
    x = torch.randn(rows, WIDTH, generator=generator)
    return {"x": x, "planted": x, "class": torch.zeros(rows, dtype=torch.long)}


def images(rows: int, generator: torch.Generator) -> Batch:
    """A blob at a Gaussian place in 8 x 8 pixels of 0 and 1."""
    f = torch.randn(rows, 2, generator=generator)
    centre = (IMAGE - 1) / 2 + 1.2 * f
    place = torch.arange(IMAGE, dtype=torch.float32)
    across, down = (torch.exp(-0.3 * (place - centre[:, axis, None]).square()) for axis in (0, 1))
    lit = torch.rand(rows, IMAGE, IMAGE, generator=generator) < down[:, :, None] * across[:, None]
    return {"x": lit.float(), "planted": f, "class": torch.zeros(rows, dtype=torch.long)}


def series(rows: int, generator: torch.Generator) -> Batch:
    """Places of 0 and 1, likelier 1 the larger the factor of the row, and where the place before is 1."""
    f = torch.randn(rows, 1, generator=generator)
    before, found = torch.zeros(rows), []
    for _ in range(LENGTH):
        chance = (1.5 * f[:, 0] + before - 0.5).sigmoid()
        before = (torch.rand(rows, generator=generator) < chance).float()
        found.append(before)
    return {"x": torch.stack(found, 1), "planted": f, "class": torch.zeros(rows, dtype=torch.long)}


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """As many batches of fresh rows as a run has steps."""

    source: Source
    steps: int
    rows: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if step >= self.steps:
            raise IndexError(step)
        return self.source(self.rows, torch.Generator().manual_seed(self.seed * 1_000_003 + step))


def held_out(source: Source, rows: int, seed: int) -> Batch:
    """Rows that no run trains on."""
    return source(rows, torch.Generator().manual_seed(2**40 + seed))


def one_hot(class_N: Tensor) -> Tensor:
    """Shape (N, C)."""
    return torch.nn.functional.one_hot(class_N, CLASSES).float()


def as_batches(batch: Batch, rows: int) -> Sequence[Batch]:
    """Cut into batches."""
    total = len(batch["x"])
    return [{name: values[start : start + rows] for name, values in batch.items()} for start in range(0, total, rows)]
