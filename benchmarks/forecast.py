"""Forecasts and imputation on the test stays of one store: do bands hold what they promise, and is the median nearer than simple answers?

Every set of every test stay is a time of forecast. Beside the model stand the last value carried forward, and for each variable a linear
model of its last value, its mean so far and the time since, fitted by least absolute deviations on the training stays. Errors are on the
vocabulary's scale: 1 is a spread of the variable. Variables that always have the same value are left out. Intervals: 95 %, over stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.backbones import FILLING, READING, pretrained
from seqsetvae.certify.table import Table
from seqsetvae.data.aligned import align
from seqsetvae.data.by_length import by_length
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.evaluation.forecast_bands import stretch_for
from seqsetvae.evaluation.left_out import leave_out
from seqsetvae.model.history_heads import history_targets
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.forecasting import Stretch
from seqsetvae.training.pretrained.loading import from_checkpoint

Floats = NDArray[np.float64]

FEWEST = 100
"""Values of a variable, below which it is not compared."""
REPEATS = 500


@dataclass(frozen=True)
class Later:
    """What came within one window behind the sets of a split: E means of values."""

    stay_E: NDArray[np.int64]
    variable_E: NDArray[np.int64]
    value_E: Floats
    past_EF: Floats
    """1, last value, mean so far, log(1 + hours since the last value)."""
    quantile_QE: Floats
    measured: float
    """Brier score of the chance that a variable is measured, where the stay goes on so long."""
    measured_by_share: float
    """The same of each variable's share."""


def measure(quick: bool = False, store: str = "demo") -> list[Table]:
    """Coverage and error of forecasts and of imputed values."""
    model, filling = (from_checkpoint(pretrained(config, store, quick)) for config in (READING, FILLING))
    opened = open_store(store)
    assert model.vae.history_heads is not None
    found = {split: later_values(model, opened, split) for split in ("train", "valid", "test")}
    rows: list[tuple[object, ...]] = []
    told: list[tuple[object, ...]] = []
    bands: list[tuple[object, ...]] = []
    where: list[tuple[object, ...]] = []
    for window, hours in enumerate(model.vae.history_heads.hours):
        train, valid, test = (found[split][window] for split in ("train", "valid", "test"))
        row, farther = forecast_row(train, test, model.vocabulary.names)
        rows.append((f"{hours:g} h", *row))
        where.append((f"{hours:g} h", *farther))
        stretch = stretch_for(valid.value_E, valid.variable_E, valid.quantile_QE, len(model.vocabulary))
        right_QE = stretched(stretch, test)
        bands.append((f"{hours:g} h", *coverage(test, test.quantile_QE), *coverage(test, right_QE)))
        told.append((f"{hours:g} h", f"{test.measured:.4f}", f"{test.measured_by_share:.4f}"))
    compared = "better than the last value", "than the linear model"
    headers = (
        "horizon",
        "values",
        "error",
        "of the last value",
        "of a linear model",
        *compared,
    )
    in_bands = ("horizon", "own, 50 %", "own, 90 %", "set right, 50 %", "set right, 90 %")
    return [
        Table("Forecast: values", headers, rows, "Errors are mean absolute ones, in spreads."),
        Table("Forecast: values in the bands, in %", in_bands, bands, "Set right on the validation stays."),
        Table("Forecast: where others are nearer", ("horizon", "the last value", "the linear model"), where, ""),
        Table("Forecast: what is measured (Brier score)", ("horizon", "model", "each variable's share"), told, ""),
        imputation(filling, opened, 200 if quick else 4000),
    ]


@torch.inference_mode()
def later_values(model: Pretrained, store: Store, split: str) -> list[Later]:
    """Of each window of the model's heads."""
    vae, heads = model.vae, model.vae.history_heads
    assert heads is not None
    packed = align(store, split, model.vocabulary).packed
    statistics = model.vocabulary.statistics
    changes_V = ~(statistics.low_V >= statistics.high_V)
    _, batches = by_length(packed, model.vocabulary)
    parts: list[list[tuple[NDArray[np.generic], ...]]] = [[] for _ in heads.hours]
    chances: list[list[tuple[Floats, Floats]]] = [[] for _ in heads.hours]
    for batch in batches:
        targets = history_targets(batch, heads.variables, heads.hours)
        said = heads.forecast(vae.state(vae.encode(batch).mu_SZ, batch), batch)
        stay_S = batch.row_B[batch.subject_S].numpy()
        for window in range(len(heads.hours)):
            known_SV = (targets.valued_WSV[window] & targets.known_SV).numpy() & changes_V
            set_E, variable_E = np.nonzero(known_SV)
            last_E, mean_E = (targets.past_KSV[place].numpy()[known_SV] for place in (0, 1))
            age_E = np.log1p(targets.age_SV.numpy()[known_SV])
            past_EF = np.column_stack([np.ones_like(last_E), last_E, mean_E, age_E]).astype(np.float64)
            value_E, quantile_QE = (
                targets.later_WSV[window].numpy()[known_SV],
                said.quantile_QWSV[:, window].numpy()[:, known_SV],
            )
            parts[window].append((stay_S[set_E], variable_E, value_E, past_EF, quantile_QE.T))
            whole_S = targets.whole_WS[window].numpy()
            measured_SV = targets.measured_WSV[window].numpy()[whole_S].astype(np.float64)
            chances[window].append((measured_SV, said.chance_WSV[window].double().numpy()[whole_S]))
    found = []
    for of_window, chance in zip(parts, chances, strict=True):
        stay_E, variable_E, value_E, past_EF, quantile_EQ = (
            np.concatenate(one) for one in zip(*of_window, strict=True)
        )
        measured_SV, chance_SV = (np.concatenate(one) for one in zip(*chance, strict=True))
        briers = [float(((one - measured_SV) ** 2).mean()) for one in (chance_SV, measured_SV.mean(0))]
        found.append(
            Later(stay_E, variable_E, value_E.astype(np.float64), past_EF, quantile_EQ.T.astype(np.float64), *briers)
        )
    return found


