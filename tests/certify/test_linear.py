"""The truth that certification rests on: closed form, exact information, and the monitor's figures against both."""

import math
from dataclasses import replace

import pytest
import torch

from seqsetvae.certify.cases import SPECTRA, constant
from seqsetvae.certify.linear import LinearRun, LinearVAEs, active_by_closed_form, is_critical
from seqsetvae.certify.linear_training import Study, observe

EIGENVALUES = SPECTRA["mixed"]
BETAS = (0.65, 2.5, 5.0, 20.0)


def run(beta: float, **changes) -> LinearRun:
    return replace(LinearRun("a case", 0, EIGENVALUES, constant(beta), False, constant_beta=beta), **changes)


@pytest.fixture(scope="module")
def trained():
    runs = tuple(run(beta) for beta in BETAS)
    return observe(Study(runs, total_steps=1500, samples_z=False, learning_rate=0.03), lambda checks: None)


@pytest.mark.parametrize("place", range(len(BETAS)), ids=map(str, BETAS))
def test_training_reaches_the_closed_form(trained, place):
    beta, last = BETAS[place], trained[place].observations[-1]
    expected_kl = sorted(0.5 * math.log(max(1.0, value / beta)) for value in EIGENVALUES)
    assert sorted(last.statistics.kl_Z.tolist()) == pytest.approx(expected_kl, abs=0.1)  # of 1024 samples
    assert last.statistics.active_units == active_by_closed_form(EIGENVALUES, beta)
    expected_variance = sum(min(1.0, beta / value) for value in EIGENVALUES) / len(EIGENVALUES)
    assert last.statistics.mean_variance == pytest.approx(expected_variance, abs=0.02)


@pytest.mark.parametrize("place", range(len(BETAS)), ids=map(str, BETAS))
def test_information_is_exact_and_the_estimate_near_it(trained, place):
    beta, last = BETAS[place], trained[place].observations[-1]
    into = sum(0.5 * math.log(max(1.0, value / beta)) for value in EIGENVALUES)
    out = sum(max(0.0, value - beta) for value in EIGENVALUES)
    # At the optimum the decoder makes use of all that goes in.
    assert last.information == pytest.approx(into, abs=0.03)
    assert (
        last.statistics.decoder_information < last.information + 3.0 * last.statistics.decoder_information_error + 0.01
    )
    if into < 2.0:  # far enough below the ceiling ln 1024
        assert last.statistics.mutual_information == pytest.approx(into, abs=0.15)
    assert last.statistics.decoder_use == pytest.approx(out, rel=0.5, abs=0.05)  # of 64 sets


@pytest.mark.parametrize("fault", ["deaf decoder", "noise for z", "blind encoder"])
def test_no_information_passes_a_fault(fault):
    vaes = LinearVAEs([run(1.0), run(1.0, fault=fault, faulty_from=5, faulty_until=6)], samples_z=True)
    with torch.no_grad():
        vaes.W_RZX.copy_(vaes.A_RXZ.mT)  # a decoder that uses what it hears
    for step, broken in ((4, False), (5, True), (6, False)):
        vaes.set_step(step)
        whole, faulty = vaes.information().tolist()
        assert whole > 0.5
        assert faulty == (pytest.approx(0.0, abs=1e-9) if broken else whole)


def test_a_run_does_not_depend_on_the_runs_beside_it():
    def last(*runs: LinearRun) -> float:
        vaes = LinearVAEs(runs, samples_z=True)
        optimizer = torch.optim.Adam(vaes.parameters, lr=0.03)
        for step in range(40):
            vaes.set_step(step)
            vaes.loss(64).backward()
            optimizer.step()
            optimizer.zero_grad()
        return vaes.information()[-1].item()

    alone, beside = last(run(1.0, seed=3)), last(run(5.0), run(0.1, seed=1), run(1.0, seed=3))
    assert alone == pytest.approx(beside, rel=1e-3)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_grid_covers_none_to_all_and_is_mostly_sharp(name):
    from seqsetvae.certify.cases import BETAS as GRID

    counts = {active_by_closed_form(SPECTRA[name], beta) for beta in GRID[name]}
    assert {0, 10} <= counts
    assert len(GRID[name]) >= 15
    assert sum(not is_critical(SPECTRA[name], beta) for beta in GRID[name]) >= 15
