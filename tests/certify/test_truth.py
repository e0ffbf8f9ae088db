"""The truth that other people's models are held against: by closed forms of Gaussians, apart from the code that measures it."""

import math

import pytest
import torch

from seqsetvae.certify import planted
from seqsetvae.certify.outcome import as_built, right
from seqsetvae.certify.truth import DEAD, explained_information
from seqsetvae.certify.verdict import judge
from seqsetvae.certify.zoo_cases import zoo
from seqsetvae.certify.zoo_training import observe
from seqsetvae.config import MonitorConfig

ROWS = 4096


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_a_gaussian_channel_has_the_nats_of_its_closed_form(noise):
    f = drawn(ROWS, 3, seed=0)
    mixed = (f + noise * drawn(ROWS, 3, seed=1)) @ drawn(3, 8, seed=2)
    assert explained_information(f, mixed) == pytest.approx(1.5 * math.log1p(noise**-2), abs=0.06)


def test_what_tells_nothing_is_dead_however_many_elements_it_has():
    f = drawn(ROWS, 3, seed=0)
    assert explained_information(f, drawn(ROWS, 64, seed=1)) < DEAD
    assert explained_information(f, torch.ones(ROWS, 8)) == 0.0


def test_within_a_class_what_only_copies_the_class_tells_nothing():
    of_class = torch.arange(ROWS) % planted.CLASSES
    f = drawn(ROWS, 1, seed=0) + 3.0 * of_class[:, None]
    copied = of_class[:, None] + 0.01 * drawn(ROWS, 1, seed=1)
    assert explained_information(f, copied) > 1.0
    assert explained_information(f, copied, of_class) < DEAD


def test_the_factors_are_where_they_were_planted():
    """Variances of the data along the loadings: signal and noise, by numpy's own eigenvalues."""
    batch = planted.held_out(planted.factors, 20_000, 0)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(batch["x"].T)).flip(0)
    assert eigenvalues[:4].tolist() == pytest.approx([8.09, 4.25, 2.5, 0.25], rel=0.05)
    fresh = planted.held_out(planted.factors, 20_000, 1)
    assert not torch.equal(batch["x"], fresh["x"])


def test_every_family_has_a_case_and_each_fault_its_model_in_health():
    cases = zoo(2)
    assert len(cases) == 2 * len({one.case for one in cases})
    for family in {one.family for one in cases} - {"no likelihood offered"}:
        ours = [one for one in cases if one.family == family]
        broken = [one for one in ours if one.collapses or one.part]
        assert broken, family
        assert len(broken) < len(ours), family


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["BN-VAE, deaf decoder, no likelihood offered", "noise, beta 2", "ladder, upper layer"]
)
def test_a_sample_of_the_zoo_is_called_what_it_is(case):
    """All of it: `seqsetvae certify`."""
    [run] = [one for one in zoo(1) if one.case.startswith(case)]
    verdict = judge(observe(run, lambda checks: None), MonitorConfig())
    assert as_built(verdict)
    assert right(verdict)
