"""A run on a tracking server, looked at by one request for all that is newest, and one for each metric that has something new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from typing import Any

from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import without_password
from seqsetvae.tracking.read.run_history import RunHistory, Series, Stamp

LARGEST_ANSWER = 2500
"""Points of one answer: MLflow's own limit, beyond which it leaves out some in between."""
RUN = "/api/2.0/mlflow/runs/get"
EXPERIMENT = "/api/2.0/mlflow/experiments/get"
POINTS = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
"""What MLflow's own charts ask. The public get-history has no way to begin at a step, and sorts all points for each page."""


class ServerLook:
    """What one request for the run has answered."""

    def __init__(self, source: ServerSource) -> None:
        self._source = source
        answer = source.get(RUN, run_id=source.run_id)["run"]
        info, data = answer["info"], answer.get("data", {})
        self.run = RunHistory(
            run_id=source.run_id,
            name=info.get("run_name", ""),
            status=info["status"],
            experiment=source.experiment(info["experiment_id"]),
            start_time=int(info["start_time"]) / 1000,
            end_time=int(info["end_time"]) / 1000 if info.get("end_time") else None,
            params=_pairs(data.get("params", ())),
            tags=_pairs(data.get("tags", ())),
            metrics={},
            store=without_password(source.uri),
            artifact_uri=info["artifact_uri"],
        )
        self.newest: Mapping[str, Stamp] = {one["key"]: _stamp(one) for one in data.get("metrics", ())}

    def points(self, key: str, first_step: int | None, most: int) -> Series:
        """The newest points of a metric, `most` at most, from a step on.

        Where no step is given, the range of steps that holds as many is found by trying: how far apart they lie, only the run knows.
        """
        last = self.newest[key][0]
        start = max(0, last - most + 1) if first_step is None else min(first_step, last)
        while True:
            rows = self._rows(key, start, last)
            if first_step is not None or len(rows) >= most or start <= 0:
                break
            start = max(0, last - 2 * (last - start + 1) * most // max(1, len(rows)))
        if first_step is not None and len(rows) >= LARGEST_ANSWER:
            return self.points(key, None, most)  # so much is new that some of it was left out
        steps, times, values = ([one.get(name, 0) for one in rows] for name in ("step", "timestamp", "value"))
        return Series.of(list(map(int, steps)), list(map(int, times)), list(map(float, values))).tail(most)

    def _rows(self, key: str, start: int, end: int) -> list[dict[str, Any]]:
        asked = {"run_ids": [self.run.run_id], "metric_key": key, "start_step": start, "end_step": end}
        return self._source.get(POINTS, **asked, max_results=LARGEST_ANSWER).get("metrics", [])


class ServerSource:
    """Made by :func:`seqsetvae.tracking.read.follow.follow`."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri, self.run_id = uri, run_id
        self._experiments: dict[str, str] = {}

    @contextmanager
    def look(self) -> Iterator[ServerLook]:
        """One look. Raises :class:`InputError` where there is no such run."""
        from mlflow.exceptions import MlflowException

        try:
            look = ServerLook(self)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(f"There is no run {self.run_id} in {without_password(self.uri)}.") from error
        yield look

    def get(self, path: str, **asked: Any) -> dict[str, Any]:
        """The answer to a request, sent with whatever login MLflow's client would use."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        answer = http_request(get_default_host_creds(self.uri), path, "GET", params=asked)
        return verify_rest_response(answer, path).json()

    def experiment(self, number: str) -> str:
        """The name of an experiment, asked for once."""
        if number not in self._experiments:
            self._experiments[number] = self.get(EXPERIMENT, experiment_id=number)["experiment"]["name"]
        return self._experiments[number]


def _pairs(entries: Any) -> Mapping[str, str]:
    return {one["key"]: one.get("value", "") for one in entries}


def _stamp(entry: Mapping[str, Any]) -> Stamp:
    value = float(entry.get("value", 0.0))
    # NaN differs from itself, and would count as a change at every look.
    return int(entry.get("step", 0)), int(entry.get("timestamp", 0)), 0.0 if isnan(value) else value
