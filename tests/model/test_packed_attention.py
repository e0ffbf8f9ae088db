"""Attention on packed sets gives what attention on the grid gives. Its kernel is for GPUs: here its definition stands in for it."""

from __future__ import annotations

from itertools import pairwise

import torch

from seqsetvae.model import attention
from tests.model.conftest import stays


def by_definition(query, key, value, first_q, first_k, longest_q, longest_k, *, window_size):
    """What PyTorch documents of `varlen_attn`: softmax(q k / sqrt(d)) v within each sequence, causal for a window of (-1, 0)."""
    assert window_size == (-1, 0)
    assert first_q.dtype == first_k.dtype == torch.int32
    assert int(first_q.diff().max()) <= longest_q == longest_k
    out = torch.empty_like(value)
    for start, stop in pairwise(first_q):
        score_HTT = torch.einsum("qhd,khd->hqk", query[start:stop], key[start:stop]) / query.shape[-1] ** 0.5
        later = torch.ones(score_HTT.shape[1:], dtype=torch.bool).triu(1)
        weight_HTT = score_HTT.masked_fill(later, float("-inf")).softmax(-1)
        out[start:stop] = torch.einsum("hqk,khd->qhd", weight_HTT, value[start:stop])
    return out


def test_the_elbo_is_the_same_packed_and_on_the_grid(vae, noise, monkeypatch):
    batch = stays([3, 40, 41, 77])
    eps = noise[: batch.n_sets]
    on_grid = vae(batch, eps)
    monkeypatch.setattr(attention, "varlen_attn", by_definition)
    monkeypatch.setattr(vae.history, "_can_pack", lambda x_SD: True)
    packed = vae(batch, eps)
    torch.testing.assert_close(packed.elbo_B(batch), on_grid.elbo_B(batch), rtol=1e-12, atol=0)
    vae.history.packed = False
    torch.testing.assert_close(vae(batch, eps).elbo_B(batch), on_grid.elbo_B(batch), rtol=0, atol=0)


def test_a_cpu_or_full_precision_goes_on_the_grid(vae):
    assert not vae.history._can_pack(torch.zeros(3, 4))
    assert not vae.history._can_pack(torch.zeros(3, 4, dtype=torch.bfloat16))
