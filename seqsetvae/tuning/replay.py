"""The trials of a study once more, under other conditions: for comparisons on equal parameters."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState, create_trial

from seqsetvae.tuning import slots
from seqsetvae.tuning.storage import close_storage, open_storage, resolve_storage


def copy_trials(storage: str, source: str, target: str) -> None:
    """Make study `target` in the same storage, with a waiting trial for each of `source` that came to a result."""
    opened = open_storage(resolve_storage(storage), 30)
    study = optuna.load_study(study_name=source, storage=opened)
    copy = optuna.create_study(study_name=target, storage=opened, directions=study.directions)
    for place, trial in enumerate(study.get_trials(deepcopy=False, states=slots.SETTLED)):
        waiting = create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={slots.SLOT: place},
        )
        copy.add_trial(waiting)
    close_storage(opened)
