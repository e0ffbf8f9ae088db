"""The cases with linear VAEs: every run whose answer is known by closed form or by what was done to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from seqsetvae.certify.linear import Fault, LinearRun
from seqsetvae.certify.linear_training import Study
from seqsetvae.config import ObjectiveConfig
from seqsetvae.config.settling import settle_objective
from seqsetvae.objective import scheduled_beta

SPECTRA: dict[str, tuple[float, ...]] = {
    "mixed": (8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.2, 0.8, 0.5, 0.3),
    "steep": tuple(16.0 * 0.6**i for i in range(10)),
    "flat": tuple(2.2 - 0.4 * i / 9 for i in range(10)),
}
THREE_STRONG = (8.0, 6.0, 4.0, 1.0, 0.9, 0.8, 0.7, 0.5, 0.4, 0.3)
BETAS: dict[str, tuple[float, ...]] = {
    # Between the eigenvalues and beyond them; 1.1, 2.9 and 5.8 are critical.
    "mixed": (0.1, 0.2, 0.4, 0.65, 1.0, 1.1, 1.35, 1.75, 2.5, 2.9, 3.5, 5.0, 5.8, 7.0, 9.5, 12.0, 20.0, 50.0),
    "steep": tuple(16.0 * 0.6 ** (9.5 - i) for i in range(15)),
    "flat": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.6, 4.0, 10.0, 50.0),
}
"""At least 15 for each spectrum. The last four or five are above the largest eigenvalue: everything collapses."""
COLLAPSING_BETA = 50.0
CANNOT_COLLAPSE, HEALTHIEST, COLLAPSED = "beta 0, cannot collapse", "healthy, beta 0.1", "beta 50"
FAINT = (0.007, 0.015, 0.03, 0.06, 0.2)
"""Nats."""
RISES_TO = (2.0, 5.0, 12.0, 20.0)
FAINT_CASE = "linear, one faint dimension"
QUICK_BETAS = slice(2, None, 7)


def constant(beta: float) -> Callable[[int], float]:
    """The schedule that stays where it is."""
    return lambda step: beta


def grid(seeds: int, quick: bool = False) -> Study:
    """The linear beta-VAE over beta, spectrum and seed."""
    runs = []
    for name, eigenvalues in SPECTRA.items():
        betas = [*BETAS[name][QUICK_BETAS], COLLAPSING_BETA] if quick else BETAS[name]
        for beta in betas:
            collapses = beta > max(eigenvalues)
            case = f"linear, {name} spectrum, beta {'above' if collapses else 'below'} the largest eigenvalue"
            runs += [
                LinearRun(case, seed, eigenvalues, constant(beta), collapses, constant_beta=beta)
                for seed in range(seeds)
            ]
    runs += [run for nats in FAINT for run in _faint(nats, seeds)]
    return Study(tuple(runs), total_steps=1000 if quick else 2500, samples_z=False, learning_rate=0.03)


def _faint(nats: float, seeds: int) -> list[LinearRun]:
    """One dimension of ten that carries so little that nobody can say what it should be called."""
    eigenvalues = (math.exp(2.0 * nats), *[0.3] * 9)
    return [
        LinearRun(FAINT_CASE, seed, eigenvalues, constant(1.0), collapses=False, asks="faint") for seed in range(seeds)
    ]


def long_runs(seeds: int, quick: bool = False) -> Study:
    """Ten times as long: in health, on a slow way to death, and broken late."""
    total = 2000 if quick else 20_000
    runs = [
        run
        for seed in range(seeds)
        for run in (
            _healthy("long run, healthy", seed),
            _rising(_healthy("long run, beta rises to 20 for most of it", seed), 20.0, total),
            replace(
                _healthy("long run, decoder deaf from 60 % on", seed),
                fault="deaf decoder",
                faulty_from=total * 3 // 5,
                faulty_until=total,
                collapses=True,
            ),
        )
    ]
    return Study(tuple(runs), total_steps=total, samples_z=True, learning_rate=0.015)


def interventions(seeds: int, quick: bool = False) -> Study:
    """Forced collapse, runs that cannot collapse, runs that only look like it, partial collapse."""
    total = 1000 if quick else 4000
    # One seed cannot average over where between two measurements of decoder use the break falls: it falls before one.
    middle = total // 2 if quick else total * 3 // 8
    runs = [
        run
        for seed in range(seeds)
        for run in (*_forced(seed, total, middle), *_harmless(seed), *_scheduled(seed, total))
    ]
    cases = list(dict.fromkeys(run.case for run in runs))
    in_order = sorted(runs, key=lambda run: cases.index(run.case))
    return Study(tuple(in_order), total_steps=total, samples_z=True, learning_rate=0.015)


def _healthy(case: str, seed: int) -> LinearRun:
    return LinearRun(case, seed, SPECTRA["mixed"], constant(1.0), collapses=False)


def _forced(seed: int, total: int, middle: int) -> list[LinearRun]:
    """From the first step, and in the middle of a healthy run: at another step for each seed, between two checks."""
    found = []
    for when, start in (("from the start", 0), ("in mid-run", middle + 87 * seed)):

        def jump(step: int, start: int = start) -> float:
            return COLLAPSING_BETA if step >= start else 1.0

        def broken(case: str, fault: Fault, free_bits: float = 0.0, start: int = start, when: str = when) -> LinearRun:
            run = replace(_healthy(f"{case}, {when}", seed), collapses=True, free_bits=free_bits)
            return replace(run, fault=fault, faulty_from=start, faulty_until=total)

        found += [
            replace(_healthy(f"{COLLAPSED}, {when}", seed), beta_at=jump, collapses=True),
            broken("decoder never receives z", "deaf decoder"),
            broken("decoder never receives z, free bits 0.5", "deaf decoder", free_bits=0.5),
            broken("z replaced by noise", "noise for z"),
            broken("constant shift of mu, free bits 0.5", "blind encoder", free_bits=0.5),
        ]
    return found


def _harmless(seed: int) -> list[LinearRun]:
    return [
        replace(_healthy(CANNOT_COLLAPSE, seed), beta_at=constant(0.0), must_be_silent=True),
        replace(_healthy(HEALTHIEST, seed), beta_at=constant(0.1)),
        replace(_healthy("healthy, beta 1, free bits 0.5", seed), free_bits=0.5),
        LinearRun("partial collapse, 3 of 10 active", seed, THREE_STRONG, constant(2.0), False, constant_beta=2.0),
    ]


def _scheduled(seed: int, total: int) -> list[LinearRun]:
    """Scheduled: look collapsed for a while, or for good."""
    warmup = total // 5
    linear = settle_objective(ObjectiveConfig(max_beta=1.0, beta_warmup_steps=warmup), total)
    too_high = replace(linear, max_beta=COLLAPSING_BETA)
    warming_up = _late(_healthy("linear warm-up, decoder deaf for half of it", seed), deaf_until=warmup // 2)
    return [
        replace(
            _healthy("linear warm-up to beta 50", seed),
            beta_at=lambda step: scheduled_beta(too_high, step, total),
            warmup_steps=warmup,
            collapses=True,
        ),
        replace(warming_up, beta_at=lambda step: scheduled_beta(linear, step, total), warmup_steps=warmup),
        _late(_healthy("delayed start, decoder deaf for half of the grace period", seed), deaf_until=total // 20),
        _late(_healthy("delayed start, decoder deaf for 90 % of it", seed), deaf_until=total * 9 // 100),
        *_cyclical(seed, total),
        *(_rising(_healthy(f"beta rises to {beta:g} for most of the run", seed), beta, total) for beta in RISES_TO),
    ]


def _rising(run: LinearRun, beta: float, total: int) -> LinearRun:
    """With a warm-up that takes 80 % of the run, at whose end beta is where life is possible, or no longer is."""
    return replace(
        run,
        beta_at=lambda step: beta * min(1.0, (step + 1) / (0.8 * total)),
        warmup_steps=total // 10,
        collapses=beta > max(run.eigenvalues),
    )


def _late(run: LinearRun, deaf_until: int) -> LinearRun:
    """Starts as the prior itself, at the saddle point where neither encoder nor decoder has a gradient yet."""
    return replace(run, weights=1e-4, first_logvar=0.0, fault="deaf decoder", faulty_until=deaf_until)


def _cyclical(seed: int, total: int) -> list[LinearRun]:
    """Four cycles (Fu et al. 2019) to a beta at which every dimension dies. The last cycle of the schedule ends at that height."""
    objective = settle_objective(ObjectiveConfig(beta_schedule="cyclical", max_beta=20.0, beta_cycles=4), total)
    cycles = total * 4 // 5

    def as_it_is(step: int) -> float:
        return scheduled_beta(objective, step, total)

    def then_low(step: int) -> float:
        return scheduled_beta(objective, step, cycles) if step < cycles else 0.5

    to_the_end = replace(_healthy("cyclical to beta 20, ends at its height", seed), beta_at=as_it_is, collapses=True)
    to_the_end = replace(to_the_end, warmup_steps=total // 8)
    return [
        replace(_healthy("cyclical to beta 20, then 0.5", seed), beta_at=then_low, warmup_steps=cycles // 8),
        to_the_end,
        replace(
            to_the_end,
            case="cyclical to beta 20, decoder never receives z",
            fault="deaf decoder",
            faulty_until=total,
        ),
    ]
