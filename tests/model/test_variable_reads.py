"""The reads of each variable, against loops over stays and sets, and what they make of the model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae.config import ModelConfig
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import HISTORY, stay_features
from seqsetvae.model.history_heads import READ_KINDS, HistoryHeads
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.model.variable_reads import GAIN, VariableReads, fading_sums
from tests.model.test_history_heads import VARIABLES, random_batch

TINY = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1, reads=3, remember=True)


@pytest.mark.parametrize("seed", range(3))
def test_fading_sums_are_those_of_a_loop_over_the_sets_before(seed: int) -> None:
    batch = random_batch(seed)
    torch.manual_seed(seed)
    amount_KSC, rate_C = (
        torch.randn(2, batch.n_sets, 4, dtype=torch.float64),
        torch.tensor([0.0, 1e-3, 0.1, 50.0]).double(),
    )
    found_KSC = fading_sums(amount_KSC, rate_C, batch)
    for now in range(batch.n_sets):
        right_KC = torch.zeros(2, 4, dtype=torch.float64)
        for then in range(now + 1):
            if batch.subject_S[then] == batch.subject_S[now]:
                right_KC += amount_KSC[:, then] * torch.exp(-rate_C * (batch.minute_S[now] - batch.minute_S[then]))
        torch.testing.assert_close(found_KSC[:, now], right_KC)


def test_a_read_is_a_weighted_mean_that_starts_from_nothing_and_counts_what_it_saw() -> None:
    batch = random_batch(1)
    assert batch.number_N is not None
    torch.manual_seed(0)
    reads = VariableReads(TINY, VARIABLES).double().requires_grad_(False)
    found = reads(replace(batch, value_N=batch.value_N.double())).view(batch.n_sets, VARIABLES, 2, TINY.reads)
    tau = reads.log_tau_C.exp().view(VARIABLES, TINY.reads)
    for now in range(batch.n_sets):
        for variable in range(VARIABLES):
            weighted, total = np.zeros(TINY.reads), np.zeros(TINY.reads)
            for event in range(batch.n_events):
                then = int(batch.set_N[event])
                if then > now or batch.subject_S[then] != batch.subject_S[now] or batch.variable_N[event] != variable:
                    continue
                value, number = min(5.0, max(-5.0, float(batch.value_N[event]))), float(batch.number_N[event])
                over = [number * max(0.0, value - knot) for knot in (-2, -1, 0, 1, 2)]
                said = (
                    GAIN
                    * reads.slope_VRF[variable]
                    @ torch.tensor(
                        [1.0, number, value, math.log1p(float(batch.minute_S[then]) / 60), *over], dtype=torch.float64
                    )
                )
                for read in range(TINY.reads):
                    score, age = float(said[read]), float(batch.minute_S[now] - batch.minute_S[then])
                    weight = math.exp(10 * math.tanh(score / 10) - age / float(tau[variable, read]))
                    weighted[read] += weight * float(said[TINY.reads + read])
                    total[read] += weight
            np.testing.assert_allclose(found[now, variable, 0], weighted / (1 + total), rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(found[now, variable, 1], np.log1p(total), rtol=1e-6, atol=1e-12)


def test_the_summaries_of_a_variable_are_read_from_its_own_reads_alone() -> None:
    torch.manual_seed(0)
    heads = HistoryHeads(TINY, VARIABLES)
    state_SD = torch.randn(7, TINY.width + 2 * TINY.reads * VARIABLES, requires_grad=True)
    past_KSV, _, _ = heads(state_SD)
    (gradient_SD,) = torch.autograd.grad(past_KSV[:, :, 2].sum(), state_SD)
    own = slice(TINY.width + 2 * 2 * TINY.reads, TINY.width + 3 * 2 * TINY.reads)
    assert bool((gradient_SD[:, own] != 0).all())
    gradient_SD[:, own] = 0
    assert bool((gradient_SD == 0).all())


def test_a_stay_has_the_same_state_alone_and_among_others_and_knows_nothing_of_later_sets() -> None:
    torch.manual_seed(0)
    vae = SeqSetVAE(TINY, VARIABLES)
    batch = random_batch(2)
    state_SD = vae.state(vae.encode(batch).mu_SZ, batch)
    two = batch.head(1)  # the first two stays
    torch.testing.assert_close(vae.state(vae.encode(two).mu_SZ, two), state_SD[: two.n_sets])
    assert state_SD.shape[1] == TINY.width + vae.read_width
    last = two.n_sets - 1
    pooled = stay_features(vae, batch, (HISTORY,))[HISTORY]
    assert vae.history_heads is not None
    said = vae.history_heads.statements(state_SD[last : last + 1])[0]
    torch.testing.assert_close(pooled[1, 3 * TINY.width :], torch.cat([state_SD[last, TINY.width :], said]))
    assert len(said) == len(READ_KINDS) * VARIABLES
    changed = replace(batch, value_N=torch.where(batch.set_N == last, batch.value_N + 1.0, batch.value_N))
    again_SD = vae.state(vae.encode(changed).mu_SZ, changed)
    torch.testing.assert_close(again_SD[:last], state_SD[:last])
    torch.testing.assert_close(again_SD[last + 1 :], state_SD[last + 1 :])
    assert not torch.allclose(again_SD[last, -vae.read_width :], state_SD[last, -vae.read_width :])


def test_the_elbo_is_what_it_is_without_reads() -> None:
    torch.manual_seed(0)
    plain, more = SeqSetVAE(replace(TINY, reads=0, remember=False), VARIABLES), SeqSetVAE(TINY, VARIABLES)
    assert plain.reads is None
    more.load_state_dict(plain.state_dict(), strict=False)
    batch = random_batch(0)
    noise_SZ = torch.randn(batch.n_sets, TINY.latent_dim)
    assert torch.equal(plain(batch, noise_SZ).loss(0.1), more(batch, noise_SZ).loss(0.1))


def test_the_reads_learn_what_each_variable_has_been() -> None:
    batch = random_batch(3)
    torch.manual_seed(0)
    vae = SeqSetVAE(TINY, VARIABLES)
    assert vae.history_heads is not None
    history_SD = torch.zeros(batch.n_sets, TINY.width)  # what is remembered comes from the reads alone
    optimizer = torch.optim.Adam([*vae.reads.parameters(), *vae.history_heads.parameters()], lr=1e-2)  # type: ignore[union-attr]
    losses = []
    for _ in range(60):
        loss = vae.history_heads.loss(vae._with_reads(history_SD, batch), batch).remember
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.15 * losses[0], losses[-1] / losses[0]


def test_too_many_variables_are_refused() -> None:
    with pytest.raises(InputError, match=r"--model.reads 3.*501 variables.*500"):
        SeqSetVAE(TINY, 501)
    with pytest.raises(InputError, match=r"model.reads.*0 or more"):
        ModelConfig(reads=-1)