def stretched(stretch: Stretch, found: Later) -> Floats:
    """The quantiles of all values, (Q, E), each by its own variable's factors."""
    own = Stretch(stretch.factor_50_V[found.variable_E], stretch.factor_90_V[found.variable_E])
    return own.of(found.quantile_QE)


def coverage(found: Later, quantile_QE: Floats) -> tuple[str, str]:
    """Shares of the values in the bands of 50 and of 90 %."""
    low_90, low_50, _, high_50, high_90 = quantile_QE
    first, second = (
        share(((low <= found.value_E) & (found.value_E <= high)).astype(np.float64), found.stay_E, 100.0, 1)
        for low, high in ((low_50, high_50), (low_90, high_90))
    )
    return first, second


def forecast_row(train: Later, test: Later, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One line of the table of errors, and the variables of which another answer is nearer."""
    variables = len(names)
    linear_E = np.full(len(test.value_E), np.nan)
    for variable in np.unique(test.variable_E):
        seen, asked = train.variable_E == variable, test.variable_E == variable
        if seen.sum() >= FEWEST:
            linear_E[asked] = test.past_EF[asked] @ least_absolute(train.past_EF[seen], train.value_E[seen])
    there = ~np.isnan(linear_E)
    errors = [np.abs(one - test.value_E) for one in (test.quantile_QE[2], test.past_EF[:, 1], linear_E)]
    count_V = np.bincount(test.variable_E[there], minlength=variables)
    mean_V = [np.bincount(test.variable_E[there], one[there], variables) for one in errors]
    enough_V = count_V >= FEWEST
    better = [
        f"{int((mean_V[0] < other_V)[enough_V].sum())} of {int(enough_V.sum())} variables" for other_V in mean_V[1:]
    ]
    farther = [
        ", ".join(names[variable] for variable in np.flatnonzero(enough_V & (mean_V[0] >= other_V)).tolist())
        for other_V in mean_V[1:]
    ]
    told = (
        f"{int(there.sum()):,}",
        *(share(one[there], test.stay_E[there], 1.0, 3) for one in errors),
        *better,
    )
    return told, tuple(farther)


def least_absolute(x_EF: Floats, y_E: Floats, steps: int = 15) -> Floats:
    """Coefficients of the least absolute deviations, by reweighted least squares.

    >>> x_EF = np.column_stack([np.ones(5), np.arange(5.0)])
    >>> least_absolute(x_EF, np.array([1.0, 3.0, 5.0, 7.0, 100.0]), steps=50).round(2).tolist()
    [1.0, 2.0]
    """
    weight_E = np.ones(len(y_E))
    for _ in range(steps):
        weighted_EF = x_EF * weight_E[:, None]
        found_F = np.linalg.lstsq(weighted_EF.T @ x_EF, weighted_EF.T @ y_E, rcond=None)[0]
        weight_E = 1.0 / np.maximum(np.abs(y_E - x_EF @ found_F), 1e-4)
    return np.asarray(found_F)


def share(value_E: Floats, stay_E: NDArray[np.int64], times: float, digits: int) -> str:
    """Mean of some values with its 95 % bootstrap interval over stays."""
    total_B, count_B = np.bincount(stay_E, value_E), np.bincount(stay_E)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(REPEATS):
        rows = rng.integers(0, len(total_B), len(total_B))
        drawn.append(total_B[rows].sum() / count_B[rows].sum())
    low, high = times * np.quantile(drawn, (0.025, 0.975))
    return f"{times * value_E.mean():.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def imputation(model: Pretrained, store: Store, values: int) -> Table:
    """Recorded values of the test stays that were left out one by one: what the head says of them, and what the decoder does.

    Each with its own bands and with widened ones.
    """
    variables = len(model.vocabulary)
    decoder = deepcopy(model.vae)
    decoder.fill_head = None
    rows: list[tuple[object, ...]] = []
    for who, vae in (("head", model.vae), ("decoder", decoder)):
        widening = leave_out(vae, model.vocabulary, store, "valid", values).widening(variables)
        tried = leave_out(vae, model.vocabulary, store, "test", values)
        for bands, one in (("its own", None), ("widened on validation stays", widening)):
            found = tried.scores(variables, one)
            assert found is not None
            inside = f"{100 * found.coverage_50:.1f}", f"{100 * found.coverage_90:.1f}"
            errors = f"{found.error:.3f}", f"{found.error_of_last:.3f}"
            better = f"{found.better} of {found.compared} variables"
            rows.append((f"{who}, {bands}", f"{found.values:,}", *inside, *errors, better))
    headers = (
        "said by, with bands",
        "values",
        "in the 50 % band",
        "in the 90 % band",
        "error",
        "of the last value",
        "better than the last value",
    )
    return Table("Imputation", headers, rows, "")
