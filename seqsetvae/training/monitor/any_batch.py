"""Batches of any usual kind: their first rows, and how a checkpoint holds them.

Tensors, and lists, tuples, dicts, named tuples and dataclasses of them, one within the other; and what behaves like a dict, such as the
batches of a tokenizer.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from seqsetvae.training.monitor.latents import Latents

PLAIN = (bool, int, float, str, type(None))
"""What a checkpoint may hold as it is."""


@runtime_checkable
class Headed(Protocol):
    """A batch that has first rows of its own kind, such as :class:`~seqsetvae.batch.EventBatch`."""

    @property
    def n_sets(self) -> int: ...

    def head(self, sets: int) -> Self: ...


def cut(batch: Any, latents: Latents, sets: int) -> tuple[Any, Latents]:
    """The first `sets` rows, which tell as much as a large batch.

    Of batches that have such, and of those whose tensors all have one row for each posterior. Anything else as it is.
    """
    if isinstance(batch, Headed):
        batch = batch.head(sets)
        return batch, latents.first(batch.n_sets)
    if latents.rows > sets and _has_rows(batch, latents.rows):
        return rebuilt(batch, lambda values: values[:sets]), latents.first(sets)
    return batch, latents


def _has_rows(batch: Any, rows: int) -> bool:
    if isinstance(batch, Tensor):
        return batch.ndim > 0 and len(batch) == rows
    inside = list((parts(batch) or {}).values())
    if not isinstance(batch, (list, tuple)):
        inside = [one for one in inside if not isinstance(one, PLAIN)]  # a word about the whole batch
    return bool(inside) and all(_has_rows(one, rows) for one in inside)


def parts(batch: Any) -> dict[Any, Any] | None:
    """What a batch is made of, by key, name or place; None where it is not made of parts."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if isinstance(batch, (list, tuple)):
        return dict(enumerate(batch))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {one.name: getattr(batch, one.name) for one in dataclasses.fields(batch) if one.init}
    return None


def made_of(kind: Any, inside: Mapping[Any, Any]) -> Any:
    """Parts put together as a batch of the kind of another one."""
    if isinstance(kind, tuple):
        return type(kind)(*inside.values()) if hasattr(kind, "_fields") else tuple(inside.values())
    if isinstance(kind, list):
        return list(inside.values())
    if isinstance(kind, Mapping):
        found: Any = copy.copy(kind)
        for key, value in inside.items():
            found[key] = value
        return found
    return dataclasses.replace(kind, **inside)


def rebuilt(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same batch with every tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    inside = parts(batch)
    return batch if inside is None else made_of(batch, {key: rebuilt(one, change) for key, one in inside.items()})


def pack(batch: Any) -> Any:
    """Tensors and plain values of a batch, as a checkpoint may hold them: not its classes, which :func:`unpack` takes from another one.

    Raises:
        TypeError: there is something else in it.
    """
    if isinstance(batch, Tensor):
        return batch.detach().cpu()
    if isinstance(batch, PLAIN):
        return batch
    inside = parts(batch)
    if inside is None:
        raise TypeError(f"A {type(batch).__name__} cannot be kept in a checkpoint.")
    return [(key, pack(one)) for key, one in inside.items()]


def unpack(packed: Any, kind: Any, device: torch.device) -> Any:
    """What :func:`pack` was given, on a device.

    Args:
        packed: by it.
        kind: a batch of the same loader.
        device: of the tensors.

    Raises:
        TypeError: that is of another kind.
    """
    if isinstance(packed, Tensor):
        return packed.to(device)
    if isinstance(packed, PLAIN):
        return packed
    like = parts(kind)
    if like is None or (not isinstance(kind, (list, tuple)) and list(like) != [key for key, _ in packed]):
        raise TypeError(f"A {type(kind).__name__} is no batch of the kind that was kept.")
    return made_of(kind, {key: unpack(one, like.get(key), device) for key, one in packed})
