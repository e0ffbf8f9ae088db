"""Which checkpoint a run continues from, and whether that would really be a continuation."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from seqsetvae import names
from seqsetvae.config import ModelConfig, MonitorConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig
from seqsetvae.config.settings_io import read_settings
from seqsetvae.config.settling import settle_objective
from seqsetvae.errors import InputError
from seqsetvae.tracking.read.checkpoints import (
    RunCheckpoints,
    checkpoints_of_pretrainings,
    checkpoints_of_run,
    fetch,
)
from seqsetvae.training.checkpoint_names import step_of
from seqsetvae.training.checkpoints import LAST, Recipe, read_checkpoint
from seqsetvae.training.place import PLACE, Place
from seqsetvae.training.plan import Plan, StepsDone

_log = logging.getLogger(__name__)

Group = TypeVar("Group", ModelConfig, MonitorConfig, ObjectiveConfig, OptimizerConfig)
OPEN = {"variable_embedding": "auto"}
"""What leaves a setting to be decided, where that is not None."""
KINDS = ("early", "healthy", "error", "interrupted", "best", "last", "collapsed", "final")
"""Checkpoints that a run can continue from. Of two at the same step the later in this list is taken."""


@dataclass(frozen=True)
class Resume:
    """The checkpoint that a run continues from."""

    path: Path
    recipe: Recipe
    steps: int
    """Optimizer steps so far."""
    place: Place | None
    """None: the checkpoint is of an earlier release."""

    @classmethod
    def read(cls, path: Path) -> Resume:
        checkpoint = read_checkpoint(path)
        if "loops" not in checkpoint:
            raise InputError(f"{path} holds a model, but not the state of a training, and cannot be continued from.")
        place = Place(**checkpoint[PLACE]) if PLACE in checkpoint else None
        return cls(path, Recipe.read(checkpoint, str(path)), int(checkpoint["global_step"]), place)

    @property
    def progress(self) -> StepsDone | None:
        """For :func:`seqsetvae.training.plan.make_plan`."""
        return None if self.place is None else StepsDone(self.steps, self.place)


def find_resume(config: PretrainConfig) -> Resume | None:
    """The checkpoint to continue from.

    It is a file, one of a run (`runs:/ID`, `runs:/ID/checkpoints/NAME`), or with `last.ckpt` the newest of the run that was worked on last.

    Raises:
        InputError: there is none, or it is not one of this project.
    """
    wanted = config.trainer.resume_from_checkpoint
    if wanted is None:
        return None
    if Path(wanted).is_file():
        return Resume.read(Path(wanted))
    if named := re.fullmatch(rf"runs:/([0-9a-zA-Z]+)/?(?:{names.ARTIFACT_CHECKPOINTS}/)?([^/]+\.ckpt)?", wanted):
        run = checkpoints_of_run(config.tracking, named[1])
        if named[2] is None:
            return newest_of(config, run)
        if named[2] not in run.names:
            raise InputError(
                f"Run {run} has no {named[2]}. It has: {', '.join(sorted(run.names)) or 'no checkpoints'}."
            )
        return Resume.read(fetch(config.tracking, run, named[2]))
    if wanted != LAST:
        raise InputError(
            f"--trainer.resume_from_checkpoint {wanted}: there is no such file. {LAST} continues the newest run of the experiment, "
            "runs:/ID a certain one."
        )
    runs = checkpoints_of_pretrainings(config.tracking)
    if not runs:
        raise InputError(
            f"--trainer.resume_from_checkpoint {LAST}: there is no such file, nor a run here that has it: the experiment has no "
            "pretraining run yet. Leave the flag out to start one."
        )
    if any(ranked(config, runs[0])):
        return newest_of(config, runs[0])
    older = next((run for run in runs if any(ranked(config, run))), None)
    instead = f" The newest run that has one is {older}: --resume_from_checkpoint runs:/{older.run_id}" if older else ""
    raise InputError(
        f"--trainer.resume_from_checkpoint {LAST}: the newest run, {runs[0]}, has no checkpoint to continue from: it ended before its "
        f"first.{instead or ' Leave the flag out to start again.'}{', or leave the flag out to start again.' if older else ''}"
    )


def newest_of(config: PretrainConfig, run: RunCheckpoints) -> Resume:
    """The newest state of a run; what cannot be read is passed over, and said.

    Raises:
        InputError: there is none.
    """
    problem = "it has none"
    for _, name in ranked(config, run):
        try:
            return Resume.read(fetch(config.tracking, run, name))
        except InputError as error:
            problem = str(error)
            _log.info(f"Not continued from the newest checkpoint of the run: {problem}")
    raise InputError(f"Run {run} has no checkpoint to continue from: {problem}")


def ranked(config: PretrainConfig, run: RunCheckpoints) -> Iterator[tuple[int, str]]:
    """(step, name) of a run's states, newest first."""
    candidates = []
    for name in run.names:
        kind = name.removesuffix(".ckpt").split("_")[0]
        if kind not in KINDS:
            continue
        try:
            step = step_in(fetch(config.tracking, run, name)) if name == LAST else step_of(name)
        except InputError:
            step = 0  # damaged: whoever wants it will say so
        candidates.append((step, KINDS.index(kind), name))
    return ((step, name) for step, _, name in sorted(candidates, reverse=True))


