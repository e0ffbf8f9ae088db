"""From what a pretrained model knows of a stay to the risk of an outcome: pooling over time, then a two-layer head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.model.vae import SeqSetVAE

INPUTS = ("posterior", "history", "both")
"""What the head may look at: posterior mean and variance, the history's state, or both."""


def pool_over_time(x_SF: Tensor, batch: EventBatch) -> Tensor:
    """Last, mean and greatest value over the sets of each subject, shape (B, 3F)."""
    subject_S, n_subjects = batch.subject_S, batch.n_subjects
    n_sets_B = torch.bincount(subject_S, minlength=n_subjects)
    last_BF = x_SF.index_select(0, n_sets_B.cumsum(0) - 1)
    mean_BF = x_SF.new_zeros(n_subjects, x_SF.shape[1]).index_add(0, subject_S, x_SF) / n_sets_B[:, None]
    greatest_BF = x_SF.new_full((n_subjects, x_SF.shape[1]), -torch.inf)
    greatest_BF = greatest_BF.scatter_reduce(0, subject_S[:, None].expand_as(x_SF), x_SF, "amax")
    return torch.cat([last_BF, mean_BF, greatest_BF], dim=1)


def stay_features(vae: SeqSetVAE, batch: EventBatch) -> dict[str, Tensor]:
    """Features of every subject by their name in :data:`INPUTS`. The decoder is never run.

    The history is computed from posterior means, so that the features of a stay are always the same.
    """
    posterior = vae.encode(batch)
    moments_SF = torch.cat([posterior.mu_SZ, posterior.logvar_SZ.exp()], dim=1)
    return {
        "posterior": pool_over_time(moments_SF, batch),
        "history": pool_over_time(vae.history(posterior.mu_SZ, batch), batch),
    }


def head_input(features: dict[str, Tensor], chosen: str) -> Tensor:
    """What the head looks at, shape (B, F)."""
    return torch.cat([features["posterior"], features["history"]], 1) if chosen == "both" else features[chosen]


class RiskHead(nn.Module):
    """Standardization by the training stays, two layers, and a monotone recalibration of the logit.

    Args:
        inputs: F.
        hidden: width between the layers.
        dropout: before each layer.
    """

    mean_F: Tensor
    std_F: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, inputs: int, hidden: int, dropout: float):
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(inputs))
        self.register_buffer("std_F", torch.ones(inputs))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )

    def fit_scale(self, x_BF: Tensor) -> None:
        """Take mean and standard deviation of the training stays."""
        self.mean_F.copy_(x_BF.mean(0))
        self.std_F.copy_(x_BF.std(0, correction=0).clamp(min=1e-4))

    def logit(self, x_BF: Tensor) -> Tensor:
        """What is trained, shape (B,): weighted and focal losses push it off the true risk."""
        return self.layers((x_BF - self.mean_F) / self.std_F).squeeze(1)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Risk between 0 and 1 of every subject, shape (B,)."""
        return torch.sigmoid(self.slope * self.logit(x_BF) + self.offset)
