"""What a model is served with: the packages that its code imports, pinned as they are here, and all that these bring with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMPORTED = ("torch", "numpy", "pandas", "pyarrow", "meds", "pyyaml", "safetensors", "mlflow")
"""By the files in :mod:`seqsetvae.serving`. The package itself travels with the model."""
CUDA = re.compile(r"cuda-|nvidia-(?!ml-py)|triton")
"""Packages that torch's own pin decides, on a machine where it brings them: left out here as in `make lock`."""


def requirements() -> list[str]:
    """Exact pins of :data:`IMPORTED`, without the build that is installed here (`2.13.0+cpu`)."""
    return [f"{name}=={_public(version(name))}" for name in IMPORTED]


def constraints() -> list[str]:
    """Exact pins of everything that they require in turn: as these were together when the model was trained and tested.

    Constraints choose versions, but install nothing: a machine with a GPU may add what torch asks for there.
    """
    return [f"{name}=={version}" for name, version in sorted(_closure(IMPORTED).items()) if not CUDA.match(name)]


def _closure(wanted: Iterable[str]) -> dict[str, str]:
    """Name -> version of the installed distributions that these need, themselves included."""
    found: dict[str, str] = {}
    waiting = [(name, frozenset[str]()) for name in wanted]
    asked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        found[name] = _public(installed.version)
        for line in installed.requires or ():
            needed = Requirement(line)
            chosen = ({"extra": extra} for extra in (extras or {""}))
            if needed.marker is None or any(needed.marker.evaluate(extra) for extra in chosen):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def _public(installed: str) -> str:
    return installed.partition("+")[0]
