"""Attention without padding for sets, and causal attention in continuous time for histories.

Linear layers have no bias: each follows a LayerNorm, whose shift does the same, and on a CPU a bias costs two more passes over
its output, one forward and one backward.

Shapes: B subjects, S sets, N events, D width, H heads, T grid columns (:mod:`seqsetvae.batch`).
"""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from seqsetvae.batch import EventBatch

SHORTEST_PERIOD = 10.0
"""Minutes. Two charted sets are rarely closer than this."""
LONGEST_PERIOD = 60.0 * 24 * 60
"""Minutes (60 days): a stay is one slow turn at most, so that early and late stay apart. Longer where the data are."""


def segment_softmax(
    score_NH: Tensor, set_N: Tensor, n_sets: int, hidden_N: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Softmax over the events of each set, head by head, without padding; without the hidden ones, of which no set has nothing else.

    Returns:
        exp(score - max of its set) for every event, (N, H), and the sum of these per set, (S, H). The quotient is the softmax; it is
        left to the caller, who divides S pooled rows instead of N weights.
    """
    index_NH = set_N[:, None].expand_as(score_NH)
    if hidden_N is not None:
        score_NH = score_NH.masked_fill(hidden_N[:, None], -math.inf)
    with torch.no_grad():  # the maximum cancels in the quotient: it only keeps exp in range
        top_SH = score_NH.new_full((n_sets, score_NH.shape[1]), -math.inf)
        top_SH = top_SH.scatter_reduce(0, index_NH, score_NH, "amax")
    weight_NH = (score_NH - top_SH.index_select(0, set_N)).exp()
    return weight_NH, weight_NH.new_zeros(top_SH.shape).index_add(0, set_N, weight_NH)


class SetPooling(nn.Module):
    """Pool the events of each set into one vector: multi-head attention of a learned query (PMA, Lee et al. 2019, sec. 3.2).

    The learned query of head h meets the key W_k x only as the product q_h^T W_k x, so the two are one (D, H) matrix here.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.score = nn.Linear(width, heads, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, event_ND: Tensor, set_N: Tensor, n_sets: int, hidden_N: Tensor | None = None) -> Tensor:
        """Returns (S, D). Permutation-invariant: order and number of other sets do not matter."""
        n_events, width = event_ND.shape
        weight_NH, total_SH = segment_softmax(self.score(event_ND), set_N, n_sets, hidden_N)
        value_NHd = self.value(event_ND).view(n_events, self.heads, -1)
        weighted_ND = (value_NHd * weight_NH[..., None].to(value_NHd.dtype)).view(n_events, width)
        summed_SD = weighted_ND.new_zeros(n_sets, width).index_add(0, set_N, weighted_ND)
        return (summed_SD.view(n_sets, self.heads, -1) / total_SH[..., None]).view(n_sets, width).to(event_ND.dtype)


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between them (Vaswani 2017): a GELU costs a tenth of the whole step on a CPU."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(
            nn.Linear(width, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, width, bias=False),
            nn.Dropout(dropout),
        )


class SetAttentionLevel(nn.Module):
    """One level: each set gathers its events into a summary, every event reads its set's summary, then thinks for itself.

    This is an induced set attention block (ISAB, Lee et al. 2019, eq. 10) with one inducing point: linear in the number of events and
    free of padding, where the pairwise block would be quadratic and padded to the largest set.
    """

    def __init__(self, width: int, heads: int, ff_dim: int, dropout: float):
        super().__init__()
        self.norm_pool = nn.LayerNorm(width)
        self.pool = SetPooling(width, heads)
        self.read = nn.Linear(width, width, bias=False)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = FeedForward(width, ff_dim, dropout)

    def forward(self, event_ND: Tensor, set_N: Tensor, n_sets: int, hidden_N: Tensor | None = None) -> Tensor:
        summary_SD = self.read(self.pool(self.norm_pool(event_ND), set_N, n_sets, hidden_N))
        event_ND = event_ND + summary_SD.index_select(0, set_N)
        return event_ND + self.ff(self.norm_ff(event_ND))


class Rotation:
    """Rotary encoding (Su et al. 2021, eq. 34) with the minute in place of the index: q.k depends on the time between two sets alone.

    Angles are 2 pi minute / period, for head_width / 2 periods between 10 minutes and `longest`; computed in float64, where a minute
    after decades still makes a difference.
    """

    def __init__(self, minute_S: Tensor, head_width: int, dtype: torch.dtype, longest: float = LONGEST_PERIOD):
        exponent = torch.linspace(0.0, 1.0, head_width // 2, device=minute_S.device, dtype=torch.float64)
        period = SHORTEST_PERIOD * (longest / SHORTEST_PERIOD) ** exponent
        angle = (2.0 * math.pi * (minute_S.double()[:, None] / period).frac())[:, None, :]
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)

    def __call__(self, x_SHd: Tensor) -> Tensor:
        """Turn the two halves of each head against each other."""
        first, second = x_SHd.chunk(2, dim=-1)
        turned_first = torch.addcmul(first * self.cos, second, self.sin, value=-1.0)
        turned_second = torch.addcmul(first * self.sin, second, self.cos)
        return torch.cat([turned_first, turned_second], dim=-1)


