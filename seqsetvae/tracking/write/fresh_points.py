"""Which of the values that training logs are news: repetitions of a step are dropped, and what is no number is left out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)


class FreshPoints:
    """Remembers what each metric had last. For one thread only."""

    def __init__(self, last_steps: Mapping[str, int]) -> None:
        """`last_steps`: of each metric, up to which step an earlier part of the run has logged it."""
        self._floor = dict(last_steps)
        self._last: dict[str, tuple[int, str]] = {}
        self._told: set[str] = set()

    def of(self, step: int, timestamp: int, values: Mapping[str, Any]) -> list[list[Any]]:
        """Key, value, step and timestamp of those that neither an earlier part of the run has logged nor the previous call at this step.

        Args:
            step: optimizer step.
            timestamp: milliseconds since the epoch.
            values: numbers, or tensors of one element, by key.
        """
        points = []
        for key, raw in values.items():
            if step <= self._floor.get(key, step - 1):
                continue
            try:
                value = float(raw)
            except (TypeError, ValueError, RuntimeError) as error:
                self._tell_once(key, "Metric %r is not a single number and is left out: %s", key, error)
                continue
            # repr: NaN equals itself here.
            if self._last.get(key) == (step, repr(value)):
                continue
            self._last[key] = (step, repr(value))
            if math.isinf(value):
                self._tell_once(
                    "inf", "Metric %r is infinite at step %d. MLflow shows such values as 1.8e308.", key, step
                )
            points.append([key, value, step, timestamp])
        return points

    def _tell_once(self, topic: str, message: str, *values: object) -> None:
        if topic not in self._told:
            self._told.add(topic)
            _log.warning(message, *values)
