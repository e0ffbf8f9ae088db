"""From drawn parameters to the settings of a run."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
import torch

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.forecast import Forecast
from seqsetvae.config import (
    ModelConfig,
    MonitorConfig,
    ObjectiveConfig,
    PretrainConfig,
    SpaceConfig,
    TrainerConfig,
    TuneConfig,
)
from seqsetvae.config.settling import settle_objective
from seqsetvae.errors import InputError
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.results import dominates
from seqsetvae.tuning.scoring import TrialHealth, directions, values
from seqsetvae.tuning.space import apply, check_base, settled, suggest, trial_config

EVERYTHING = SpaceConfig(
    max_beta_range=(0.01, 50.0),
    warmup_range=(0.0, 1.0),
    schedules=("linear", "cyclical", "controller"),
    lr_range=(1e-4, 1e-2),
    latent_dims=(4, 8),
    priors=("standard", "learned"),
    remember_weight_range=(1.0, 100.0),
    foresee_weight_range=(2.0, 50.0),
    hide_values_range=(0.0, 0.4),
)


DEFAULT = PretrainConfig()


def draws(space: SpaceConfig, base: PretrainConfig = DEFAULT, n: int = 100) -> list[dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(study.ask(), space, base) for _ in range(n)]


def test_a_warm_up_is_never_longer_than_the_trial():
    for total_steps in (1, 7, 40, 1000):
        for params in draws(EVERYTHING):
            objective = apply(PretrainConfig(), params, total_steps).objective
            assert settle_objective(objective, total_steps).beta_warmup_steps in range(total_steps + 1)


def test_a_range_that_is_left_open_ends_where_nothing_survives():
    told = Forecast(torch.tensor([7.777, 2.0]), noise_edge=1.1)
    assert settled(SpaceConfig(), lambda: told).max_beta_range == (0.01, 7.8)
    dead = Forecast(torch.tensor([1e-3]), noise_edge=1.1)
    assert settled(SpaceConfig(), lambda: dead).max_beta_range == (0.01, 0.1), "a range all the same"
    assert settled(EVERYTHING, pytest.fail) == EVERYTHING, "where one is given nothing is looked at"


def test_what_is_drawn_lies_in_its_range():
    drawn = draws(EVERYTHING)
    assert all(0.01 <= params["max_beta"] <= 50.0 and 1e-4 <= params["lr"] <= 1e-2 for params in drawn)
    assert {params["latent_dim"] for params in drawn} == {4, 8}
    for params in drawn:
        config = apply(PretrainConfig(), params, 100)
        assert 1.0 <= config.objective.remember_weight == params["remember_weight"] <= 100.0
        assert 2.0 <= config.objective.foresee_weight == params["foresee_weight"] <= 50.0
        assert 0.0 <= config.objective.hide_values == params["hide_values"] <= 0.4
        assert (config.model.prior, config.model.latent_dim) == (params["prior"], params["latent_dim"])
    assert {params["prior"] for params in drawn} == {"standard", "learned"}
    assert sum(params["remember_weight"] < 10.0 for params in drawn) == pytest.approx(50, abs=15), "on the logarithm"
    assert sum(params["max_beta"] < 0.7 for params in drawn) == pytest.approx(50, abs=15), "evenly on the logarithm"


def test_only_a_linear_schedule_warms_up():
    assert all(("warmup" in params) == (params["beta_schedule"] == "linear") for params in draws(EVERYTHING))
    cold = PretrainConfig(objective=ObjectiveConfig(warmup_beta=False))
    assert all("warmup" not in params for params in draws(SpaceConfig(max_beta_range=(0.01, 50.0)), cold))


def test_what_is_not_searched_stays_as_it_is_given():
    base = PretrainConfig(objective=ObjectiveConfig(free_bits=0.3, beta_warmup_steps=7))
    space = SpaceConfig(max_beta_range=(0.01, 50.0), free_bits_range=None, warmup_range=None)
    (params,) = draws(space, base, 1)
    objective = apply(base, params, 100).objective
    assert (objective.free_bits, objective.beta_warmup_steps) == (0.3, 7)
    assert objective.max_beta == params["max_beta"]


def test_a_trial_ends_at_the_first_red_check_unless_pruning_is_off():
    pruned, whole = (trial_config(PretrainConfig(), {}, 100, prune=prune).monitor for prune in (True, False))
    assert (pruned.on_collapse, pruned.early_stop_patience, whole.on_collapse) == ("stop", 1, "warn")


@pytest.mark.parametrize(
    ("base", "flag"),
    [
        (PretrainConfig(objective=ObjectiveConfig(beta=0.5)), "--objective.beta 0.5"),
        (PretrainConfig(monitor=MonitorConfig(disable_metrics_monitoring=True)), "disable_metrics_monitoring"),
        (PretrainConfig(monitor=MonitorConfig(on_collapse="rescue")), "on_collapse rescue"),
        (PretrainConfig(trainer=TrainerConfig(resume_from_checkpoint="last.ckpt")), "resume_from_checkpoint"),
        (PretrainConfig(trainer=TrainerConfig(devices=2)), "--trainer.devices 2"),
    ],
)
def test_settings_that_contradict_a_sweep_are_refused(base, flag):
    with pytest.raises(InputError, match=flag):
        check_base(base, SpaceConfig(), TuneConfig())


@pytest.mark.parametrize(
    ("weight", "flag"),
    [("remember_weight_range", "--model.remember"), ("foresee_weight_range", "--model.foresee_hours")],
)
def test_a_weight_of_what_the_model_is_not_asked_for_is_not_searched(weight, flag):
    space = SpaceConfig(**{weight: (1.0, 10.0)})
    with pytest.raises(InputError, match=f"--space.{weight} .*{flag}"):
        check_base(PretrainConfig(), space, TuneConfig())
    asked = {"remember": True} if "remember" in flag else {"foresee_hours": [6.0]}
    check_base(PretrainConfig(model=ModelConfig(**asked)), space, TuneConfig())


def test_the_history_is_no_goal_where_nothing_is_asked_of_it():
    goal = TuneConfig(goal="pareto", against="history")
    with pytest.raises(InputError, match=r"--tune.against history .*--model.remember"):
        check_base(PretrainConfig(), SpaceConfig(), goal)
    check_base(PretrainConfig(model=ModelConfig(foresee_hours=[6.0])), SpaceConfig(), goal)
    check_base(PretrainConfig(), SpaceConfig(), replace(goal, goal="constrained"))


def test_the_front_against_the_history_prefers_what_misses_less():
    health = TrialHealth(Level.GREEN, 1.0, 5.0, None)
    config = TuneConfig(goal="pareto", against="history")
    knows, forgets = (
        values({"val_recon": 12.0, "val_remember": missed, "val_foresee": 0.5}, health, config) for missed in (0.2, 0.7)
    )
    assert (knows, forgets) == ([12.0, -0.7], [12.0, -1.2])
    assert directions(config) == ["minimize", "maximize"]
    assert dominates(knows, forgets)


@pytest.mark.parametrize(
    "space",
    [
        {"max_beta_range": (50.0, 0.01)},
        {"max_beta_range": (0.0, 1.0)},
        {"free_bits_range": (-0.1, 1.0)},
        {"warmup_range": (0.0, 1.5)},
        {"lr_range": (1e-2, float("inf"))},
        {"latent_dims": ()},
        {"latent_dims": (0, 8)},
        {"priors": ()},
        {"remember_weight_range": (0.0, 1.0)},
        {"foresee_weight_range": (5.0, 1.0)},
        {"hide_values_range": (0.0, 1.0)},
        {"max_beta_range": None, "free_bits_range": None, "warmup_range": None},
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space):
    with pytest.raises(InputError, match=f"--space.{next(iter(space))}"):
        SpaceConfig(**space)


def test_a_job_travels_as_text():
    job = Job(
        replace(PretrainConfig(), trainer=TrainerConfig(val_check_interval=7)),
        EVERYTHING,
        TuneConfig(goal="pareto"),
        "sqlite:///x",
        "s",
        "r",
        40,
    )
    assert Job.from_json(job.to_json()) == job
