"""What a run's data let survive at which beta: :mod:`seqsetvae.collapse.forecast`, for the likelihood of SeqSetVAE.

Shapes: S sets, N events, V variables.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.forecast import Forecast, from_sequences
from seqsetvae.training.plan import Plan

SETS = 6_000
"""Sets of the train split that a forecast looks at, at most: a second."""
VARIABLES = 200
"""Of larger vocabularies the most frequent ones: what is hardly ever measured pays for no latent."""
LEAST = 20
"""Events of a variable from which its mean and scale are known."""


def forecast_for(plan: Plan) -> Forecast:
    """From patients of the train split, drawn by the seed of the run."""
    store, generator = plan.data.store, np.random.default_rng(plan.config.trainer.seed)
    shard = store.shards("train")[0]
    rows = generator.permutation(shard.subjects)
    length = plan.config.data.max_sequence_length
    few = store.gather("train", 0, np.sort(rows[:50]), length)
    wanted = max(50, int(SETS * few.n_subjects / max(1, few.n_sets)))
    return forecast_events(store.gather("train", 0, np.sort(rows[:wanted]), length))


def forecast_events(batch: EventBatch) -> Forecast:
    """From the sets of a batch, each in its place in the history of its patient."""
    score_SX, curvature_X = event_scores(batch)
    return from_sequences(score_SX, curvature_X, batch.subject_S, batch.position_S)


def event_scores(batch: EventBatch) -> tuple[Tensor, Tensor]:
    """Gradient of each set's log-likelihood about the best constant output, and its mean curvature, shapes (S, X) and (X,).

    The constant is the share of each variable among the events, and the mean and scale of its values. In the logits of the categorical a
    set with n events has the gradient (count - n share), with curvature n share; in the mean of a variable's values in units of its scale
    the sum of the standardized values r, with curvature 1 for each; in the logarithm of its scale the sum of r^2 - 1, with 2 for each.
    """
    variables = int(batch.variable_N.max()) + 1
    count_V = batch.variable_N.bincount(minlength=variables)
    kept = count_V.argsort(descending=True)[:VARIABLES]
    kept = kept[count_V[kept] >= LEAST].sort().values
    place_V = torch.full((variables,), len(kept)).scatter(0, kept, torch.arange(len(kept)))
    place_N = place_V[batch.variable_N]
    cell_N, cells = batch.set_N * (len(kept) + 1) + place_N, batch.n_sets * (len(kept) + 1)

    def per_cell(value_N: Tensor) -> Tensor:
        summed = torch.zeros(cells, dtype=torch.float64).index_add(0, cell_N, value_N.double())
        return summed.reshape(batch.n_sets, -1)[:, :-1]

    count_SV = per_cell(torch.ones_like(place_N))
    share_V = count_SV.sum(0) / batch.n_events
    events_S1 = batch.set_N.bincount(minlength=batch.n_sets).double()[:, None]

    numbered_N = torch.ones_like(place_N, dtype=torch.bool) if batch.number_N is None else batch.number_N.bool()
    with_number_V = per_cell(numbered_N).sum(0)
    mean_V = per_cell(batch.value_N * numbered_N).sum(0) / with_number_V.clamp(min=1.0)
    away_N = (batch.value_N - torch.cat([mean_V, mean_V.new_zeros(1)])[place_N]) * numbered_N
    scale_V = (per_cell(away_N.square()).sum(0) / with_number_V.clamp(min=1.0)).sqrt()
    varies = (with_number_V >= LEAST) & (scale_V > 1e-3)
    residual_N = away_N / torch.cat([scale_V.clamp(min=1e-3), scale_V.new_ones(1)])[place_N]
    moved_SV = per_cell(residual_N)[:, varies]
    spread_SV = per_cell((residual_N.square() - 1.0) * numbered_N)[:, varies]
    rate_V = with_number_V[varies] / batch.n_sets
    score_SX = torch.cat([count_SV - events_S1 * share_V, moved_SV, spread_SV], 1)
    return score_SX, torch.cat([events_S1.mean() * share_V, rate_V, 2.0 * rate_V])
