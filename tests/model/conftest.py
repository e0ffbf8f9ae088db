"""Real stays in double precision, and a small model to put through its paces."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.vae import SeqSetVAE

SMALL = ModelConfig(width=16, latent_dim=6, levels=2, heads=4, ff_dim=24, history_layers=2)


def stays(rows: list[int], grid_columns: int | None = None) -> EventBatch:
    """Stays of the demo's train split, in float64: a difference in a result is then a difference in the mathematics."""
    batch = open_store("demo").gather("train", 0, np.array(rows), grid_columns=grid_columns)
    return replace(batch, value_N=batch.value_N.double(), minute_S=batch.minute_S.double())


@pytest.fixture
def vae() -> SeqSetVAE:
    torch.manual_seed(0)
    model = SeqSetVAE(SMALL, len(open_store("demo").vocabulary)).double()
    with torch.no_grad():  # away from the start, where a posterior hardly depends on its set
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def noise() -> torch.Tensor:
    """Enough rows for any batch of these tests; row s belongs to set s of the batch it is cut for."""
    return torch.randn(2000, SMALL.latent_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
