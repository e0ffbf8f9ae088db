"""A model with a learned prior on its whole way: trained, watched in units of that prior, loaded, exported, looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from seqsetvae import names
from seqsetvae.config import ModelConfig, PretrainConfig, TrackingConfig
from seqsetvae.console import console
from seqsetvae.data.demo_store import open_store
from seqsetvae.evaluation.latents import latent_scores
from seqsetvae.training.check import say_survivors
from seqsetvae.training.fit import pretrain
from seqsetvae.training.plan import make_plan
from seqsetvae.training.pretrained.exported import export, read_pretrained
from seqsetvae.training.pretrained.loading import load

QUIET = TrackingConfig(log_system_metrics=False, register_model=False)


@pytest.mark.slow
def test_a_model_with_a_learned_prior_is_trained_watched_loaded_and_exported(
    tiny: PretrainConfig, tmp_path, history: Callable[[str, str], list[tuple[int, float]]]
) -> None:
    config = replace(tiny, model=replace(tiny.model, prior="learned", dropout=0.0), tracking=QUIET)
    config = replace(config, monitor=replace(config.monitor, update_frequency=1, pool_sets=100_000))
    result = pretrain(config)
    # The monitor's KL is that of the objective: what it pools is the same posteriors, in units of the same priors.
    steps, watched = history(result.run_id, names.TRAIN_KL), history(result.run_id, names.COLLAPSE_KL)
    assert watched[0][1] == pytest.approx(steps[0][1], rel=1e-3)
    assert result.collapse is not None

    model = load(result.final_checkpoint)
    learned = [weight for name, weight in model.vae.named_parameters() if name.startswith("prior.moments.")]
    assert all(weight.any() for weight in learned)
    assert learned
    scores = latent_scores(model, open_store("demo"), "valid")
    assert scores.kl == pytest.approx(result.val_metrics[names.VAL_KL], rel=0.03)  # other samples
    events = pd.DataFrame({"subject": "a", "minute": [0.0, 30.0], "variable": ["HR", "Temp"], "value": [80.0, 37.0]})
    export(model, tmp_path / "exported")
    sets = [
        one.sample(3, events, minutes=[30.0, 60.0], size=2) for one in (model, read_pretrained(tmp_path / "exported"))
    ]
    pd.testing.assert_frame_equal(*sets)
    assert np.isfinite(sets[0]["value"]).all()


def test_what_is_told_before_training_is_not_told_of_a_learned_prior(capsys: pytest.CaptureFixture[str]) -> None:
    standard = PretrainConfig(model=ModelConfig(width=8, heads=2))
    for config, told in (
        (standard, "on nothing survives"),
        (replace(standard, model=replace(standard.model, prior="learned")), "not for a learned one"),
    ):
        console()(say_survivors)(make_plan(config))
        assert told in capsys.readouterr().out
