"""What must not change a subject's ELBO: order within a set, padding, and whoever else is in the batch."""

from dataclasses import replace

import pytest
import torch

from tests.model.conftest import stays

ROWS = [3, 17, 42, 99]


def test_order_of_events_within_a_set_does_not_matter(vae, noise):
    batch = stays(ROWS)
    shuffled = torch.randperm(batch.n_events, generator=torch.Generator().manual_seed(0))
    order = shuffled[torch.argsort(batch.set_N[shuffled], stable=True)]
    assert not torch.equal(order, torch.arange(batch.n_events))
    permuted = replace(batch, variable_N=batch.variable_N[order], value_N=batch.value_N[order])
    eps = noise[: batch.n_sets]
    torch.testing.assert_close(vae(permuted, eps).elbo_B(permuted), vae(batch, eps).elbo_B(batch), rtol=1e-10, atol=0)


def test_swapping_values_between_events_does_matter(vae, noise):
    batch = stays(ROWS)
    swapped = replace(batch, value_N=batch.value_N.roll(1))
    eps = noise[: batch.n_sets]
    difference = vae(swapped, eps).elbo_B(swapped) - vae(batch, eps).elbo_B(batch)
    assert (difference.abs() > 1e-3).all()


@pytest.mark.parametrize("extra", [1, 37])
def test_padding_does_not_matter(vae, noise, extra):
    batch = stays(ROWS)
    wider = stays(ROWS, grid_columns=int(batch.position_S.max()) + 1 + extra)
    assert wider.padding_share > batch.padding_share
    eps = noise[: batch.n_sets]
    torch.testing.assert_close(vae(wider, eps).elbo_B(wider), vae(batch, eps).elbo_B(batch), rtol=1e-10, atol=0)


def test_the_other_subjects_do_not_matter(vae, noise):
    batch = stays(ROWS)
    eps = noise[: batch.n_sets]
    together = vae(batch, eps).elbo_B(batch)
    assert len(batch.grid) == 2  # the longest stay has a block of its own
    for position, row in enumerate(ROWS):
        alone = stays([row])
        elbo = vae(alone, eps[batch.subject_S == position]).elbo_B(alone)
        torch.testing.assert_close(elbo[0], together[position], rtol=1e-10, atol=0)


@pytest.mark.parametrize(("sets", "subjects"), [(1, 2), (10_000, 4), (None, 3)])
def test_the_head_of_a_batch_is_its_first_subjects(vae, noise, sets, subjects):
    batch = stays(ROWS)
    if sets is None:  # one set more than the first two subjects have
        sets = int((batch.subject_S < 2).sum()) + 1
    head = batch.head(sets)
    assert head.n_subjects == subjects
    torch.testing.assert_close(head.row_B, batch.row_B[:subjects])
    eps = noise[: batch.n_sets]
    some = vae(head, eps[: head.n_sets]).elbo_B(head)
    torch.testing.assert_close(some, vae(batch, eps).elbo_B(batch)[:subjects], rtol=1e-10, atol=0)


def test_a_set_does_not_depend_on_later_sets(vae, noise):
    batch = stays(ROWS)
    eps = noise[: batch.n_sets]
    cut = 20
    later_S = batch.position_S >= cut
    changed = replace(batch, value_N=batch.value_N + 2.0 * later_S[batch.set_N])
    before, after = vae(batch, eps), vae(changed, eps)
    nll_before = before.variable_nll_S + before.value_nll_S
    nll_after = after.variable_nll_S + after.value_nll_S
    torch.testing.assert_close(nll_after[~later_S], nll_before[~later_S], rtol=1e-10, atol=0)
    torch.testing.assert_close(after.kl_SZ[~later_S], before.kl_SZ[~later_S], rtol=1e-10, atol=0)
    assert ((nll_after - nll_before)[later_S].abs() > 1e-6).all()


def test_a_posterior_depends_on_its_own_set_alone(vae):
    batch = stays(ROWS)
    changed = replace(batch, value_N=batch.value_N + 1.0 * (batch.set_N == 5))
    difference = (vae.encode(changed).mu_SZ - vae.encode(batch).mu_SZ).abs().amax(1)
    assert difference[5] > 1e-6
    difference[5] = 0.0
    assert difference.max() == 0.0


def test_the_time_between_sets_matters_and_the_time_of_day_does_not(vae, noise):
    batch = stays(ROWS)
    eps = noise[: batch.n_sets]
    elbo = vae(batch, eps).elbo_B(batch)
    moved = replace(batch, minute_S=batch.minute_S + 777.0)
    torch.testing.assert_close(vae(moved, eps).elbo_B(moved), elbo, rtol=1e-8, atol=0)
    stretched = replace(batch, minute_S=batch.minute_S * 3.0)
    assert ((vae(stretched, eps).elbo_B(stretched) - elbo).abs() > 1e-3).all()


def test_pooling_is_the_softmax_attention_of_the_paper(vae):
    """Against a plain loop over sets and heads with torch.softmax."""
    batch = stays(ROWS[:2])
    pool = vae.set_encoder.pool
    event_ND = torch.randn(batch.n_events, 16, dtype=torch.float64)
    expected = []
    for s in range(batch.n_sets):
        x = event_ND[batch.set_N == s]
        attention = pool.score(x).softmax(0)
        value = pool.value(x).view(len(x), pool.heads, -1)
        expected.append(torch.einsum("nh,nhd->hd", attention, value).reshape(-1))
    actual = pool(event_ND, batch.set_N, batch.n_sets)
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-10, atol=1e-12)
