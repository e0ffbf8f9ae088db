"""A model with reads of each variable on its whole way: pretrained, loaded, served, finetuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from seqsetvae.config import FinetuneConfig, PretrainConfig, TrackingConfig
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.fit import pretrain
from seqsetvae.training.pretrained.exported import export, read_pretrained
from seqsetvae.training.pretrained.loading import load

QUIET = TrackingConfig(log_system_metrics=False, register_model=False)


@pytest.mark.slow
def test_a_model_with_reads_is_trained_loaded_exported_and_finetuned_as_any_other(
    tiny: PretrainConfig, tmp_path, history: Callable[[str, str], list[tuple[int, float]]]
):
    config = replace(
        tiny,
        model=replace(tiny.model, reads=2, remember=True, foresee_hours=[6.0]),
        trainer=replace(tiny.trainer, max_steps=6),
        tracking=QUIET,
    )
    result = pretrain(config)
    remembered = history(result.run_id, "train_remember_step")
    assert remembered[-1][1] < remembered[0][1]

    model = load(result.final_checkpoint)
    variable = model.vocabulary.names[0]
    events = pd.DataFrame(
        {"subject": ["a", "a"], "minute": [0.0, 30.0], "variable": [variable] * 2, "value": [1.0, 2.0]}
    )
    state = np.array(model.last_states(events)["state"][0])
    assert len(state) == config.model.width + 2 * 2 * len(model.vocabulary.names)
    # Only what was measured is known: of the other variables the reads are 0.
    reads = state[config.model.width :].reshape(len(model.vocabulary.names), 2, 2)
    assert (reads[0, 1] > 0).all()
    assert (reads[1:] == 0).all()
    export(model, tmp_path / "exported")
    np.testing.assert_array_equal(
        np.array(read_pretrained(tmp_path / "exported").last_states(events)["state"][0]), state
    )

    finetuning = FinetuneConfig(model=str(result.final_checkpoint), head_input="history", unfreeze="all", max_epochs=1)
    found = finetune(replace(finetuning, progress_bar=False), QUIET)
    assert 0.0 < found.model.risk(events)["risk"][0] < 1.0
    # All of it is trained along but the decoder.
    before, after = model.vae.state_dict(), found.model.net.backbones[0].state_dict()
    same = {key for key, tensor in before.items() if torch.equal(tensor, after[key])}
    assert not {key for key in same if key.startswith(("reads.", "history.", "set_encoder."))}
    assert {key for key in before if key.startswith("set_decoder.")} <= same
