"""Which checkpoint a run continues from, and whether that would really be a continuation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from seqsetvae.config import PretrainConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.store import find_checkpoint
from seqsetvae.training.checkpoints import Recipe, read_checkpoint
from seqsetvae.training.plan import Plan


def find_resume(config: PretrainConfig) -> tuple[Path, Recipe] | None:
    """The checkpoint to continue from, with what it says about its run.

    Raises:
        InputError: there is none, or it is not one of this project.
    """
    wanted = config.trainer.resume_from_checkpoint
    if wanted is None:
        return None
    path = Path(wanted)
    if not path.is_file():
        found = find_checkpoint(config.tracking, path.name) if path.name == wanted else None
        if found is None:
            raise InputError(
                f"--trainer.resume_from_checkpoint {wanted}: there is no such file, nor a run here that has it."
            )
        path = found[0]
    return path, Recipe.read(read_checkpoint(path))


def check_resume(plan: Plan, recipe: Recipe) -> None:
    """Refuse to continue a run with a model or data that it was not made for."""
    for group in ("model", "objective"):
        before, now = recipe.config[group], asdict(getattr(plan.config, group))
        changed = [f"--{group}.{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
        if changed:
            raise InputError(
                f"This would not continue the run of the checkpoint: {'; '.join(changed)}. Give the settings of that run "
                "(its artifact config.yaml, with --config), or start a new run without resume_from_checkpoint."
            )
    if list(plan.data.vocabulary.names) != recipe.variables:
        raise InputError(
            f"The variables of {plan.config.data.store} are not those of the checkpoint. Continue with the store that the run "
            "was started with."
        )
