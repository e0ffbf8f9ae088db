"""Before the first step a run is warned of that is likely to end in a collapse; and runs that nobody warns of end green."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import ObjectiveConfig, PretrainConfig, TrainerConfig
from seqsetvae.training.dangers import dangers
from seqsetvae.training.fit import pretrain
from seqsetvae.training.plan import make_plan


def of_length(tiny, steps: int, **objective):
    return replace(tiny, objective=ObjectiveConfig(**objective), trainer=replace(tiny.trainer, max_epochs=steps // 10))


@pytest.mark.parametrize(
    ("steps", "objective", "said"),
    [
        (120, {}, ""),
        (30, {}, ""),
        (1000, {}, ""),
        (120, {"max_beta": 0.5}, ""),
        (400, {"max_beta": 0.5}, ""),
        (80, {"max_beta": 0.5}, "The run is too short for it: lower --objective.max_beta"),
        (120, {"max_beta": 0.5, "beta_warmup_steps": 80}, "Give --objective.max_beta alone"),
        (400, {"beta": 0.5}, "Give --objective.max_beta alone"),
        (120, {"max_beta": 0.5, "free_bits": 0.1}, ""),
        (120, {"beta_schedule": "controller", "max_beta": 0.5}, ""),
        (400, {"max_beta": 50.0}, "from which on nothing survives|nothing survives in these data"),
    ],
)
def test_what_is_said_of_a_beta(tiny, steps, objective, said):
    found = dangers(make_plan(of_length(tiny, steps, **objective)))
    assert all(danger.startswith("Likely to collapse: beta ") for danger in found)
    assert (found != []) == (said != "")
    assert re.search(said, " ".join(found))


@pytest.mark.slow
def test_a_run_says_it_before_it_trains(tiny, capsys):
    pretrain(replace(of_length(tiny, 20, max_beta=0.5), monitor=replace(tiny.monitor, disable_metrics_monitoring=True)))
    assert "Likely to collapse: beta is" in capsys.readouterr().err


@pytest.mark.nightly
@pytest.mark.parametrize(("epochs", "max_beta"), [(1, 0.1), (2, 0.1), (3, 0.1), (3, 0.5), (10, 0.5)])
def test_a_run_of_the_demo_that_nobody_warns_of_ends_green(epochs, max_beta, capsys):
    """At the widths that a run has by itself: what a new user types first."""
    config = PretrainConfig(
        objective=ObjectiveConfig(max_beta=max_beta),
        trainer=TrainerConfig(max_epochs=epochs, accelerator="cpu", progress_bar=False),
    )
    result = pretrain(config)
    assert "Likely to collapse" not in capsys.readouterr().err
    assert (result.collapse.level, result.ended_by_collapse) == (Level.GREEN, False)
    assert result.collapse.last.active_units >= 20
    assert result.collapse.last.decoder_information > 0.05
