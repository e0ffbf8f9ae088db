"""What the name of a checkpoint tells."""

from __future__ import annotations

import re
from pathlib import Path


def step_of(name: str) -> int:
    """Optimizer step of a checkpoint, by its name.

    >>> step_of("best_0000120_24.6600.ckpt"), step_of("model_before_collapse_step_0000040.ckpt")
    (120, 40)

    Raises:
        ValueError: the name tells none.
    """
    found = re.search(r"_(\d{7,})[._]", name)
    if found is None:
        raise ValueError(f"{name} does not tell its step.")
    return int(found[1])


def sweep(folder: Path, pattern: str, kept: set[str], up_to: int) -> None:
    """Remove files that the run had removed already at step `up_to`, had it not been killed in the middle of doing so.

    Files of later steps stay: the run is about to write them again.
    """
    for path in folder.glob(pattern):
        if path.name not in kept and step_of(path.name) <= up_to:
            path.unlink(missing_ok=True)
