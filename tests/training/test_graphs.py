"""Batches that are filled up to the shape of a graph give what they give as they are. Recording needs a GPU: here a graph is the module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.graphs import Replayed, choose_shapes, filled

SMALL = {"width": 32, "heads": 2, "latent_dim": 8, "ff_dim": 64}


@pytest.fixture(scope="module")
def batches():
    store = open_store("demo")
    order = np.random.default_rng(5).permutation(store.n_subjects("train"))
    made = [store.gather("train", 0, np.sort(rows)) for rows in np.array_split(order, len(order) // 4)]
    return [replace(batch, value_N=batch.value_N.double()) for batch in made]


def gradients(vae, terms):
    vae.zero_grad()
    terms.loss(0.7, 0.1).backward()
    return {name: parameter.grad.clone() for name, parameter in vae.named_parameters()}


@pytest.mark.parametrize("code_width", [None, 16])
@pytest.mark.parametrize("some_without_number", [False, True])
def test_a_replayed_step_is_the_step(batches, code_width, some_without_number):
    vae = SeqSetVAE(ModelConfig(**SMALL, decoder_code_width=code_width), open_store("demo").vocabulary).double()
    if some_without_number:
        batches = [replace(batch, number_N=batch.variable_N % 3 > 0) for batch in batches]
        batches = [replace(batch, value_N=batch.value_N * batch.number_N) for batch in batches]
    replayed = Replayed(vae, batches[:30], None, lambda module, like: module)
    for batch in batches[30:42]:
        torch.manual_seed(3)
        usual = vae(batch)
        of_usual = gradients(vae, usual)
        torch.manual_seed(3)
        terms = replayed(batch)
        for name in ("variable_nll_S", "value_nll_S", "kl_SZ"):
            torch.testing.assert_close(getattr(terms, name), getattr(usual, name), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(terms.posterior.mu_SZ, usual.posterior.mu_SZ, rtol=1e-10, atol=1e-10)
        for name, gradient in gradients(vae, terms).items():
            torch.testing.assert_close(gradient, of_usual[name], rtol=1e-8, atol=1e-10, msg=name)
    assert replayed.replayed >= 9


def test_every_shape_is_filled_exactly_and_small_batches_take_small_ones(batches):
    shapes = choose_shapes(batches)
    assert 4 <= len(shapes) <= 8
    assert [shape.events for shape in shapes] == sorted(shape.events for shape in shapes)
    more = []
    for batch in batches:
        shape = next(shape for shape in shapes if shape.holds(batch))
        full = filled(batch, shape)
        assert (full.n_events, full.n_sets, full.n_subjects) == (shape.events, shape.sets, shape.subjects)
        assert torch.bincount(full.set_N, minlength=shape.sets).min() >= 1  # no set is empty
        assert torch.bincount(full.subject_S).max() <= shape.columns
        assert torch.equal(full.slot_S.unique(), full.slot_S.sort().values)  # no place is taken twice
        assert len(full.slot_S) <= shape.subjects * shape.columns
        more.append(shape.events / batch.n_events)
    assert np.median(more) < 1.25


def test_a_batch_that_fits_nowhere_takes_the_usual_way(batches):
    vae = SeqSetVAE(ModelConfig(**SMALL), open_store("demo").vocabulary).double()
    smallest = sorted(batches, key=lambda batch: batch.n_events)
    replayed = Replayed(vae, smallest[:20], None, lambda module, like: module)
    torch.manual_seed(3)
    terms = replayed(smallest[-1])
    assert (replayed.replayed, replayed.refused) == (0, 1)
    torch.manual_seed(3)
    assert torch.equal(terms.kl_SZ, vae(smallest[-1]).kl_SZ)


def test_what_outlives_a_step_is_not_written_over_by_the_next(batches):
    """A graph gives the same memory every time."""
    vae = SeqSetVAE(ModelConfig(**SMALL), open_store("demo").vocabulary).double()

    def record(module, like):
        memory = [each.clone() for each in module(*like)]
        return lambda *tensors: [held.copy_(new) for held, new in zip(memory, module(*tensors), strict=True)]

    with torch.no_grad():
        replayed = Replayed(vae, batches[:20], None, record)
        first = replayed(batches[0]).posterior
        before = first.mu_SZ.clone()
        for batch in batches[:20]:
            replayed(batch)
    assert torch.equal(first.mu_SZ, before)
