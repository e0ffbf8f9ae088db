"""Histories from a tracking server, and files of runs, by MLflow's own client."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import without_password
from seqsetvae.tracking.connection.opening import open_store, readable_errors
from seqsetvae.tracking.read.alerts import read_alerts
from seqsetvae.tracking.read.run_history import ListedRun, RunHistory, Series, no_metrics

READERS = 4
"""Metrics that are read at the same time: most of it is waiting."""
LISTED = 1000
"""Newest runs that a server is asked for."""


class ServerHistories:
    """Made by :func:`seqsetvae.tracking.read.histories.open_histories`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client = open_store(uri)

    def listing(self, experiment: str | None = None) -> list[ListedRun]:
        """The runs that are not deleted, newest first, at most a thousand; of one experiment if it is named."""
        known = {one.experiment_id: one.name for one in self._client.search_experiments()}
        asked = [number for number, name in known.items() if experiment in (None, "", name)]
        if not asked:
            return []
        runs = self._client.search_runs(asked, order_by=["attributes.start_time DESC"], max_results=LISTED)
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

    def read(self, run_id: str) -> RunHistory:
        """Everything about one run. Raises :class:`InputError` where it has no metric."""
        from mlflow.exceptions import MlflowException

        where = without_password(self.uri)
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(f"There is no run {run_id} in {where}.") from error
        info = run.info
        if not run.data.metrics:
            raise no_metrics(info.run_name or "", run_id, info.status, where)
        with ThreadPoolExecutor(READERS) as readers:
            keys = sorted(run.data.metrics)
            metrics = dict(zip(keys, readers.map(lambda key: self._points(run_id, key), keys), strict=True))
        alerts = read_alerts(self.uri, run_id, info.artifact_uri)
        return RunHistory(
            run_id=run_id,
            name=info.run_name or "",
            status=info.status,
            experiment=self._client.get_experiment(info.experiment_id).name,
            start_time=info.start_time / 1000,
            end_time=None if info.end_time is None else info.end_time / 1000,
            params=run.data.params,
            tags=run.data.tags,
            metrics=metrics,
            alerts=alerts,
            store=where,
            artifact_uri=info.artifact_uri,
        )

    def _points(self, run_id: str, key: str) -> Series:
        points = self._client.get_metric_history(run_id, key)
        return Series.of([one.step for one in points], [one.timestamp for one in points], [one.value for one in points])


def attach_files(uri: str, run_id: str, files: Mapping[str, bytes], folder: str) -> None:
    """Put files among the artifacts of a run, whether it has ended or not.

    Raises :class:`InputError` where the store does not take them.
    """
    client = open_store(uri)
    with readable_errors(uri), tempfile.TemporaryDirectory() as written:
        for name, content in files.items():
            Path(written, name).write_bytes(content)
        client.log_artifacts(run_id, written, folder)
