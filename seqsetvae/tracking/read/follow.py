"""Following a run while it is written: at each look only what is new, in constant time whatever the run's length. Nothing is written.

follower = follow("sqlite:///mlflow.db", run_id, keys=[names.TRAIN_LOSS], points=1000)
while True:
    run = follower.poll()
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import local_folder
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.read.alerts import alerts_in, download_alerts
from seqsetvae.tracking.read.client_runs import ClientLook
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series, Stamp
from seqsetvae.tracking.read.run_reader import RunReader, reader_of
from seqsetvae.tracking.read.sql_runs import SqlLook
from seqsetvae.tracking.read.whole_settings import whole_settings

OVERLAP = 20
"""Points that are read again behind a new one: a point that was delivered late, between these, is still found."""
REREAD_EVERY = 30
"""Looks after which everything that is kept is read again: by then also a later late point is found."""
BUSY_SECONDS = 5.0
"""How long a database file that is being written to is waited for, before a look is given up."""
FILES_SECONDS = 10.0
"""Between two looks at the files of a run whose artifacts lie elsewhere: that is a download."""


class Follower:
    """The last points of some metrics of one run, kept up to date. Made by :func:`follow`; for one thread at a time."""

    def __init__(self, uri: str, run_id: str, keys: Collection[str], points: int) -> None:
        self._uri, self._run_id = uri, run_id
        self._runs: RunReader | None = None
        self._keys, self._points = frozenset(keys), points
        self._kept: dict[str, Series] = {}
        self._stamps: dict[str, Stamp] = {}
        self._looks = 0
        self._alerts: tuple[Mapping[str, Any], ...] = ()
        self._alerts_seen: float = 0.0
        self._settings: Mapping[str, str] = {}
        self._settings_due = 0.0

    def poll(self) -> RecordedRun:
        """The run as it is now, with the last points of each metric that is followed and recorded.

        Raises :class:`InputError` where the store cannot be read or the run is gone; the next call tries again, and misses nothing.
        """
        try:
            with readable_errors(self._uri):
                self._runs = self._runs or reader_of(self._uri, BUSY_SECONDS)
                with self._runs.look(self._run_id) as look:
                    self._read_points(look)
                    run = look.run
        except InputError:
            self._runs = None  # what is there next time may be another store: MLflow was upgraded, say
            raise
        with readable_errors(self._uri):
            self._read_alerts(run.artifact_uri)
        return replace(run, params=self._settings_of(run), metrics=dict(self._kept), alerts=self._alerts)

    def _settings_of(self, run: RecordedRun) -> Mapping[str, str]:
        """Read once; tried again as long as the file has not arrived, now and then."""
        if len(self._settings) <= len(run.params) and time.monotonic() >= self._settings_due:
            self._settings = whole_settings(self._uri, run)
            self._settings_due = time.monotonic() + FILES_SECONDS
        return {**self._settings, **run.params}

    def _read_points(self, look: SqlLook | ClientLook) -> None:
        newest, anew = look.newest(), self._looks % REREAD_EVERY == 0
        for key in sorted(self._keys & newest.keys()):
            if anew or self._stamps.get(key) != newest[key]:
                self._kept[key] = self._read(look, key, anew)
                self._stamps[key] = newest[key]
        self._looks += 1

    def _read(self, look: SqlLook | ClientLook, key: str, anew: bool) -> Series:
        kept = self._kept.get(key)
        if anew or kept is None or not len(kept):
            return look.points(key, None, self._points)
        fresh = look.points(key, int(kept.step_T[-OVERLAP:][0]), self._points)
        return joined(kept, fresh).tail(self._points)

    def _read_alerts(self, artifact_uri: str) -> None:
        folder = local_folder(artifact_uri)
        if folder is None:
            if time.monotonic() - self._alerts_seen > FILES_SECONDS or not self._alerts_seen:
                self._alerts = download_alerts(self._uri, self._run_id)
                self._alerts_seen = time.monotonic()
            return
        changed = modified(folder / names.ARTIFACT_ALERTS)
        if changed not in (None, self._alerts_seen):
            try:
                self._alerts = alerts_in(folder)
            except json.JSONDecodeError:
                return  # it is being written: the next look reads it
            self._alerts_seen = changed


def joined(old: Series, new: Series) -> Series:
    """Both, in order of their steps; of a step that both have the later point counts.

    >>> joined(Series.of([1, 2], [0, 0], [0.1, 0.2]), Series.of([2, 3], [0, 0], [0.2, 0.3])).value_T.tolist()
    [0.1, 0.2, 0.3]
    """
    columns = ((one.step_T, 1000.0 * one.time_T, one.value_T) for one in (old, new))
    return Series.of(*map(np.concatenate, zip(*columns, strict=True)))


def modified(path: Path) -> float | None:
    """When a file was last written; None where it is missing."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def follow(uri: str, run_id: str, keys: Collection[str], points: int) -> Follower:
    """Follow a run in a database or on a server. Nothing is read before the first :meth:`Follower.poll`.

    Args:
        uri: Address of the store.
        run_id: The run.
        keys: Metrics to follow; those that the run does not have (yet) are left out.
        points: How many of the last points of each to keep.
    """
    return Follower(uri, run_id, keys, points)
