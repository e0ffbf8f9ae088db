"""What is learned along: the right outcome of each stay, by the loss that is documented, and nothing of it in the model that is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import RiskHead, head_input
from seqsetvae.training.checkpoints import read_tensors
from seqsetvae.training.finetuning.auxiliary import AuxiliaryHead, AuxiliaryOutcomes
from seqsetvae.training.finetuning.features import compute_features, labelled_stays
from seqsetvae.training.finetuning.finetune import finetune

QUIET = TrackingConfig(log_system_metrics=False, register_model=False)


def test_the_loss_is_the_mean_over_what_is_known():
    nan = np.nan
    outcome_BA = np.array([[0.0, 1.0, -3.0], [1.0, nan, 5.0], [0.0, 6.0, nan], [nan, 30.0, 4.0]])
    outcomes = AuxiliaryOutcomes.of(("died", "days", "change"), outcome_BA, "a.csv")
    assert str(outcomes) == "died, days, change of 3 stays"
    torch.manual_seed(0)
    head = AuxiliaryHead(outcomes, 5)
    hidden_BH, row_B = torch.randn(3, 5), torch.tensor([3, 0, 1])
    found = float(head.loss(hidden_BH, row_B).detach())

    output_BA = (hidden_BH @ head.layer.weight.T + head.layer.bias).detach().double().numpy()
    days, change = np.log1p(outcome_BA[:, 1]), outcome_BA[:, 2]  # never below 0, and sometimes
    target_BA = np.stack([outcome_BA[:, 0], *((x - np.nanmean(x)) / np.nanstd(x) for x in (days, change))], axis=1)[
        row_B.numpy()
    ]
    losses = []
    for row, column in np.argwhere(~np.isnan(target_BA)):
        out, y = output_BA[row, column], target_BA[row, column]
        off = abs(out - y)
        huber = off**2 / 2 if off < 1 else off - 0.5
        losses.append(np.log1p(np.exp(out)) - y * out if column == 0 else huber)
    assert len(losses) == 7
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_outcome_that_is_the_same_for_all_is_refused():
    with pytest.raises(
        InputError, match=r"a.csv, column 'b': of 3 training stays 2 have an outcome, but never a second one"
    ):
        AuxiliaryOutcomes.of(("a", "b"), np.array([[0.0, 1.0], [1.0, np.nan], [1.0, 1.0]]), "a.csv")


@pytest.mark.slow
def test_outcomes_reach_their_own_stays_and_leave_no_trace_in_the_model(
    checkpoint: Path, planted: Store, capsys
) -> None:
    config = FinetuneConfig(
        model=str(checkpoint),
        store=str(planted.path),
        head_input="history",
        unfreeze="all",
        max_epochs=8,
        patience=8,
        head_lr=1e-2,
        backbone_lr=1e-2,
        label_share=0.8,  # rows of the stays that are left, not of the store
        auxiliary="days, lived",
        progress_bar=False,
    )
    with pytest.raises(InputError, match=r"has no tasks.csv. Give one with --labels"):
        finetune(config, QUIET)
    stays = labelled_stays(planted.vocabulary, planted, "train")
    label_B = stays.label_B.numpy()
    days_B = 3.0 + 2.0 * label_B + np.random.default_rng(0).uniform(0.0, 0.5, len(label_B))
    table = pd.DataFrame({"subject": stays.subject_id, "days": days_B, "lived": 1 - label_B.astype(int)})
    table.sample(frac=1.0, random_state=0).to_csv(planted.path / "tasks.csv", index=False)
    plain = finetune(replace(config, auxiliary=None), QUIET)
    result = finetune(config, QUIET)
    kept = len(stays.some(config.label_share, config.seed).subject_id)
    assert f"along   days, lived of {kept} stays" in capsys.readouterr().out
    assert result.model.net.state_dict().keys() == plain.model.net.state_dict().keys()

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    state = read_tensors(Path(client.download_artifacts(result.run_id, "checkpoints/best_seed0.ckpt")))["state_dict"]
    layer = torch.nn.Linear(config.hidden, 2)
    layer.load_state_dict({key: state[f"auxiliary.layer.{key}"] for key in ("weight", "bias")})
    [vae], [head] = result.model.net.backbones, result.model.net.heads
    assert isinstance(head, RiskHead)
    with torch.no_grad():
        x_BF = head_input(compute_features(vae, stays, ("history",)), "history")  # type: ignore[arg-type]
        said_BA = layer(head.hidden(x_BF)).numpy()
    assert np.corrcoef(said_BA[:, 0], label_B)[0, 1] > 0.5
    assert np.corrcoef(said_BA[:, 1], label_B)[0, 1] < -0.5
