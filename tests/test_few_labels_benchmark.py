"""What the probes of few labels look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.few_labels import HEADS, features_of, probe
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.classifier import HISTORY, OUTLOOK, POSTERIOR, SUMMARIES
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.finetuning.features import labelled_stays
from seqsetvae.training.pretrained.exported import Pretrained


@pytest.mark.parametrize("reads", [0, 2])
def test_the_heads_are_asked_at_the_last_set_of_each_stay(reads: int) -> None:
    store = open_store("demo")
    torch.manual_seed(0)
    config = ModelConfig(
        width=8,
        latent_dim=4,
        levels=1,
        heads=2,
        ff_dim=8,
        history_layers=1,
        remember=True,
        foresee_hours=[6.0],
        reads=reads,
    )
    names = list(store.vocabulary.names)
    model = Pretrained(
        SeqSetVAE(config, len(names)).eval(),
        store.vocabulary,
        config,
        Recipe({}, names, [], [], total_steps=1, run_id=""),
    )
    stays = labelled_stays(store.vocabulary, store, "test")
    found = features_of(model, stays)
    assert list(found) == [SUMMARIES, POSTERIOR, HISTORY, HEADS, OUTLOOK]

    batch = store.gather("test", 0, np.arange(5))
    with torch.no_grad():
        state_SD = model.vae.state(model.vae.encode(batch).mu_SZ, batch)
        last_B = [int(torch.nonzero(batch.subject_S == subject).max()) for subject in range(5)]
        right_BF = model.vae.history_heads.statements(state_SD[last_B])  # type: ignore[union-attr]
    places = [stays.subject_id.index(name) for name in store.subject_ids("test", np.arange(5))]
    np.testing.assert_allclose(found[HEADS][places], right_BF, atol=1e-5)
    # Of each variable last value, log count, the mean of the next hours and whether it is measured in them, which come last.
    kinds = model.vae.history_heads.kinds  # type: ignore[union-attr]
    told_BKV = right_BF.view(5, len(kinds) + 2, -1)[:, [kinds.index("last"), kinds.index("log_count"), -2, -1]]
    np.testing.assert_allclose(found[OUTLOOK][places], told_BKV.flatten(1), atol=1e-5)


def test_a_probe_finds_what_is_planted_and_says_where_stays_are_too_few() -> None:
    store = open_store("demo")
    stays = {split: labelled_stays(store.vocabulary, store, split) for split in ("train", "valid", "test")}
    dice = np.random.default_rng(0)
    planted = {split: dice.normal(size=(len(one.subject_id), 3)) for split, one in stays.items()}
    for split, one in stays.items():
        planted[split][:, 1] += 5.0 * one.label_B.numpy()
    valid, all_labels, _, one_percent = probe(planted, stays)
    assert float(valid.split(" / ")[0]) > 0.95
    assert float(all_labels.split(" / ")[0]) > 0.95
    assert one_percent == "too few stays"  # of 320 stays
