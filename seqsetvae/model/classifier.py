"""From what a pretrained model knows of a stay to the risk of an outcome: pooling over time, then a two-layer head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch, counts
from seqsetvae.config.finetune import HEAD_PARTS
from seqsetvae.model.summaries import variable_summaries
from seqsetvae.model.vae import SeqSetVAE

POSTERIOR, HISTORY, SUMMARIES, OUTLOOK = HEAD_PARTS
"""Posterior mean and variance, the history's state, summaries of each variable, what heads on the history say of now and of what comes."""
FARTHEST = 5.0
"""Standard deviations: an input farther out, such as the summary of a typing error, counts as this far."""


def parts_of(chosen: str) -> tuple[str, ...]:
    """The parts of a head's input.

    >>> parts_of("history+summaries")
    ('history', 'summaries')
    """
    return tuple(chosen.split("+"))


def pool_state(vae: SeqSetVAE, history_SD: Tensor, last_BD: Tensor, batch: EventBatch) -> Tensor:
    """The states of each stay in one row, (B, F): the history's pooled over time and, where there are such, the reads at the last set.

    Reads are pooled over time already. What the pretrained heads say at the last set is linear in the state there: it adds nothing but
    directions, those that tell the past and the hours to come, and where labels are few these are what a probe would have to find.

    Args:
        vae: whose states they are.
        history_SD: of every set.
        last_BD: :func:`last_state` of it.
        batch: the stays.
    """
    pooled = [pool_over_time(history_SD, batch)]
    if vae.reads is not None:
        pooled.append(last_BD[:, history_SD.shape[1] :])
        if vae.history_heads is not None:
            pooled.append(vae.history_heads.statements(last_BD))
    return torch.cat(pooled, dim=1)


def last_state(vae: SeqSetVAE, history_SD: Tensor, batch: EventBatch) -> Tensor:
    """What heads on the history look at, at the last set of each stay: its state, and the reads where there are such."""
    last_BD = history_SD.index_select(0, batch.last_set_B)
    if vae.reads is None:
        return last_BD
    return torch.cat([last_BD, vae.reads.at_end(batch).to(history_SD.dtype)], dim=1)


def pool_over_time(x_SF: Tensor, batch: EventBatch) -> Tensor:
    """Last, mean and greatest value over the sets of each subject, shape (B, 3F)."""
    subject_S, n_subjects = batch.subject_S, batch.n_subjects
    n_sets_B = counts(subject_S, n_subjects)
    last_BF = x_SF.index_select(0, n_sets_B.cumsum(0) - 1)
    mean_BF = x_SF.new_zeros(n_subjects, x_SF.shape[1]).index_add(0, subject_S, x_SF) / n_sets_B[:, None]
    greatest_BF = x_SF.new_full((n_subjects, x_SF.shape[1]), -torch.inf)
    greatest_BF = greatest_BF.scatter_reduce(0, subject_S[:, None].expand_as(x_SF), x_SF, "amax")
    return torch.cat([last_BF, mean_BF, greatest_BF], dim=1)