class Attend(Protocol):
    """Causal attention within each subject: queries and keys (S, 2 H, d), in one tensor, and values (S, H, d) -> (S, H, d)."""

    def __call__(self, query_key: Tensor, value: Tensor, dropout: float) -> Tensor: ...


class OnGrid:
    """Every subject is a row of a grid (:func:`seqsetvae.batch.lay_out`). For any device and precision."""

    def __init__(self, batch: EventBatch):
        self.slot_S, self.grid = batch.slot_S, batch.grid
        self.slots = [rows * columns for rows, columns in batch.grid]

    def __call__(self, query_key: Tensor, value: Tensor, dropout: float) -> Tensor:
        attended = []
        for query_key_BHTd, value_BHTd in zip(self._laid_out(query_key), self._laid_out(value), strict=True):
            query_BHTd, key_BHTd = query_key_BHTd.chunk(2, dim=1)
            block_BHTd = F.scaled_dot_product_attention(
                query_BHTd, key_BHTd, value_BHTd, is_causal=True, dropout_p=dropout
            )
            attended.append(block_BHTd.transpose(1, 2).flatten(0, 1))
        return torch.cat(attended).index_select(0, self.slot_S)

    def _laid_out(self, x_SHd: Tensor) -> list[Tensor]:
        # Sets fill each row of the grid from the left: the causal mask alone hides the empty columns behind them.
        grid = x_SHd.new_zeros(sum(self.slots), *x_SHd.shape[1:]).index_copy(0, self.slot_S, x_SHd)
        blocks = zip(grid.split(self.slots), self.grid, strict=True)
        return [block.view(*shape, *x_SHd.shape[1:]).transpose(1, 2) for block, shape in blocks]


class WithoutGrid:
    """The sets as they lie, subject after subject: nothing is laid out, and no kernel is built for a new shape.

    For GPUs in half precision, and without dropout.
    """

    def __init__(self, batch: EventBatch):
        subjects = torch.arange(batch.n_subjects + 1, device=batch.subject_S.device)
        self.first_set = torch.searchsorted(batch.subject_S, subjects, out_int32=True)
        self.longest = batch.columns

    def __call__(self, query_key: Tensor, value: Tensor, dropout: float) -> Tensor:
        query, key = query_key.chunk(2, dim=1)
        bounds = (self.first_set, self.first_set, self.longest, self.longest)
        attended = varlen_attn(query.contiguous(), key.contiguous(), value.contiguous(), *bounds, window_size=(-1, 0))
        return cast(Tensor, attended)


class OfPairs:
    """All sets of a batch against all, those of other subjects and later ones hidden: for few sets, or an export to another runtime."""

    def __init__(self, batch: EventBatch):
        place_S = torch.arange(batch.n_sets, device=batch.subject_S.device)
        same_SS = batch.subject_S[:, None] == batch.subject_S[None, :]
        self.hidden_SS = ~(same_SS & (place_S[:, None] >= place_S[None, :]))

    def __call__(self, query_key: Tensor, value: Tensor, dropout: float) -> Tensor:
        query_HSd, key_HSd = query_key.transpose(0, 1).chunk(2)
        score_HSS = query_HSd @ key_HSd.transpose(1, 2) / math.sqrt(query_HSd.shape[-1])
        weight_HSS = score_HSS.masked_fill(self.hidden_SS, -math.inf).softmax(-1)
        return (F.dropout(weight_HSS, dropout) @ value.transpose(0, 1)).transpose(0, 1)


class CausalTimeAttention(nn.Module):
    """Multi-head attention of each set to itself and to the earlier sets of the same subject."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_SD: Tensor, rotation: Rotation, attend: Attend) -> Tensor:
        n_sets, width = x_SD.shape
        # Queries and keys are the first 2H "heads" of the product: turned and laid out in one go.
        query_key, value = self.qkv(x_SD).view(n_sets, 3 * self.heads, -1).split([2 * self.heads, self.heads], dim=1)
        attended = attend(rotation(query_key), value, self.dropout if self.training else 0.0)
        return self.out(attended.reshape(n_sets, width))
