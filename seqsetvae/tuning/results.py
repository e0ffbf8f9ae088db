"""What a study has found: rows, winners, importance of the settings, a table for people."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from seqsetvae.config.settings_io import settings_yaml
from seqsetvae.figures.study_rows import TrialRow, compute_saved
from seqsetvae.tracking.connection.address import recorded
from seqsetvae.tuning.child_runs import WORDS, feasible, reason_of
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.space import apply

IMPORTANCE_TRIALS = 8
"""Complete trials below which importance says nothing."""
BEST_SHARE = 0.25
"""A trial counts as one of the best if it is among this share of the complete ones."""


@dataclass(frozen=True)
class Results:
    """Of the trials that have ended."""

    rows: list[TrialRow]
    winners: list[int]
    """Numbers: the best trial, or the Pareto front with its lowest validation NLL first; empty while no trial keeps the constraints."""

    def __repr__(self) -> str:
        return f"<Results of {len(self.rows)} trials, best: {self.winners[0] if self.winners else 'none'}>"

    @property
    def best(self) -> TrialRow | None:
        return self.row(self.winners[0]) if self.winners else None

    @property
    def compute_saved(self) -> float:
        return compute_saved(self.rows)

    def row(self, number: int) -> TrialRow:
        return next(row for row in self.rows if row.number == number)

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)


def read_results(study: Study) -> Results:
    """From the storage: one look, so that rows and winners are of the same moment while workers go on."""
    trials = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
    return Results([row_of(one) for one in trials], winners(trials))


def row_of(trial: FrozenTrial) -> TrialRow:
    """A finished trial as a plain row."""
    known = trial.user_attrs
    return TrialRow(
        number=trial.number,
        state=WORDS[trial.state],
        feasible=feasible(trial),
        reason=reason_of(trial),
        params=trial.params,
        val_recon=known.get("val_recon"),
        level=known.get("level", ""),
        mutual_information=known.get("mutual_information"),
        history_missed=known.get("history_missed"),
        active_units_ratio=known.get("active_units_ratio"),
        decoder_use=known.get("decoder_use"),
        steps=known.get("steps", 0),
        planned_steps=known.get("planned_steps", 0),
        training_seconds=known.get("training_seconds", 0.0),
        run_id=known.get("run_id", ""),
    )


def winners(trials: Sequence[FrozenTrial]) -> list[int]:
    """The best trial, or the Pareto front, among the complete trials that keep every constraint; lowest validation NLL first."""
    candidates = [one for one in trials if one.state == TrialState.COMPLETE and feasible(one)]
    if candidates and len(candidates[0].values) == 1:
        return [min(candidates, key=lambda one: one.values[0]).number]
    front = [one for one in candidates if not any(dominates(other.values, one.values) for other in candidates)]
    return [one.number for one in sorted(front, key=lambda one: one.values[0])]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` (NLL, and what is to be large) is no worse in both and better in one.

    >>> dominates((10.0, 2.0), (11.0, 2.0)), dominates((10.0, 1.0), (11.0, 2.0))
    (True, False)
    """
    no_worse = one[0] <= other[0] and one[1] >= other[1]
    return no_worse and tuple(one) != tuple(other)


def importance(study: Study) -> dict[str, float]:
    """Share of each setting in whether a trial is among the best by validation NLL (PED-ANOVA, Watanabe et al. 2023)."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = {
        key for one in complete for key in one.params if len({str(other.params.get(key)) for other in complete}) > 1
    }
    if len(complete) < IMPORTANCE_TRIALS or not varied:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # by which Optuna says that the trials do not suffice
        warnings.filterwarnings("ignore", ".*computes the importances of params to achieve low `target` values")
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator, target=lambda trial: trial.values[0]
            )
        except (ValueError, RuntimeError, UserWarning):  # all results alike
            return {}
    return {key: float(share) for key, share in found.items()}


def winning_config(job: Job, row: TrialRow) -> str:
    """A trial's settings as YAML that `--config` of `pretrain` takes.

    What was open in the sweep is open in it, so that monitor and schedules fit the length of the run that it is used for; the sweep's own
    reaction to a collapse is left out.
    """
    base = replace(job.base, tracking=recorded(job.base.tracking))
    return settings_yaml(plain(asdict(apply(base, row.params, job.total_steps))))


def plain(value: Any) -> Any:
    """Without the secrets and the places of this machine."""
    return value | {
        "monitor": value["monitor"] | {"notify": None},
        "trainer": value["trainer"] | {"resume_from_checkpoint": None},
    }


COLUMNS = (
    "trial",
    "state",
    "val NLL",
    "MI",
    "active units",
    "decoder use",
    "level",
    "steps",
    "settings",
    "reason",
    "run",
)


def table_rows(results: Results) -> list[list[object]]:
    """One row for each trial, the winners marked; as strings and numbers."""

    def figure(value: float | None) -> float | str:
        return "" if value is None else float(f"{value:.4g}")

    return [
        [
            f"{row.number}{' *' if row.number in results.winners else ''}",
            row.state if row.feasible or row.state != "complete" else "complete, infeasible",
            figure(row.val_recon),
            figure(row.mutual_information),
            figure(row.active_units_ratio),
            figure(row.decoder_use),
            row.level,
            f"{row.steps}/{row.planned_steps}",
            " ".join(
                f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in row.params.items()
            ),
            row.reason,
            row.run_id,
        ]
        for row in results.rows
    ]