def step_in(path: Path) -> int:
    """Optimizer step of a checkpoint, without reading its tensors."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception as error:  # whatever is in a file that is no checkpoint
        raise InputError(f"{path} cannot be read as a checkpoint. ({str(error).splitlines()[0]})") from error


def as_before(config: PretrainConfig, recipe: Recipe) -> PretrainConfig:
    """Settings with what was settled for the run when it began, wherever nothing was asked for.

    A run that is lengthened, or goes on with other batches, keeps its warm-ups and its monitor.
    """
    same_preset = all(
        recipe.config["monitor"].get(key) == getattr(config.monitor, key) for key in ("preset", "fast_detection")
    )
    groups = ("objective", "optimizer", "model", *(("monitor",) if same_preset else ()))
    return replace(config, **{group: filled(getattr(config, group), recipe.config[group]) for group in groups})


def filled(given: Group, before: Mapping[str, Any]) -> Group:
    """A group of settings with values of `before` in its gaps."""
    gaps = {one.name for one in fields(given) if getattr(given, one.name) == OPEN.get(one.name)}
    if isinstance(given, ObjectiveConfig) and given.beta is not None:
        gaps -= {"beta_warmup_steps", "warmup_beta", "kl_annealing"}  # a constant weight has no warm-up
    return replace(given, **{name: before[name] for name in gaps & before.keys()})


def check_resume(plan: Plan, resume: Resume) -> None:
    """Refuse to continue a run with a model or data that it was not made for, or to an end that lies behind it."""
    recipe, epochs = resume.recipe, plan.config.trainer.max_epochs
    if resume.place is not None and resume.place.epoch > epochs:
        raise InputError(
            f"--trainer.max_epochs is {epochs}, but {resume.path} is from behind epoch {resume.place.epoch}. Raise it, or continue from an "
            "earlier checkpoint."
        )
    objective = read_settings(ObjectiveConfig, recipe.config["objective"], str(resume.path))
    earlier = {
        "model": recipe.config["model"],
        "objective": asdict(settle_objective(objective, max(recipe.total_steps, objective.beta_warmup_steps or 0))),
    }
    for group, before in earlier.items():
        now = asdict(getattr(plan.config, group))
        changed = [
            f"--{group}.{key} {before[key]} -> {now[key]}" for key in before.keys() & now if before[key] != now[key]
        ]
        if changed:
            raise InputError(
                f"This would not continue the run of the checkpoint: {'; '.join(sorted(changed))}. Give the settings of that run "
                "(its artifact config.yaml, with --config), or start a new run without resume_from_checkpoint."
            )
    if list(plan.data.vocabulary.names) != recipe.variables:
        raise InputError(
            f"The variables of {plan.config.data.store} are not those of the checkpoint. Continue with the store that the run "
            "was started with."
        )
