"""Batches of any usual kind: their first rows, and how a checkpoint holds them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.training.monitor.latents import Latents


def cut(batch: Any, latents: Latents, sets: int) -> tuple[Any, Latents]:
    """The first `sets` rows, which tell as much as a large batch.

    Of our batches, and of tensors, lists and dicts of tensors that
    all have one row for each posterior. Anything else as it is.
    """
    if isinstance(batch, EventBatch):
        batch = batch.head(sets)
        return batch, latents.first(batch.n_sets)
    if latents.rows > sets and _has_rows(batch, latents.rows):
        return _first(batch, sets), latents.first(sets)
    return batch, latents


def _has_rows(batch: Any, rows: int) -> bool:
    if isinstance(batch, Tensor):
        return batch.ndim > 0 and len(batch) == rows
    if isinstance(batch, dict):
        return bool(batch) and all(_has_rows(one, rows) for one in batch.values())
    return type(batch) in (list, tuple) and len(batch) > 0 and all(_has_rows(one, rows) for one in batch)


def _first(batch: Any, rows: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[:rows]
    if isinstance(batch, dict):
        return {key: _first(one, rows) for key, one in batch.items()}
    return type(batch)(_first(one, rows) for one in batch)


def pack(batch: Any) -> Any:
    """A batch as a checkpoint may hold it; None of a kind that we do not know."""
    if isinstance(batch, EventBatch):
        content = {one.name: getattr(batch, one.name) for one in fields(batch)}
        tensors = {key: value.cpu() for key, value in content.items() if isinstance(value, Tensor)}
        return {"EventBatch": tensors, "grid": [list(block) for block in batch.grid]}
    if isinstance(batch, Tensor):
        return batch.cpu()
    if type(batch) in (list, tuple):
        parts = [pack(one) for one in batch]
        return None if any(one is None for one in parts) else type(batch)(parts)
    if type(batch) is dict:
        named = {key: pack(one) for key, one in batch.items()}
        return None if any(one is None for one in named.values()) else named
    return None


def unpack(packed: Any, device: torch.device) -> Any:
    """What :func:`pack` was given, on a device."""
    if isinstance(packed, Tensor):
        return packed.to(device)
    if isinstance(packed, dict) and "EventBatch" in packed:
        return EventBatch(**packed["EventBatch"], grid=tuple(tuple(block) for block in packed["grid"])).to(device)
    if isinstance(packed, dict):
        return {key: unpack(one, device) for key, one in packed.items()}
    return type(packed)(unpack(one, device) for one in packed)
