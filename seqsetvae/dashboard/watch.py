"""`Watch`: the runs of a dashboard. Looks at one of them, and never fails: what goes wrong is part of the view."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from seqsetvae import names
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.dashboard.charts import Chart, of_panels
from seqsetvae.dashboard.updates import Updates, thresholds
from seqsetvae.dashboard.view import FOLLOWED, View, make_view
from seqsetvae.errors import InputError
from seqsetvae.figures.collapse_panels import collapse_panels
from seqsetvae.tracking.read.follow import follow
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.write.ownership import is_alive

LIST_EVERY = 10.0
"""Seconds between two looks for trials that have begun."""


class Followed(Protocol):
    """Where a run comes from: a store, or a simulation."""

    def poll(self) -> RecordedRun:
        """The run as it is now. Raises :class:`InputError` where it cannot be read."""


@dataclass
class SeenRun:
    """A run and what was last seen of it."""

    run_id: str
    title: str
    followed: Followed
    updates: Updates = field(default_factory=Updates)
    recorded: RecordedRun | None = None
    drawn: Sequence[CollapseStatistics] = ()
    charts: Sequence[Chart] = ()
    view: View | None = None
    """What the last look has shown; None before the first."""

    def look(self, now: float) -> View:
        """What there is to see at this moment."""
        trouble = ""
        try:
            self.recorded = self.followed.poll()
        except InputError as error:
            trouble = str(error)
        recorded = self.recorded or RecordedRun(self.run_id, "", "unknown", "", now, None, {}, {}, {})
        config, note = thresholds(recorded)
        updates = self.updates.of(recorded, config)
        if updates is not self.drawn:
            panels = collapse_panels(updates, config) if updates else []
            self.drawn, self.charts = updates, of_panels(panels, [update.step for update in updates])
        notes = (note,) if note else ()
        self.view = make_view(recorded, self.charts, now, vanished=vanished(recorded), notes=notes, trouble=trouble)
        return self.view


class WatchList:
    """Several runs; only the one that is shown is read.

    Args:
        runs: those to begin with.
        join: makes a run of an id and a name, for those that come while one looks. None: none does.
        begun: of a study, ids and names of its trials so far, oldest first; those that are new join at the end of the list. None: there
            is no study among the runs. Trials are shown beside each other, too.
    """

    def __init__(
        self,
        runs: Sequence[SeenRun],
        join: Callable[[str, str], SeenRun] | None = None,
        begun: Callable[[], Sequence[tuple[str, str]]] | None = None,
    ) -> None:
        self.runs, self.of_a_study = list(runs), begun is not None
        self._join, self._begun = join, begun
        self._listed = time.monotonic()
        self._joining = Lock()  # pages look at several runs at once

    @property
    def trials(self) -> list[RecordedRun]:
        """Of a study, as they were last seen."""
        seen = (run.recorded for run in self.runs)
        return [one for one in seen if one is not None and names.TAG_TRIAL in one.tags]

    def look(self, place: int) -> View:
        """The run at this place of the list."""
        run = self.runs[place]
        view = run.look(time.time())
        rescue = "" if run.recorded is None else run.recorded.tags.get(names.TAG_RESCUED_BY, "")
        if rescue:
            self._add([(rescue, "rescue")])
        if self._begun is not None and time.monotonic() - self._listed > LIST_EVERY:
            self._listed = time.monotonic()
            with suppress(InputError):  # the view says that the store is away
                self._add(self._begun())
        return view

    def _add(self, listed: Sequence[tuple[str, str]]) -> None:
        """Those that are not in the list yet."""
        if self._join is None:
            return
        with self._joining:
            known = {one.run_id for one in self.runs}
            self.runs += [self._join(run_id, name) for run_id, name in listed if run_id not in known]

    def look_at_all(self) -> Iterator[tuple[SeenRun, View]]:
        """Every run as it is now, with those that join meanwhile."""
        for place, run in enumerate(self.runs):
            yield run, self.look(place)


def seen_run(uri: str, run_id: str, name: str, points: int) -> SeenRun:
    """A run in a store.

    Args:
        uri: address of the store.
        run_id: its id.
        name: as a list of runs has it.
        points: how many of the last points of each metric to show.
    """
    title = f"{name} ({run_id[:8]})" if name else run_id
    return SeenRun(run_id, title, follow(uri, run_id, FOLLOWED, points))


def vanished(recorded: RecordedRun) -> bool:
    """Whether a run that should be training was started on this machine and has no process any more."""
    if recorded.status != "RUNNING" or recorded.tags.get(names.TAG_HOST) != socket.gethostname():
        return False
    return not is_alive(recorded.tags)
