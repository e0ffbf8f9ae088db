"""Sets that a pretrained model makes up, as they might follow what is known of a stay, or for nobody at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE

Ints = NDArray[np.int64]


@torch.inference_mode()
def sample_table(
    vae: SeqSetVAE,
    vocabulary: Vocabulary,
    n: int,
    packed: Packed | None,
    minutes: Sequence[float],
    size: int | None,
    seed: int,
) -> pd.DataFrame:
    """Rows subject, draw, minute, variable, value: `n` draws of the sets at some minutes behind the last set of each stay.

    Latents of known sets are drawn from their posterior, those of new ones from the prior. Where that is N(0, I), every set has it by
    itself, and what a stay is like reaches new sets through the history alone; a learned one is made of the sets before. Variables are
    drawn without putting any back, values from the decoder.

    Raises:
        InputError: no draws, minutes that do not ascend from above 0, or sets of no size.
    """
    check(n, packed, minutes, size, len(vocabulary))
    known = None if packed is None else packed.take(np.repeat(np.arange(packed.n_subjects), n))
    generator = torch.Generator().manual_seed(seed)
    whole, new_S = with_new_sets(known, n, np.array(minutes, dtype=np.float64))
    batch = gather(whole, np.arange(whole.n_subjects), vocabulary)
    z_SZ = torch.randn(batch.n_sets, vae.latent_dim, generator=generator)
    if known is not None:
        posterior = vae.encode(gather(known, np.arange(known.n_subjects), vocabulary))
        z_SZ[~torch.from_numpy(new_S)] = posterior.sample(z_SZ[~torch.from_numpy(new_S)])
    if vae.prior is not None:
        draw_one_after_the_other(vae, z_SZ, batch, new_S, len(minutes))
    set_E, variable_E, value_E = draw_events(vae, z_SZ, batch, new_S, sizes(known, new_S, whole, size, seed), generator)
    subject_E = whole.subject_S[set_E]
    names = np.array(
        [""] * n if packed is None else np.repeat([str(one) for one in packed.subject_id], n), dtype=object
    )
    return pd.DataFrame(
        {
            "subject": names[subject_E],
            "draw": subject_E % n,
            "minute": whole.minute_S[set_E] + whole.start_B[subject_E] / MICROSECONDS,
            "variable": np.array(vocabulary.names, dtype=object)[variable_E],
            "value": vocabulary.said(variable_E, value_E),
        }
    )


def draw_one_after_the_other(
    vae: SeqSetVAE, z_SZ: torch.Tensor, batch: EventBatch, new_S: NDArray[np.bool_], many: int
) -> None:
    """Make noise in the rows of the new sets, `many` behind each stay, draws from a prior that is made of the sets before; in place."""
    new_BM = torch.from_numpy(np.flatnonzero(new_S).reshape(-1, many))
    noise_SZ = z_SZ.clone()
    for new_B in new_BM.T:
        prior = vae.prior_of(vae.history(z_SZ, batch), batch)
        assert prior is not None
        z_SZ[new_B] = prior.sample(noise_SZ)[new_B]


def check(n: int, packed: Packed | None, minutes: Sequence[float], size: int | None, variables: int) -> None:
    """Raises :class:`InputError` as :func:`sample_table` does."""
    if n < 1:
        raise InputError(f"{n} draws were asked for, but it must be at least 1.")
    if not len(minutes) or not (np.diff([0.0, *minutes]) > 0).all():
        raise InputError(f"Minutes of new sets must be above 0 and ascend, but are {list(minutes)[:8]}.")
    if size is None and packed is None:
        raise InputError("Without events nothing says how many a set has: give size.")
    if size is not None and not 1 <= size <= variables:
        raise InputError(f"A set of {size} events was asked for, but it must have 1 to {variables}.")


def with_new_sets(known: Packed | None, n: int, minutes_M: NDArray[np.float64]) -> tuple[Packed, NDArray[np.bool_]]:
    """The stays with sets of one event each behind, whose events nobody looks at, and which sets are new."""
    many = len(minutes_M)
    if known is None:
        minute_S, new_S, first_set = np.tile(minutes_M, n), np.ones(n * many, dtype=bool), np.arange(n + 1) * many
        start_B, subjects = np.zeros(n, dtype=np.int64), n
        events_S = np.ones(n * many, dtype=np.int64)
        variable_N, value_N = np.zeros(n * many, dtype=np.int32), np.zeros(n * many, dtype=np.float32)
    else:
        subjects, start_B = known.n_subjects, known.start_B
        first_set = known.first_set + many * np.arange(subjects + 1)
        new_S = np.zeros(first_set[-1], dtype=bool)
        new_S[(first_set[1:, None] - np.arange(many, 0, -1)).reshape(-1)] = True
        minute_S, events_S = np.empty(len(new_S)), np.ones(len(new_S), dtype=np.int64)
        minute_S[~new_S], events_S[~new_S] = known.minute_S, np.diff(known.first_event)
        minute_S[new_S] = (known.end_B[:, None] + minutes_M).reshape(-1)
        new_N = np.repeat(new_S, events_S)
        variable_N, value_N = np.zeros(len(new_N), dtype=np.int32), np.zeros(len(new_N), dtype=np.float32)
        variable_N[~new_N], value_N[~new_N] = known.variable_N, known.value_N
    whole = Packed(
        np.arange(subjects).astype(object),
        np.full(subjects, np.nan, dtype=np.float32),
        first_set.astype(np.int32),
        np.append(0, np.cumsum(events_S)).astype(np.int32),
        minute_S,
        variable_N,
        value_N,
        start_B,
    )
    return whole, new_S


def sizes(known: Packed | None, new_S: NDArray[np.bool_], whole: Packed, size: int | None, seed: int) -> Ints:
    """Events of each new set: as given, or as many as one of the stay's own sets, drawn at random, has."""
    if size is not None or known is None:
        return np.full(int(new_S.sum()), size, dtype=np.int64)
    subject_R = whole.subject_S[new_S]
    n_sets_B = np.diff(known.first_set)
    chosen_R = known.first_set[subject_R] + (
        np.random.default_rng(seed).random(len(subject_R)) * n_sets_B[subject_R]
    ).astype(np.int64)
    return np.diff(known.first_event)[chosen_R].astype(np.int64)


def draw_events(
    vae: SeqSetVAE,
    z_SZ: torch.Tensor,
    batch: EventBatch,
    new_S: NDArray[np.bool_],
    size_R: Ints,
    generator: torch.Generator,
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Set, variable and scaled value of the events of the R new sets."""
    events = vae.decode(z_SZ, batch)
    set_R = torch.from_numpy(np.flatnonzero(new_S))
    pairs = set_R.repeat_interleave(vae.variables), torch.arange(vae.variables).repeat(len(set_R))
    log_p_RV = events.log_variable(*pairs).view(len(set_R), -1)
    # The greatest of log p plus Gumbel noise are draws without putting back (Vieira 2014).
    noise_RV = -torch.log(-torch.log(torch.rand(log_p_RV.shape, generator=generator).clamp(1e-12, 1 - 1e-7)))
    rank_RV = (log_p_RV + noise_RV).argsort(1, descending=True).argsort(1)
    row_E, variable_E = torch.nonzero(rank_RV < torch.from_numpy(size_R)[:, None], as_tuple=True)
    mean_E, scale_E = events.value(set_R[row_E], variable_E)
    value_E = mean_E + scale_E * torch.randn(mean_E.shape, generator=generator)
    return set_R[row_E].numpy(), variable_E.numpy(), value_E.double().numpy()
