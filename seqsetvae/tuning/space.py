"""What is searched: from a trial's parameters to the settings of its run. Pure: no Optuna, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.errors import InputError

if TYPE_CHECKING:
    from seqsetvae.collapse.forecast import Forecast

Params = Mapping[str, Any]
"""Of one trial: max_beta, free_bits, warmup (share of the trial's steps), beta_schedule, lr, latent_dim, prior, remember_weight,
foresee_weight, hide_values; those that are searched."""


OF_THE_OBJECTIVE = ("max_beta", "free_bits", "beta_schedule", "remember_weight", "foresee_weight", "hide_values")


class Suggests(Protocol):
    """What is needed of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


def suggest(trial: Suggests, space: SpaceConfig, base: PretrainConfig) -> dict[str, Any]:
    """Draw the parameters of a trial. A linear warm-up is drawn only for a schedule that has one."""
    params: dict[str, Any] = {}
    if space.max_beta_range:
        assert space.max_beta_range != "auto", "settled before the study begins"
        params["max_beta"] = trial.suggest_float("max_beta", *space.max_beta_range, log=True)
    if space.free_bits_range:
        params["free_bits"] = trial.suggest_float("free_bits", *space.free_bits_range)
    schedule = base.objective.beta_schedule
    if space.schedules:
        schedule = params["beta_schedule"] = trial.suggest_categorical("beta_schedule", space.schedules)
    warms_up = False not in (base.objective.warmup_beta, base.objective.kl_annealing)
    if space.warmup_range and schedule == "linear" and warms_up:
        params["warmup"] = trial.suggest_float("warmup", *space.warmup_range)
    if space.lr_range:
        params["lr"] = trial.suggest_float("lr", *space.lr_range, log=True)
    if space.latent_dims:
        params["latent_dim"] = trial.suggest_categorical("latent_dim", space.latent_dims)
    if space.priors:
        params["prior"] = trial.suggest_categorical("prior", space.priors)
    if space.remember_weight_range:
        params["remember_weight"] = trial.suggest_float("remember_weight", *space.remember_weight_range, log=True)
    if space.foresee_weight_range:
        params["foresee_weight"] = trial.suggest_float("foresee_weight", *space.foresee_weight_range, log=True)
    if space.hide_values_range:
        params["hide_values"] = trial.suggest_float("hide_values", *space.hide_values_range)
    return params


def apply(base: PretrainConfig, params: Params, total_steps: int) -> PretrainConfig:
    """The settings that a trial's parameters stand for, in a run of `total_steps` optimizer steps.

    >>> config = apply(PretrainConfig(), {"max_beta": 0.5, "warmup": 0.25}, total_steps=400)
    >>> config.objective.max_beta, config.objective.beta_warmup_steps
    (0.5, 100)
    """
    objective = {key: params[key] for key in OF_THE_OBJECTIVE if key in params}
    model = {key: params[key] for key in ("latent_dim", "prior") if key in params}
    if "warmup" in params:
        objective["beta_warmup_steps"] = round(params["warmup"] * total_steps)
    return replace(
        base,
        objective=replace(base.objective, **objective),
        optimizer=replace(base.optimizer, lr=params["lr"]) if "lr" in params else base.optimizer,
        model=replace(base.model, **model),
    )


def trial_config(base: PretrainConfig, params: Params, total_steps: int, *, prune: bool) -> PretrainConfig:
    """The settings of a trial's run: those of its parameters, ended at the first confirmed collapse if `prune`.

    Its figures are drawn once, when it ends, unless --monitor.plot_frequency says otherwise.
    """
    config = apply(base, params, total_steps)
    monitor = replace(config.monitor, plot_frequency=config.monitor.plot_frequency or total_steps)
    ended = replace(monitor, on_collapse="stop", early_stop_patience=1)
    monitor = ended if prune else replace(monitor, on_collapse="warn")
    return replace(config, monitor=monitor, trainer=replace(config.trainer, progress_bar=False))


LOWEST_BETA = 0.01
"""Of a range that is found by a forecast."""


def settled(space: SpaceConfig, told: Callable[[], Forecast]) -> SpaceConfig:
    """With a range of max_beta: up to where nothing survives, by the forecast, or tenfold above the lowest where that is lower.

    >>> from torch import tensor
    >>> from seqsetvae.collapse.forecast import Forecast
    >>> settled(SpaceConfig(), lambda: Forecast(tensor([7.77, 2.0]), 1.1)).max_beta_range
    (0.01, 7.8)
    """
    if space.max_beta_range != "auto":
        return space
    # Two digits: another version of a library must not make it another study.
    return replace(space, max_beta_range=(LOWEST_BETA, max(10.0 * LOWEST_BETA, float(f"{told().critical_beta:.2g}"))))


def check_base(base: PretrainConfig, space: SpaceConfig, tune: TuneConfig) -> None:
    """Refuse settings that a sweep cannot work with.

    Raises:
        InputError: names the flag.
    """
    if base.objective.beta is not None and (space.max_beta_range or space.schedules):
        raise InputError(
            f"--objective.beta {base.objective.beta:g} fixes what is to be searched. Leave it out, or give --space.max_beta_range null "
            "and no --space.schedules."
        )
    for searched, asked, flag in (
        (space.remember_weight_range, base.model.remember, "remember"),
        (space.foresee_weight_range, bool(base.model.foresee_hours), "foresee_hours"),
    ):
        if searched and not asked:
            weight = flag.removesuffix("_hours")
            raise InputError(
                f"--space.{weight}_weight_range searches a weight that nothing has: give --model.{flag}, or leave it out."
            )
    heads = base.model.remember or base.model.foresee_hours
    if tune.goal == "pareto" and tune.against == "history" and not heads:
        raise InputError(
            "--tune.against history compares what heads on the history miss, but the model has none: give --model.remember or "
            "--model.foresee_hours, or another --tune.against."
        )
    if base.monitor.disable_metrics_monitoring:
        raise InputError("--monitor.disable_metrics_monitoring: a sweep judges its trials by what the monitor sees.")
    if base.monitor.on_collapse == "rescue":
        raise InputError("--monitor.on_collapse rescue: a trial that collapses is ended, not rescued. Leave it out.")
    if base.trainer.resume_from_checkpoint is not None:
        raise InputError(
            "--trainer.resume_from_checkpoint: trials start afresh. To continue a sweep give its --tune.study."
        )
    if base.trainer.devices > 1:
        raise InputError(
            f"--trainer.devices {base.trainer.devices}: a trial trains on one device. More devices are for --tune.n_workers."
        )