def stay_features(
    vae: SeqSetVAE, batch: EventBatch, parts: Sequence[str], generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Features of every subject by the name of their part. The decoder is never run.

    The history is computed from posterior means, so that the features of a stay are always the same; with a generator from a draw of the
    posterior.

    Raises:
        ValueError: the outlook of a model without heads on its history.
    """
    found: dict[str, Tensor] = {}
    if {POSTERIOR, HISTORY, OUTLOOK} & set(parts):
        posterior = vae.encode(batch)
        if POSTERIOR in parts:
            moments_SF = torch.cat([posterior.mu_SZ, posterior.logvar_SZ.exp()], dim=1)
            found[POSTERIOR] = pool_over_time(moments_SF, batch)
        if HISTORY in parts or OUTLOOK in parts:
            z_SZ = posterior.mu_SZ
            if generator is not None:
                z_SZ = posterior.sample(torch.randn(z_SZ.shape, generator=generator, dtype=z_SZ.dtype))
            history_SD = vae.history(z_SZ, batch)
            last_BD = last_state(vae, history_SD, batch)
            if HISTORY in parts:
                found[HISTORY] = pool_state(vae, history_SD, last_BD, batch)
            if OUTLOOK in parts:
                if vae.history_heads is None:
                    raise ValueError("The model has no heads on its history.")
                found[OUTLOOK] = vae.history_heads.outlook(last_BD)
    if SUMMARIES in parts:
        found[SUMMARIES] = variable_summaries(batch, vae.variables)
    return found


def head_input(features: Mapping[str, Tensor], chosen: str) -> Tensor:
    """What the head looks at, shape (B, F); NaN where a summary has nothing to say."""
    return torch.cat([features[part] for part in parts_of(chosen)], dim=1)


def carried(features: Mapping[str, Tensor]) -> Tensor:
    """0 for every subject whose features of the backbone are finite, else NaN, shape (B,).

    Added to a logit: a head takes NaN for the mean, which is right for a variable that was not measured, but would make an ordinary
    risk of a posterior that is none.
    """
    seen = [x_BF.isfinite().all(1) for part, x_BF in features.items() if part != SUMMARIES]
    any_part = next(iter(features.values()))
    good_B = torch.stack(seen).all(0) if seen else any_part.new_ones(any_part.shape[0], dtype=torch.bool)
    return any_part.new_zeros(any_part.shape[0]).masked_fill(~good_B, torch.nan)


def with_carried(output: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """A head's output, (B,) or (B, K), with :func:`carried` added."""
    return output + carried(features).view(-1, *[1] * (output.dim() - 1))


class RiskHead(nn.Module):
    """Standardization by the training stays, then two layers, or one. What is NaN counts as the mean.

    Args:
        inputs: F.
        hidden: width between the layers; 0: one linear layer.
        dropout: before each layer.
        outputs: K.
    """

    mean_F: Tensor
    std_F: Tensor

    def __init__(self, inputs: int, hidden: int, dropout: float, outputs: int = 1):
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(inputs))
        self.register_buffer("std_F", torch.ones(inputs))
        between = [nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout)] if hidden else []
        self.width = hidden or inputs
        """H, what the last layer sees."""
        self.layers = nn.Sequential(nn.Dropout(dropout), *between, nn.Linear(self.width, outputs))

    def fit_scale(self, x_BF: Tensor) -> None:
        """Take mean and standard deviation of the training stays."""
        mean_F = x_BF.nanmean(0).nan_to_num(0.0)
        self.mean_F.copy_(mean_F)
        self.std_F.copy_((x_BF - mean_F).square().nanmean(0).sqrt().nan_to_num(1.0).clamp(min=1e-4))

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, K) numbers for every subject, (B,) where K is 1; of risks a logit: weighted and focal losses push it off the true risk."""
        return self.output(self.hidden(x_BF))

    def hidden(self, x_BF: Tensor) -> Tensor:
        """What the last layer sees, (B, H)."""
        return self.layers[:-1](self.scaled(x_BF))

    def output(self, hidden_BH: Tensor) -> Tensor:
        """What the last layer makes of it."""
        return self.layers[-1](hidden_BH).squeeze(1)

    def scaled(self, x_BF: Tensor) -> Tensor:
        """What the layers see."""
        return ((x_BF - self.mean_F) / self.std_F).clamp(-FARTHEST, FARTHEST).nan_to_num(0.0)


class RiskNet(nn.Module):
    """Members that were trained with different seeds; the mean of their outputs, recalibrated, becomes the answer.

    Args:
        backbones: one for all members where it is frozen, else one each.
        heads: one for each member.
        chosen: what the heads look at.
    """

    slope: Tensor
    offset: Tensor

    def __init__(self, backbones: Sequence[SeqSetVAE], heads: Sequence[RiskHead], chosen: str):
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.heads = nn.ModuleList(heads)
        self.chosen = chosen
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def logit(self, batch: EventBatch) -> Tensor:
        """Mean of the members' outputs, not recalibrated, shape (B,) or (B, K); NaN where a backbone gives NaN or inf."""
        return self.members(batch).mean(0)

    def members(self, batch: EventBatch, generator: torch.Generator | None = None) -> Tensor:
        """Output of each of the M members, not recalibrated, (M, B) or (M, B, K); with a generator of a draw of the posterior each."""
        parts = parts_of(self.chosen)
        backbones = cast(Sequence[SeqSetVAE], self.backbones)
        features = [stay_features(vae, batch, parts, generator) for vae in backbones]
        shared = features * len(self.heads) if len(features) == 1 else features
        logits = [
            with_carried(head(head_input(one, self.chosen)), one) for head, one in zip(self.heads, shared, strict=True)
        ]
        return torch.stack(logits)

    def forward(self, batch: EventBatch) -> Tensor:
        """Mean of the members' outputs, recalibrated."""
        return self.recalibrated(self.logit(batch))

    def recalibrated(self, logit: Tensor) -> Tensor:
        return self.slope * logit + self.offset

    def score(self, batch: EventBatch) -> Tensor:
        """One number for every subject, (B,), that is finite only where all of its outputs are."""
        return self.logit(batch).view(batch.n_subjects, -1).sum(1)
