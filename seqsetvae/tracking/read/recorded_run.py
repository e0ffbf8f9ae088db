"""`RecordedRun`: everything that a run has recorded, as it is read back; and what a run is refused for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.errors import InputError


@dataclass(frozen=True)
class Series:
    """All points of one metric in order of their step, each step once: of a step that was recorded twice the last written counts."""

    step_T: NDArray[np.int64]
    """Optimizer steps."""
    time_T: NDArray[np.float64]
    """Seconds since the epoch."""
    value_T: NDArray[np.float64]

    @classmethod
    def of(cls, steps: Any, milliseconds: Any, values: Any) -> Series:
        """From rows in the order in which they were written.

        >>> Series.of([2, 1, 2], [2000, 1000, 9000], [0.2, 0.1, 0.9]).value_T.tolist()
        [0.1, 0.9]
        """
        step_T, time_T = np.asarray(steps, np.int64), np.asarray(milliseconds, np.float64) / 1000.0
        order_T = np.lexsort((time_T, step_T))
        sorted_T = step_T[order_T]
        last_T = order_T[np.append(sorted_T[1:] != sorted_T[:-1], True)] if len(order_T) else order_T
        return cls(step_T[last_T], time_T[last_T], np.asarray(values, np.float64)[last_T])

    def __len__(self) -> int:
        return len(self.step_T)

    def tail(self, points: int) -> Series:
        """The last points, so many at most.

        >>> Series.of([1, 2, 3], [0, 0, 0], [0.1, 0.2, 0.3]).tail(2).step_T.tolist()
        [2, 3]
        """
        return Series(self.step_T[-points:], self.time_T[-points:], self.value_T[-points:])


Stamp = tuple[int, int, float]
"""Step, milliseconds since the epoch and value of a metric's newest point, by which a change is told."""


@dataclass(frozen=True)
class ListedRun:
    """A run as a list of runs has it."""

    run_id: str
    name: str
    start_time: float
    """Seconds since the epoch."""
    experiment: str
    parent_id: str = ""
    kind: str = ""
    """pretrain, finetune, tune, evaluate, imported; empty where nothing of ours has made it."""


@dataclass(frozen=True)
class RecordedRun:
    """Everything that a run has recorded, except its files."""

    run_id: str
    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    experiment: str
    start_time: float
    """Seconds since the epoch."""
    end_time: float | None
    """None while it runs."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Series]
    alerts: tuple[Mapping[str, Any], ...] = ()
    """Rows of the run's table of alerts, oldest first; none where there was no alert or nobody watched."""
    store: str = ""
    """Address of the store, without a password."""
    artifact_uri: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return f"<RecordedRun {self.run_id} {self.name!r}: {self.status}, {len(self.metrics)} metrics>"

    @property
    def imported(self) -> bool:
        """Whether it is an older training's, read from event files: its collapse metrics are another monitor's, which had other rules."""
        return names.TAG_IMPORTED_FROM in self.tags

    @property
    def watched(self) -> bool:
        """Whether the collapse monitor has judged it."""
        return names.COLLAPSE_KL in self.metrics and not self.imported

    @property
    def title(self) -> str:
        """Name, with enough of the id to tell runs of one name apart."""
        return f"{self.name} ({self.run_id[:8]})" if self.name else self.run_id


def no_metrics(name: str, run_id: str, status: str, where: str) -> InputError:
    """What to say of a run without a single point."""
    return InputError(
        f"Run {run_id} {name!r} ({status}) in {where} has no metrics: there is nothing to analyze. If its records still wait on this "
        "machine, `seqsetvae sync` delivers them."
    )
