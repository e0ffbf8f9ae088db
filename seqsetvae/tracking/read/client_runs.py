"""Runs of any store, by MLflow's own client: of a server, and of a database whose tables are not those that the SQL is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.tracking.compat.server import LARGEST_ANSWER, newest_points, points_between
from seqsetvae.tracking.connection.address import without_password
from seqsetvae.tracking.connection.lookup import get_run
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.read.alerts import read_alerts
from seqsetvae.tracking.read.recorded_run import ListedRun, RecordedRun, Series, Stamp, no_metrics
from seqsetvae.tracking.read.sql_runs import comparable
from seqsetvae.tracking.read.whole_settings import whole_settings

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun

READERS = 4
"""Metrics that are read at the same time: most of it is waiting."""
LISTED = 1000
"""Newest runs that a server is asked for."""


class ClientRuns:
    """The runs of a store. Made by :func:`seqsetvae.tracking.read.run_reader.reader_of`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = open_client(uri)
        self._experiments: dict[str, str] = {}

    def listing(self, experiment: str | None = None) -> list[ListedRun]:
        """The runs that are not deleted, newest first, at most a thousand; of one experiment if it is named."""
        known = {one.experiment_id: one.name for one in self.client.search_experiments()}
        asked = [number for number, name in known.items() if experiment in (None, "", name)]
        if not asked:
            return []
        runs = self.client.search_runs(asked, order_by=["attributes.start_time DESC"], max_results=LISTED)
        return [
            ListedRun(
                run.info.run_id,
                run.info.run_name or "",
                (run.info.start_time or 0) / 1000,
                known[run.info.experiment_id],
                run.data.tags.get("mlflow.parentRunId", ""),
                run.data.tags.get(names.TAG_KIND, ""),
            )
            for run in runs
        ]

    def read(self, run_id: str) -> RecordedRun:
        """Everything about one run. Raises :class:`InputError` where it has no metric."""
        with self.look(run_id) as look:
            run, keys = look.run, sorted(look.newest())
            if not keys:
                raise no_metrics(run.name, run_id, run.status, run.store)
            with ThreadPoolExecutor(READERS) as readers:
                metrics = dict(zip(keys, readers.map(look.all_points, keys), strict=True))
        alerts = read_alerts(self.uri, run_id, run.artifact_uri)
        return replace(run, params=whole_settings(self.uri, run), metrics=metrics, alerts=alerts)

    @contextmanager
    def look(self, run_id: str) -> Iterator[ClientLook]:
        """One look. Raises :class:`InputError` where there is no such run."""
        yield ClientLook(self, get_run(self.client, self.uri, run_id))

    def experiment(self, number: str) -> str:
        """The name of an experiment, asked for once."""
        if number not in self._experiments:
            self._experiments[number] = self.client.get_experiment(number).name
        return self._experiments[number]


class ClientLook:
    """What one request for a run has answered."""

    def __init__(self, runs: ClientRuns, stored: StoredRun) -> None:
        self._runs, self._stored = runs, stored
        info = stored.info
        self.run = RecordedRun(
            run_id=info.run_id,
            name=info.run_name or "",
            status=info.status,
            experiment=runs.experiment(info.experiment_id),
            start_time=info.start_time / 1000,
            end_time=info.end_time / 1000 if info.end_time else None,
            params=stored.data.params,
            tags=stored.data.tags,
            metrics={},
            store=without_password(runs.uri),
            artifact_uri=info.artifact_uri,
        )

    def newest(self) -> Mapping[str, Stamp]:
        """The newest point of every metric."""
        return comparable(newest_points(self._stored))

    def points(self, key: str, first_step: int | None, most: int) -> Series:
        """The newest points of a metric, `most` at most, from a step on.

        Where no step is given, the range of steps that holds as many is found by trying: how far apart they lie, only the run knows.
        """
        if not self._runs.uri.startswith("http"):
            return self.all_points(key).tail(most)
        last = newest_points(self._stored)[key][0]
        start = max(0, last - most + 1) if first_step is None else min(first_step, last)
        while True:
            rows = points_between(self._runs.uri, self.run.run_id, key, start, last)
            if first_step is not None or len(rows) >= most or start <= 0:
                break
            start = max(0, last - 2 * (last - start + 1) * most // max(1, len(rows)))
        if first_step is not None and len(rows) >= LARGEST_ANSWER:
            return self.points(key, None, most)  # so much is new that some of it was left out
        steps, times, values = ([one.get(name, 0) for one in rows] for name in ("step", "timestamp", "value"))
        return Series.of(list(map(int, steps)), list(map(int, times)), list(map(float, values))).tail(most)

    def all_points(self, key: str) -> Series:
        """Every point of a metric."""
        points = self._runs.client.get_metric_history(self.run.run_id, key)
        return Series.of([one.step for one in points], [one.timestamp for one in points], [one.value for one in points])
