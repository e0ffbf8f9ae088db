"""Figures are drawn beside the training, on a thread of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.training.monitor.alert_outlets import AlertOutlets

Draw = Callable[[Sequence[CollapseStatistics], Sequence[Diagnosis], SettledMonitor, str], dict[str, bytes]]
"""Figures as PNG by key, from updates, alerts, settings and a title. Handed in: drawing is not training's business."""


class FigureThread:
    """Draws one after the other; what cannot be drawn is noted with the alerts, and training goes on."""

    def __init__(self, draw: Draw, outlets: AlertOutlets, config: SettledMonitor, title: str) -> None:
        self._draw_all, self.outlets, self.config, self.title = draw, outlets, config, title
        self._last_step = -1
        self.waiting: list[int] = []
        """Steps whose figures are yet to be drawn: a run that is killed now draws them when it is resumed."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="collapse figures")

    def draw(self, updates: Iterable[CollapseStatistics], step: int) -> None:
        """Queue the figures of this step, once. They show what is known now."""
        if step == self._last_step:
            return
        self._last_step = step
        self.waiting.append(step)
        self._thread.submit(self._draw, list(updates), list(self.outlets.alerts), step)

    def close(self) -> None:
        """Wait for what is queued."""
        self._thread.shutdown()
        self.outlets.no_more_figures()

    def _draw(self, updates: list[CollapseStatistics], alerts: list[Diagnosis], step: int) -> None:
        try:
            for key, png in self._draw_all(updates, alerts, self.config, self.title).items():
                self.outlets.figure(key, png, step)
        except Exception as error:
            self.outlets.note(Level.YELLOW, f"The figures of step {step} could not be drawn: {error}")
        self.waiting.remove(step)
