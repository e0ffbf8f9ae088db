"""`MeasuredSoFar`: the updates of a run so far, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from seqsetvae.collapse.statistics import CollapseStatistics

POINTS = 1000
"""Updates kept for figures; beyond that every second older one is dropped."""
WINDOW = 10_000
"""Reconstruction losses kept for the slope."""


class MeasuredSoFar:
    """Updates, oldest first: at most `POINTS`, evenly thinned, the newest always among them."""

    def __init__(self) -> None:
        self._kept: list[CollapseStatistics] = []
        self._stride = 1
        self._seen = 0
        self._recon: deque[float] = deque(maxlen=WINDOW)

    def append(self, statistics: CollapseStatistics) -> None:
        if self._kept and (self._seen - 1) % self._stride:
            self._kept.pop()  # it was kept only as the newest
        self._kept.append(statistics)
        self._seen += 1
        if statistics.recon is not None:
            self._recon.append(statistics.recon)
        if len(self._kept) > POINTS:
            self._stride *= 2
            self._kept = [*self._kept[:-1][::2], self._kept[-1]]

    def recon_window(self, updates: int) -> list[float]:
        """The last reconstruction losses, oldest first."""
        return list(self._recon)[-updates:] if updates > 0 else []

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[CollapseStatistics]:
        return iter(self._kept)

    def __getitem__(self, place: int) -> CollapseStatistics:
        return self._kept[place]

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold."""
        rows = [{one.name: getattr(update, one.name) for one in fields(update)} for update in self._kept]
        return {
            "rows": [row | {"kl_Z": row["kl_Z"].tolist()} for row in rows],
            "stride": self._stride,
            "seen": self._seen,
            "recon": list(self._recon),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._kept = [
            CollapseStatistics(**row | {"kl_Z": np.array(row["kl_Z"], dtype=np.float32)}) for row in state["rows"]
        ]
        self._stride, self._seen = state["stride"], state["seen"]
        self._recon = deque(state["recon"], maxlen=WINDOW)


def slope(values: Sequence[float]) -> float:
    """Least-squares slope of a series over its index, as the guides take it.

    >>> round(slope([3.0, 2.5, 2.0]), 6)
    -0.5
    """
    return float(np.polyfit(range(len(values)), values, 1)[0])
