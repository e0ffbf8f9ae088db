"""What a pretrained model says of values that were not measured, or are left out, with the variable's own event hidden.

A model with a head that fills in says its quantiles; of any other the decoder speaks, p(x_t | h_t).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.data.aligned import keep_events
from seqsetvae.data.by_length import by_length
from seqsetvae.data.packed import Packed, ranges
from seqsetvae.data.tasks import up_to
from seqsetvae.data.times import MICROSECONDS, microseconds
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.fill_head import FillHead, around_last
from seqsetvae.model.forecast_head import LEVELS, ascending
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.pretrained.forecasting import BANDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NORMAL_L = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
NARROWEST = 1e-3
"""Spreads: least width of a head's band of 90 %, so that it can be widened."""
DRAWS = 16
"""Of the posterior: what the latents leave open widens a band."""
POINTS = ("subject", "minute")
"""Columns of a table of points; `variable` may follow."""


@dataclass(frozen=True)
class Questions:
    """Q questions: a variable of a stay at a time. Those of one stay and time are asked together, and left out together."""

    stay_P: Ints
    """Row of the stay of each of the P places, which are stays at a time."""
    microsecond_P: Ints
    """Since the stay's first event."""
    place_Q: Ints
    """Ascending."""
    variable_Q: Ints


@dataclass(frozen=True)
class Widening:
    """How many of its standard deviations a band of each of V variables has to reach to both sides to hold what it promises."""

    reach_50_V: Floats
    reach_90_V: Floats

    def reach(self, variable_Q: Ints) -> Floats:
        """Of each question, (5, Q)."""
        near_Q, far_Q = self.reach_50_V[variable_Q], self.reach_90_V[variable_Q]
        return np.stack([-far_Q, -near_Q, np.zeros_like(near_Q), near_Q, far_Q])


