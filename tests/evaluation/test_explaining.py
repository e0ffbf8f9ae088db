"""Contributions to a risk: the planted cause is found, in both ways, by as much as it counts; sums are what they should be."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seqsetvae.config import ModelConfig
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.model.classifier import RiskHead, RiskNet
from seqsetvae.model.summaries import KINDS, variable_summaries
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.binary import Binary
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.finetuning.explaining import contributions, copies
from seqsetvae.training.finetuning.mortality import RiskModel
from seqsetvae.training.pretrained.exported import Pretrained

CAUSE = 3
VARIABLES = 6
TINY = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("synthetic") / "store"
    prepare(Synthetic(subjects=60, variables=VARIABLES, sets=6, events_per_set=3), folder, progress=False)
    return Store.open(folder)


class LastValue(torch.nn.Module):
    """3 times the last scaled value of the cause, and nothing else."""

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        return 3.0 * x_BF[:, KINDS.index("last") * VARIABLES + CAUSE].nan_to_num(0.0)


def stay_with_the_cause(store: Store) -> tuple[Packed, np.ndarray]:
    """A stay in which the cause comes at least twice, and the places of its events."""
    shard = store.shard("train", 0)
    for row in range(shard.n_subjects):
        stay = shard.rows(row, row + 1)
        places = np.flatnonzero(stay.variable_N == CAUSE)
        if len(places) >= 2:
            return stay, places
    raise AssertionError


def test_an_answer_that_is_one_value_is_the_contribution_of_its_event(store: Store) -> None:
    net = RiskNet([SeqSetVAE(TINY, VARIABLES)], [LastValue()], "summaries").eval()  # type: ignore[list-item]
    net.slope.fill_(0.5)
    stay, places = stay_with_the_cause(store)
    found = contributions(net, store.vocabulary, stay)
    scaled_N = store.vocabulary.scale(stay.variable_N.astype(np.int64), stay.value_N)
    right_N = np.zeros(len(scaled_N))
    right_N[places[-1]] = 1.5 * scaled_N[places[-1]]
    np.testing.assert_allclose(found.by_value_N, right_N, atol=1e-5)
    right_N[places[-1]] -= 1.5 * scaled_N[places[-2]]  # without it, the value before is the last one
    np.testing.assert_allclose(found.by_deletion_N, right_N, atol=1e-5)


def test_contributions_by_value_sum_to_what_the_values_make(store: Store) -> None:
    """With a whole untrained model: backbone, summaries and head; gradients are finite where a variable came once, or never."""
    torch.manual_seed(0)
    inputs = 9 * VARIABLES + 3 * TINY.width
    net = RiskNet(
        [SeqSetVAE(TINY, VARIABLES) for _ in range(2)],
        [RiskHead(inputs, 8, 0.0) for _ in range(2)],
        "history+summaries",
    ).eval()
    stay, _ = stay_with_the_cause(store)
    found = contributions(net, store.vocabulary, stay)
    assert np.isfinite(found.by_value_N).all()
    with torch.no_grad():
        batch = copies(stay, 2, store.vocabulary)
        value_KN = batch.value_N.view(2, -1).clone()
        value_KN[1] = 0.0
        whole, baseline = net.logit(replace(batch, value_N=value_KN.reshape(-1))).tolist()
    assert found.by_value_N.sum() == pytest.approx(whole - baseline, abs=0.01)
    assert np.isfinite(found.by_deletion_N).all()


def test_a_trained_head_is_seen_to_look_at_the_planted_cause(store: Store) -> None:
    """The outcome is whether the cause's last value is above its median; a head on summaries of all variables has to find that out.

    All values are drawn anew, so that no other variable tells of the cause.
    """
    torch.manual_seed(0)
    shard, vocabulary = store.shard("train", 0), store.vocabulary
    shard = shard.take(np.tile(np.arange(shard.n_subjects), 10))
    normal_N = np.random.default_rng(0).normal(size=len(shard.value_N))
    value_N = vocabulary.center_V[shard.variable_N] + vocabulary.spread_V[shard.variable_N] * normal_N
    shard = replace(shard, value_N=value_N.astype(np.float32))
    batch = gather(shard, np.arange(shard.n_subjects), vocabulary)
    summaries_BF = variable_summaries(batch, VARIABLES)
    label_B = (summaries_BF[:, KINDS.index("last") * VARIABLES + CAUSE].nan_to_num(0.0) > 0).float()
    head = RiskHead(9 * VARIABLES, 16, 0.0)
    head.fit_scale(summaries_BF)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(head(summaries_BF), label_B).backward()
        optimizer.step()
    net = RiskNet([SeqSetVAE(TINY, VARIABLES)], [head], "summaries").eval()
    share = np.zeros((2, VARIABLES))
    agreements = []
    for row in range(12):
        stay = shard.rows(row, row + 1)
        found = contributions(net, vocabulary, stay)
        agreements.append(found.agreement)
        for place, x_N in enumerate((found.by_value_N, found.by_deletion_N)):
            share[place] += np.bincount(stay.variable_N, np.abs(x_N), VARIABLES)
    assert share.argmax(1).tolist() == [CAUSE, CAUSE]
    assert np.nanmean(agreements) > 0.3


def test_a_model_explains_a_table_of_events(store: Store, tmp_path: Path) -> None:
    vocabulary = store.vocabulary
    scaling = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
    recipe = Recipe({"model": asdict(TINY)}, list(vocabulary.names), *scaling, 1, "0" * 32)
    vae = SeqSetVAE(TINY, VARIABLES).eval()
    net = RiskNet([vae], [LastValue()], "summaries").eval()  # type: ignore[list-item]
    model = RiskModel(Pretrained(vae, vocabulary, TINY, recipe), net, 8, Binary())
    name, other = vocabulary.names[CAUSE], vocabulary.names[0]
    events = pd.DataFrame({"subject": "a", "minute": [3.0, 9.0], "variable": [name, other], "value": [1.0, 2.0]})
    said = model.explain(events)
    assert said[["subject", "minute", "variable", "value"]].equals(events)
    right = 3.0 * np.arcsinh((1.0 - vocabulary.center_V[CAUSE]) / vocabulary.spread_V[CAUSE])
    np.testing.assert_allclose(said[["by_value", "by_deletion"]].to_numpy(), [[right, right], [0, 0]], atol=1e-4)
