"""Whether weights are a model at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from seqsetvae.errors import InputError


def not_finite(weights: Mapping[str, Tensor]) -> str:
    """Where weights hold NaN or inf, in words; empty where they do not.

    >>> import torch
    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan"), float("inf")]), "n": torch.tensor(3)})
    '2 of 3 values of b'
    """
    found = [
        f"{int((~tensor.isfinite()).sum()):,} of {tensor.numel():,} values of {name}"
        for name, tensor in weights.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    more = f" and {len(found) - 1} more tensors" if len(found) > 1 else ""
    return f"{found[0]}{more}" if found else ""


class WeightsNotFinite(InputError):
    """A file holds weights that no model can have."""


def require_finite(weights: Mapping[str, Tensor], file: Path | str) -> None:
    """Raise :class:`WeightsNotFinite` if a file's weights hold NaN or inf."""
    if found := not_finite(weights):
        raise WeightsNotFinite(
            f"{file} holds weights that are NaN or inf ({found}): it is no model. Take an earlier checkpoint of its run."
        )
