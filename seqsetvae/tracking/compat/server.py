"""What MLflow's server and its client have, but offer nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Run

LARGEST_ANSWER = 2500
"""Points of one answer: MLflow's own limit, beyond which it leaves out some in between."""
POINTS = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
"""What MLflow's own charts ask. The public get-history has no way to begin at a step, and sorts all points for each page."""


def points_between(uri: str, run_id: str, key: str, first_step: int, last_step: int) -> list[dict[str, Any]]:
    """Points of a metric on a server, each as `step`, `timestamp` and `value`, in order; sent with the login of MLflow's client."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    asked = {"run_ids": [run_id], "metric_key": key, "start_step": first_step, "end_step": last_step}
    asked |= {"max_results": LARGEST_ANSWER}
    answer = http_request(get_default_host_creds(uri), POINTS, "GET", params=asked)
    return verify_rest_response(answer, POINTS).json().get("metrics", [])


def newest_points(run: Run) -> dict[str, tuple[int, int, float]]:
    """Step, milliseconds since the epoch and value of the newest point of each metric of a run.

    They are those of a run that the client has read: the public `run.data.metrics` has the values alone.
    """
    return {one.key: (one.step, one.timestamp, one.value) for one in run.data._metric_objs}


def context_tags(folder: str) -> dict[str, str]:
    """User, source and commit as MLflow itself would tag them; the commit also when only the folder is in a repository."""
    from mlflow.tracking.context.registry import resolve_tags
    from mlflow.utils.git_utils import get_git_commit

    tags: dict[str, str] = resolve_tags()
    if "mlflow.source.git.commit" not in tags and (commit := get_git_commit(folder)):
        tags["mlflow.source.git.commit"] = commit
    return tags
