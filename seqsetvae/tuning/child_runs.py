"""The MLflow runs of trials: state and reason in their tags, and a status that is true."""

from __future__ import annotations

from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors

WORDS = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
VANISHED = "its process has vanished"


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial has kept every constraint."""
    return bool(trial.constraints) and all(missed <= 0.0 for missed in trial.constraints.values())


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial was pruned or failed; empty for any other."""
    if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
        return "interrupted" if "interrupted" in trial.user_attrs else VANISHED
    return str(trial.user_attrs.get("reason", ""))


def settle(tracking: TrackingConfig, study: Study, number: int) -> None:
    """Put into a finished trial's run what came of the trial. Can be repeated."""
    uri = resolve_uri(tracking)
    client = open_client(uri)
    with readable_errors(uri):
        trial = study.get_trials(deepcopy=False)[number]
        if "run_id" in trial.user_attrs:
            settle_run(client, trial, trial.user_attrs["run_id"])


def settle_run(client: Any, trial: FrozenTrial, run_id: str) -> None:
    """The same through an open `MlflowClient`.

    Pruned is KILLED: ended on purpose before its end. So is a run whose process has vanished; one with an error is FAILED.
    """
    if not trial.state.is_finished():
        return
    stored = client.get_run(run_id)
    status = stored.info.status
    ended_early = trial.state == TrialState.PRUNED and status != "KILLED"
    left_open = trial.state == TrialState.FAIL and status == "RUNNING"
    if ended_early or left_open:
        client.set_terminated(run_id, "KILLED")
    if reason := reason_of(trial):
        client.set_tag(run_id, names.TAG_TRIAL_REASON, reason)
        if names.TAG_TRIAL_REASON not in stored.data.tags:
            note = stored.data.tags.get("mlflow.note.content", "")
            client.set_tag(
                run_id, "mlflow.note.content", f"✂️ **{WORDS[trial.state].capitalize()}:** {reason}\n\n{note}"
            )
    client.set_tag(run_id, names.TAG_TRIAL_FEASIBLE, str(feasible(trial)).lower())
    client.set_tag(run_id, names.TAG_TRIAL_STATE, WORDS[trial.state])  # last: by this tag unsettled runs are found