@dataclass(frozen=True)
class Imputed:
    """Answers to Q questions on the vocabulary's scale; NaN where nothing else is known of the stay by then."""

    mean_Q: Floats
    """Where a head speaks, its median."""
    sd_Q: Floats
    """Where a head speaks, that of a Gaussian with as wide a band of 90 %."""
    said_LQ: Floats | None = None
    """A head's own quantiles."""

    @classmethod
    def by_quantiles(cls, said_LQ: Floats) -> Imputed:
        """From a head's quantiles, ascending."""
        width_Q = np.maximum(said_LQ[-1] - said_LQ[0], NARROWEST)
        return cls(said_LQ[len(LEVELS) // 2], width_Q / (NORMAL_L[-1] - NORMAL_L[0]), said_LQ)

    def quantiles(self, variable_Q: Ints, widening: Widening | None = None) -> Floats:
        """Those of :data:`~seqsetvae.model.forecast_head.LEVELS`, ascending, (5, Q): the model's own, or widened ones."""
        if widening is None and self.said_LQ is not None:
            return self.said_LQ
        reach_LQ = NORMAL_L[:, None] if widening is None else widening.reach(variable_Q)
        return self.mean_Q + self.sd_Q * reach_LQ


def read_points(at: pd.DataFrame, packed: Packed, vocabulary: Vocabulary) -> Questions:
    """A table of points. Where it has no column `variable`, all variables that were not measured at that time are asked for.

    Raises:
        InputError: a column is missing, or a row names a subject that has no events, a time that is none, or an unknown variable.
    """
    for column in POINTS:
        if column not in at:
            raise InputError(
                f"The table of points lacks the column {column!r}. It needs subject, minute and perhaps variable."
            )
    row_of = {str(name): row for row, name in enumerate(packed.subject_id)}
    stay_R = np.array([row_of.get(str(name), -1) for name in at["subject"]], dtype=np.int64)
    minute_R = pd.to_numeric(at["minute"], errors="coerce").to_numpy(np.float64)
    known = {name: row for row, name in enumerate(vocabulary.names)}
    names_R = at["variable"].tolist() if "variable" in at else []
    variable_R = np.array([known.get(str(name), -1) for name in names_R], dtype=np.int64)
    faults = [
        (stay_R < 0, "subject", "has no events"),
        (~np.isfinite(minute_R), "minute", "is no time"),
        (variable_R < 0, "variable", "is unknown to the model"),
    ]
    for bad_R, column, reason in faults:
        for row in np.flatnonzero(bad_R)[:1].tolist():
            raise InputError(f"Row {row + 1} of the table of points: {column} {at[column].iloc[row]!r} {reason}.")
    if not len(at):
        raise InputError("The table of points is empty.")
    since_R = microseconds(minute_R) - packed.start_B[stay_R]
    places, place_R = np.unique(np.column_stack([stay_R, since_R]), axis=0, return_inverse=True)
    place_R = place_R.reshape(-1)
    if names_R:
        asked = np.unique(np.column_stack([place_R, variable_R]), axis=0)
        return Questions(places[:, 0], places[:, 1], asked[:, 0], asked[:, 1])
    measured_PV = np.zeros((len(places), len(vocabulary)), dtype=bool)
    whole = Questions(places[:, 0], places[:, 1], np.zeros(0, np.int64), np.zeros(0, np.int64))
    cut, number_B = stays_until(packed, whole)
    place_N, here_N = _at_the_point(cut, whole, number_B)
    measured_PV[place_N[here_N], cut.variable_N[here_N]] = True
    place_Q, variable_Q = np.nonzero(~measured_PV)
    return Questions(places[:, 0], places[:, 1], place_Q, variable_Q)


@torch.inference_mode()
def impute(vae: SeqSetVAE, vocabulary: Vocabulary, packed: Packed, points: Questions, seed: int = 0) -> Imputed:
    """What the model says of each question, given the stay up to then without the variables that are asked for at that time.

    Where nothing else was measured at the time, the state after the set before speaks. No loop over stays or questions.
    """
    cut, number_B = stays_until(packed, points)
    place_N, here_N = _at_the_point(cut, points, number_B)
    many = len(vocabulary)
    asked = np.isin(place_N * many + cut.variable_N, points.place_Q * many + points.variable_Q)
    kept = keep_events(replace(cut, subject_id=number_B.astype(object)), ~(here_N & asked))
    said_RQ = np.full((2 if vae.fill_head is None else len(LEVELS), len(points.place_Q)), np.nan)
    place_B = kept.subject_id.astype(np.int64)
    batches = by_length(kept, vocabulary)[1] if kept.n_subjects else iter(())
    first_Q = np.searchsorted(points.place_Q, np.arange(len(points.stay_P) + 1))
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        mine_B = place_B[batch.row_B.numpy()]
        count_B = first_Q[mine_B + 1] - first_Q[mine_B]
        if not count_B.any():
            continue
        question_X = ranges(first_Q[mine_B], count_B)
        set_X = batch.last_set_B.repeat_interleave(torch.from_numpy(count_B))
        variable_X = torch.from_numpy(points.variable_Q[question_X])
        if vae.fill_head is None:
            said_RX = of_decoder(vae, batch, set_X, variable_X, generator)
        else:
            minute_B = torch.from_numpy(points.microsecond_P[mine_B] / MICROSECONDS)
            stay_X = torch.arange(len(mine_B)).repeat_interleave(torch.from_numpy(count_B))
            said_RX = of_head(vae, vae.fill_head, batch, minute_B, stay_X, variable_X)
        said_RQ[:, question_X] = said_RX.numpy()
    return Imputed(*said_RQ) if vae.fill_head is None else Imputed.by_quantiles(said_RQ)


def of_decoder(
    vae: SeqSetVAE, batch: EventBatch, set_X: Tensor, variable_X: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean and standard deviation of values, (2, X), float64: the spread of the decoder and of the posterior together."""
    posterior = vae.encode(batch)
    said = []
    for _ in range(DRAWS):
        noise_SZ = torch.randn(posterior.mu_SZ.shape, generator=generator)
        said.append(torch.stack(vae.decode(posterior.sample(noise_SZ), batch).value(set_X, variable_X)))
    mean_KX, scale_KX = torch.stack(said, dim=1).double()
    # The law of total variance.
    return torch.stack([mean_KX.mean(0), (scale_KX.square().mean(0) + mean_KX.var(0, correction=0)).sqrt()])


def of_head(
    vae: SeqSetVAE, head: FillHead, batch: EventBatch, minute_B: Tensor, stay_X: Tensor, variable_X: Tensor
) -> Tensor:
    """Quantiles of values, ascending, (5, X), float64; from posterior means."""
    history_BD = vae.history(vae.encode(batch).mu_SZ, batch).index_select(0, batch.last_set_B)
    said_LBV = head(history_BD, around_last(batch, head.variables, minute_B))
    return ascending(said_LBV[:, stay_X, variable_X].double())


def stays_until(packed: Packed, points: Questions) -> tuple[Packed, Ints]:
    """The stay of each place up to its time, and the place of each; without those that have no event by then."""
    taken = replace(packed.take(points.stay_P), subject_id=np.arange(len(points.stay_P)).astype(object))
    cut = up_to(taken, points.microsecond_P)
    return cut, np.array(cut.subject_id, dtype=np.int64)


def _at_the_point(cut: Packed, points: Questions, number_B: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The place of each event, and whether it was measured at the very time of it."""
    number_S = number_B[cut.subject_S]
    at_S = microseconds(cut.minute_S.astype(np.float64)) == points.microsecond_P[number_S]
    return number_S[cut.set_N], at_S[cut.set_N]


def impute_table(
    vae: SeqSetVAE, vocabulary: Vocabulary, packed: Packed, at: pd.DataFrame, widening: Widening | None = None
) -> pd.DataFrame:
    """A row for each question: subject, minute, variable, and the columns of :data:`~..forecasting.BANDS` in the variable's unit."""
    points = read_points(at, packed, vocabulary)
    found = impute(vae, vocabulary, packed, points)
    stay_Q = points.stay_P[points.place_Q]
    minute_Q = (points.microsecond_P[points.place_Q] + packed.start_B[stay_Q]) / MICROSECONDS
    scaled_LQ = found.quantiles(points.variable_Q, widening)
    every_LQ = np.broadcast_to(points.variable_Q, scaled_LQ.shape)
    return pd.DataFrame(
        {
            "subject": np.array(packed.subject_id, dtype=object)[stay_Q].astype(str),
            "minute": minute_Q,
            "variable": np.array(vocabulary.names, dtype=object)[points.variable_Q],
            **dict(zip(BANDS, vocabulary.said(every_LQ, scaled_LQ), strict=True)),
        }
    )
