"""A loss or a risk that is NaN or inf, explained: which patient of a split gives it, and by which of their measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import elbo_terms

SUBJECTS_AT_ONCE = 32
SEED = 0
Score = Callable[[EventBatch], Tensor]
"""A number for every subject of a batch, shape (B,)."""


@dataclass(frozen=True)
class Culprit:
    """The first subject whose score is not finite."""

    row: int
    """Among those that were looked at, from 0."""
    cause: str
    """In words, without id and values: it may be recorded."""
    detail: str
    """Who it is and what was measured: for the user's own screen."""


def elbo_score(vae: SeqSetVAE) -> Score:
    """The ELBO of every subject, always with the same posterior sample."""

    def score_B(batch: EventBatch) -> Tensor:
        posterior = vae.encode(batch)
        noise_SZ = torch.randn(posterior.mu_SZ.shape, generator=torch.Generator().manual_seed(SEED))
        history_SD = vae.history(posterior.sample(noise_SZ), batch)
        prior = vae.prior_of(history_SD, batch)
        return elbo_terms(vae.set_decoder(history_SD), posterior, batch, prior).elbo_B(batch)

    return score_B


@torch.inference_mode()
def find_culprit(
    score: Score, packed: Packed, vocabulary: Vocabulary, max_sequence_length: int | None = None
) -> Culprit | None:
    """The first subject whose score is not finite by itself, and which of its measurements make it so; None if there is none.

    Slow, and on the CPU: subjects in question are looked at one by one, since another one's inf may spread through a batch.

    Args:
        score: what is to be finite.
        packed: the subjects.
        vocabulary: names their variables and scales their values.
        max_sequence_length: events of a subject that are read, :func:`seqsetvae.data.packed.gather`.
    """

    def batch_of(rows: NDArray[np.int64]) -> EventBatch:
        with np.errstate(over="ignore", invalid="ignore"):  # this is what is looked for
            return gather(packed, rows, vocabulary, max_sequence_length=max_sequence_length)

    for start in range(0, packed.n_subjects, SUBJECTS_AT_ONCE):
        rows = np.arange(start, min(start + SUBJECTS_AT_ONCE, packed.n_subjects))
        if _finite(score, batch_of(rows)):
            continue
        for row in rows.tolist():
            batch = batch_of(np.array([row]))
            if not _finite(score, batch):
                cause, measured = _explain(score, batch, vocabulary)
                return Culprit(row, cause, f"patient {str(packed.subject_id[row])!r}{measured}")
    return None


def culprit_of_split(vae: SeqSetVAE, store: Store, split: str, max_sequence_length: int | None) -> Culprit | None:
    """As :func:`find_culprit`, by the ELBO, of a whole split: `row` is the row in the split."""
    score = elbo_score(deepcopy(vae).to("cpu").float().eval())
    for number, first_row in enumerate(store.first_rows[split].tolist()):
        found = find_culprit(score, store.shard(split, number), store.vocabulary, max_sequence_length)
        if found is not None:
            return replace(found, row=first_row + found.row)
    return None


def why_risk_is_none(score: Score, packed: Packed, vocabulary: Vocabulary, store: Store, split: str) -> tuple[str, str]:
    """Why some subjects of a split, aligned with a model's vocabulary, get a score of NaN or inf.

    Returns:
        A sentence that may be recorded (row and variable), and one for the user's own screen (id and figure).
    """
    culprit = find_culprit(score, packed, vocabulary)
    if culprit is None:
        return f"{store.path}: split {split!r} gives NaN or inf, by no single patient.", ""
    row = store.row_of(split, str(packed.subject_id[culprit.row]))
    return (
        f"{store.path}: row {row} of split {split!r} (rows count from 0) gives NaN or inf, {culprit.cause}. Correct that patient or "
        "leave it out, and prepare the store again.",
        f"Row {row} of split {split!r} is {culprit.detail}.",
    )


def _explain(score: Score, batch: EventBatch, vocabulary: Vocabulary) -> tuple[str, str]:
    """What of a single subject makes its score not finite: that which, set to 0, makes it finite. Also the figure, for the user."""
    for cause, measured, changed in _alterations(batch, vocabulary):
        if _finite(score, changed):
            return cause, measured
    return "by no single variable", ""


def _alterations(batch: EventBatch, vocabulary: Vocabulary) -> Iterator[tuple[str, str, EventBatch]]:
    """A subject without the values of each of its variables, the farthest first: cause, figure, and what is left."""
    size_N = batch.value_N.abs().nan_to_num(math.inf)
    for variable in dict.fromkeys(batch.variable_N[size_N.argsort(descending=True)].tolist()):
        of_it_N = batch.variable_N == variable
        name, farthest = vocabulary.names[variable], float(batch.value_N[of_it_N][size_N[of_it_N].argmax()])
        rest = replace(batch, value_N=batch.value_N.masked_fill(of_it_N, 0.0))
        yield f"by its values of {name!r}", f": {name} {farthest:g} on the model's scale", rest


def _finite(score: Score, batch: EventBatch) -> bool:
    return bool(torch.isfinite(score(batch)).all())
