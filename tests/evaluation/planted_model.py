"""A model whose truth is known, on synthetic stays: it reads the hidden severity off the values, and says the values from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import DenseEvents
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import Pretrained

SOURCE = Synthetic(subjects=300, variables=6, sets=8, events_per_set=4, noise=0.3, prevalence=0.3)
SEVERITY, IDLE, MIRRORED, WEAK = range(4)
"""Dimensions: the severity; the prior, whatever the set; the severity with its sign turned; the severity, hardly."""
UNLEARNED = 2
"""The variable that the decoder knows nothing of but its training median."""
SIGMA = 0.05


class Encoder(nn.Module):
    """Least squares: the severity that explains a set's values best."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        level_V, unit_V = SOURCE.units()
        self.vocabulary, self.level_V, self.unit_V = vocabulary, level_V, unit_V
        self.loading_V = SOURCE.loadings()[:, 0]

    def forward(self, batch: EventBatch) -> DiagonalGaussian:
        variable_N = batch.variable_N.numpy()
        value_N = self.vocabulary.unscale(variable_N, batch.value_N.numpy())
        seen_N = (value_N - self.level_V[variable_N]) / self.unit_V[variable_N]
        loading_N, set_N = self.loading_V[variable_N], batch.set_N.numpy()
        severity_S = np.bincount(set_N, seen_N * loading_N) / np.bincount(set_N, loading_N**2)
        mu_SZ = np.zeros((batch.n_sets, 4), np.float32)
        mu_SZ[:, SEVERITY], mu_SZ[:, MIRRORED], mu_SZ[:, WEAK] = severity_S, -0.5 * severity_S, 0.05 * severity_S
        logvar_SZ = torch.full((batch.n_sets, 4), 2.0 * np.log(SIGMA))
        logvar_SZ[:, IDLE] = 0.0
        return DiagonalGaussian(torch.from_numpy(mu_SZ), logvar_SZ)


class NoHistory(nn.Module):
    """h_t = z_t."""

    def forward(self, z_SZ: Tensor, batch: EventBatch) -> Tensor:
        return z_SZ


class Decoder(nn.Module):
    """The source's own distribution of a value, on the vocabulary's scale."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.unlearned: list[int] = [UNLEARNED]

    def forward(self, z_SZ: Tensor) -> DenseEvents:
        (level_V, unit_V), vocabulary = SOURCE.units(), self.vocabulary
        raw_SV = level_V + unit_V * SOURCE.loadings()[:, 0] * z_SZ[:, SEVERITY, None].numpy()
        x_SV = (raw_SV - vocabulary.center_V) / vocabulary.spread_V
        scale_SV = SOURCE.noise * unit_V / vocabulary.spread_V / np.sqrt(1.0 + x_SV**2)
        x_SV[:, self.unlearned] = 0.0
        mean_SV, scale_SV = (torch.from_numpy(one.astype(np.float32)) for one in (np.arcsinh(x_SV), scale_SV))
        return DenseEvents(torch.zeros_like(mean_SV), mean_SV, scale_SV)


def planted_store(path: Path) -> Store:
    """The synthetic stays, in several shards."""
    prepare(SOURCE, path, shard_events=2000, progress=False)
    return Store.open(path)


def planted_model(store: Store) -> Pretrained:
    """The model above. It cannot be saved: its parts hold no weights."""
    config = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1)
    vocabulary = store.vocabulary
    scaling = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
    recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scaling, 1, "0" * 32)
    vae = SeqSetVAE(config, len(vocabulary))
    vae.set_encoder, vae.history, vae.set_decoder = Encoder(vocabulary), NoHistory(), Decoder(vocabulary)
    return Pretrained(vae.eval(), vocabulary, config, recipe)
