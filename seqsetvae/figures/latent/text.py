"""`visualization.txt`: the numbers that the figures show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqsetvae.figures.latent.arrays import LatentSample, StayView, VariableError, VariableTold
from seqsetvae.figures.latent.embedding import Embedding, Probes
from seqsetvae.figures.latent.posterior_figure import described
from seqsetvae.figures.latent.reconstruction_figure import ordered
from seqsetvae.figures.latent.summary import LatentSummary
from seqsetvae.figures.latent.told_figure import by_loss, is_lost

PAIRS = 5


def posterior_text(summary: LatentSummary) -> str:
    """The monitor's figures beside their thresholds, then a line for each dimension."""
    statistics = summary.statistics
    lines = [f"{described(one, summary)}{': OUT OF RANGE' if one.out_of_range else ''}" for one in summary.indicators]
    lines.append(
        f"Active units: {statistics.active_units} of {statistics.latent_dim} (Var(mu) > 0.01); "
        f"{100 * statistics.collapsed_dimensions_ratio:.0f} % of the dimensions are (0.01, 0.01)-collapsed (Lucas et al. 2019)"
    )
    head = f"{'dimension':<10}{'KL, nats':>10}{'Var(mu)':>10}{'mean sigma^2':>14}"
    kl_Z, signal_Z, variance_Z = summary.kl_Z, summary.signal_Z, summary.variance_Z
    rows = [
        f"{f'z{one}':<10}{kl_Z[one]:>10.4f}{signal_Z[one]:>10.4f}{variance_Z[one]:>14.4f}"
        for one in np.argsort(-kl_Z, kind="stable")
    ]
    return "\n".join([*lines, "", head, *rows])


def map_text(sample: LatentSample, embedding: Embedding | None, probes: Probes) -> str:
    """What the map is worth, and what a linear model finds without it."""
    if embedding is None:
        quality = "No map: too few sets, or all posterior means are the same."
    else:
        quality = f"Trustworthiness {embedding.trustworthiness:.3f} with {embedding.neighbors} neighbors (1 is best)."
    found = {
        "outcome, AUROC": probes.outcome_auroc,
        "hours in the stay, R^2": probes.hour_r2,
        f"severity ({sample.severity}), R^2": probes.severity_r2,
    }
    rows = [f"  {name}: {'not available' if value is None else format(value, '.3f')}" for name, value in found.items()]
    return "\n".join(
        [quality, "A linear probe of the posterior means finds, on stays that it was not fitted on:", *rows]
    )


def reconstruction_text(errors: Sequence[VariableError]) -> str:
    """A row for each variable: median absolute error with its quartiles, of the model and of the training median."""
    width = max(len(one.name) for one in errors) + 2
    rows = [f"{'variable':<{width}}{'unit':<18}{'values':>8}  {'model':<30}{'training median':<30}ratio"]
    for one in ordered(errors):
        cells = [f"{q.median:.3g} ({q.low:.3g} to {q.high:.3g})" for q in (one.model, one.training_median)]
        ratio = "" if np.isnan(one.ratio) else f"{one.ratio:.2f}"
        rows.append(f"{one.name:<{width}}{one.unit:<18}{one.events:>8,}  {cells[0]:<30}{cells[1]:<30}{ratio}".rstrip())
    return "\n".join(rows)


def told_text(told: Sequence[VariableTold]) -> str:
    """A row for each variable, the one that is told most of first; then what was lost."""
    if not told:
        return "Too few values to say."
    width = max(len(one.name) for one in told) + 2
    rows = [
        f"{one.name:<{width}}{one.bound:z8.3f} +- {one.error:.3f}"
        + ("" if one.before is None else f"   before {one.before:z.3f}")
        for one in by_loss(told)
    ]
    return "\n".join([*rows, *([said] if (said := lost_text(told)) else [])])


def lost_text(told: Sequence[VariableTold]) -> str:
    """The variables that the latents told of before and tell of no more; empty where there are none."""
    gone = [f"{one.name} ({one.before:.2f} -> {one.bound:z.2f})" for one in by_loss(told) if is_lost(one)]
    return f"Lost: {', '.join(gone)}" if gone else ""


def correlation_text(summary: LatentSummary) -> str:
    """How many dimensions the active ones amount to, and the strongest pairs."""
    if summary.correlation is None:
        return "Fewer than two dimensions are active."
    active, found = len(summary.active_A), summary.correlation
    pairs = ", ".join(f"z{a} and z{b} {r:+.2f}" for a, b, r in found.strongest(PAIRS))
    return f"{active} active dimensions vary like {found.effective:.1f} uncorrelated ones; strongest: {pairs}"


def stay_text(view: StayView) -> str:
    """Which stay was drawn, by its row, and how its bands fared."""
    hours = f"{len(view.hour_S):,} sets over {view.hour_S[-1] - view.hour_S[0]:.0f} hours"
    rows = [
        f"  {one.name} ({one.unit}): {100 * one.covered:.0f} % of {len(one.recorded_T):,} values inside"
        for one in view.traces
    ]
    return "\n".join([f"Row {view.row} of the split, {hours}; the 90 % band holds", *rows])
