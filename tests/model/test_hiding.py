"""What is hidden from the encoder counts as not there; what is hidden follows the chances given, and the seed alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae.batch import EventBatch
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.hiding import partly_hidden, uniform
from tests.model.conftest import stays

ROWS = [3, 17, 42, 99]
MASK = 2**64 - 1


def without_hidden(batch: EventBatch) -> EventBatch:
    """The same batch, as if the hidden events had never been recorded."""
    assert batch.hidden_N is not None
    seen_N = ~batch.hidden_N
    number_N = None if batch.number_N is None else batch.number_N[seen_N]
    events = {"variable_N": batch.variable_N[seen_N], "value_N": batch.value_N[seen_N], "set_N": batch.set_N[seen_N]}
    return replace(batch, **events, number_N=number_N, hidden_N=None)


@pytest.mark.parametrize("bare", [False, True])
def test_the_posterior_is_that_of_the_sets_without_what_is_hidden_and_the_decoder_is_asked_for_all(vae, noise, bare):
    whole = stays(ROWS)
    if bare:  # events without a number
        numbers_N = torch.arange(whole.n_events) % 3 > 0
        whole = replace(whole, number_N=numbers_N, value_N=whole.value_N * numbers_N)
    torch.manual_seed(0)
    hidden = partly_hidden(whole, values=0.4, variables=0.3)
    seen = without_hidden(hidden)
    assert 0.3 < 1.0 - seen.n_events / whole.n_events < 0.6
    eps = noise[: whole.n_sets]
    found, right = vae(hidden, eps), vae.encode(seen)
    torch.testing.assert_close(found.posterior.mu_SZ, right.mu_SZ, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.posterior.logvar_SZ, right.logvar_SZ, rtol=1e-10, atol=1e-12)
    log_variable_N, log_value_N = vae.decode(right.sample(eps), whole).log_prob(whole)
    assert log_variable_N.shape == (whole.n_events,)
    torch.testing.assert_close(found.recon, -(log_variable_N + log_value_N).sum() / whole.n_sets, rtol=1e-10, atol=0)


def test_gradients_are_those_of_the_sets_without_what_is_hidden(vae):
    torch.manual_seed(0)
    hidden = partly_hidden(stays(ROWS), values=0.4, variables=0.0)
    gradients = []
    for batch in (hidden, without_hidden(hidden)):
        vae.zero_grad()
        vae.encode(batch).mu_SZ.square().sum().backward()
        gradients.append([weight.grad.clone() for weight in vae.set_encoder.parameters()])
    for found, right in zip(*gradients, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-10)


def test_values_are_hidden_each_by_itself_two_of_one_variable_and_set_together_and_no_set_whole():
    batch = stays(list(range(60)))
    twice = replace(  # every event a second time, beside itself
        batch,
        variable_N=batch.variable_N.repeat_interleave(2),
        value_N=batch.value_N.repeat_interleave(2),
        set_N=batch.set_N.repeat_interleave(2),
    )
    torch.manual_seed(0)
    hidden_N = partly_hidden(twice, values=0.25, variables=0.0).hidden_N.view(-1, 2)
    assert torch.equal(hidden_N[:, 0], hidden_N[:, 1])
    # One more event of the same variable in a set is rare in the data: events are as good as independent.
    large_N = batch.set_N.bincount()[batch.set_N] >= 6
    share, sigma = hidden_N[large_N, 0].double().mean().item(), (0.25 * 0.75 / int(large_N.sum())) ** 0.5
    assert share == pytest.approx(0.25, abs=4 * sigma)
    seen_S = torch.zeros(batch.n_sets).index_add(0, batch.set_N, 1.0 - hidden_N[:, 0].float())
    assert (seen_S > 0).all()
    single_N = batch.set_N.bincount()[batch.set_N] == 1
    assert single_N.any()
    assert not hidden_N[single_N].any()


def test_variables_are_hidden_for_one_span_of_a_stay_a_third_of_it_on_average():
    batch = stays(list(range(100)))
    torch.manual_seed(0)
    # Beside an event of a variable of its own, which is seen, no set is without any: nothing has to be shown again.
    hidden_N = partly_hidden(batch, values=0.0, variables=0.5).hidden_N.numpy()
    subject_N = batch.subject_S[batch.set_N].numpy()
    minute_N, variable_N = batch.minute_S[batch.set_N].numpy(), batch.variable_N.numpy()
    seen_S = np.bincount(batch.set_N, ~hidden_N) == np.bincount(batch.set_N)  # whole, as they are or shown again
    length_B = np.bincount(batch.subject_S, minlength=100)
    chosen = spans = 0
    shares = []
    for subject, variable in np.unique(np.column_stack([subject_N, variable_N]), axis=0).tolist():
        mine = (subject_N == subject) & (variable_N == variable)
        if mine.sum() < 20 or length_B[subject] < 20:
            continue
        chosen, minute = chosen + 1, minute_N[mine]
        if hidden_N[mine].any():
            spans += 1
            first, last = minute[hidden_N[mine]].min(), minute[hidden_N[mine]].max()
            inside = (minute >= first) & (minute <= last)
            assert (hidden_N[mine] | seen_S[batch.set_N.numpy()[mine]])[inside].all()
            shares.append((last - first) / minute_N[subject_N == subject].max())
    assert chosen > 400
    assert spans / chosen == pytest.approx(0.5, abs=0.06)  # a span between two measurements hides none
    assert np.mean(shares) == pytest.approx(1 / 3, abs=0.04)


def test_the_same_seed_hides_the_same_and_another_one_something_else():
    batch = stays(ROWS)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(partly_hidden(batch, values=0.3, variables=0.3).hidden_N)
    assert torch.equal(drawn[0], drawn[1])
    assert 0.2 < (drawn[0] ^ drawn[2]).double().mean() < 0.6


def test_numbers_are_those_of_the_papers_hash():
    def mixed(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return x ^ (x >> 31)

    rng = np.random.default_rng(0)
    key, sets, variables = 2**61 + 12345, rng.integers(0, 2**40, 50), rng.integers(0, 50_000, 50)
    found = uniform(torch.tensor(key), torch.from_numpy(sets), torch.from_numpy(variables))
    for number, one, other in zip(found.tolist(), sets.tolist(), variables.tolist(), strict=True):
        state = mixed(key)
        for part in (one, other):
            state = mixed((state + (part + 1) * 0x9E3779B97F4A7C15) & MASK)
        assert number == (state >> 11) * 2.0**-53
    grid = torch.cartesian_prod(torch.arange(300), torch.arange(100))
    even = uniform(torch.tensor(7), *grid.T).view(300, 100)
    assert even.mean().item() == pytest.approx(0.5, abs=0.007)
    assert torch.histc(even, 10, 0, 1).sub(3000).abs().max() < 250
    together = torch.corrcoef(torch.stack([even[:, :-1].flatten(), even[:, 1:].flatten()]))
    assert abs(together[0, 1].item()) < 0.025


def test_a_store_of_the_package_can_be_hidden_from(vae):
    batch = open_store("demo").gather("train", 0, np.arange(3))
    assert batch.hidden_N is None
    assert partly_hidden(batch, values=0.5, variables=0.5).head(1).hidden_N is not None
