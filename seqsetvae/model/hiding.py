"""What of a batch is hidden from the encoder while training, so that the decoder learns to say what was not measured.

p(x_t | h_t) alone is met by a latent that copies its set: a decoder so trained has never been asked for a value that the encoder did not
see. Hidden are single values, each variable of a set by itself, and variables of a stay for a span of time. The decoder is asked for all
events all the same. With q(z_t | what was seen of x_t) in place of q(z_t | x_t) the loss stays a bound on the likelihood, whatever is
hidden (Im et al. 2017, "Denoising criterion for variational auto-encoding framework"): looser, since the posterior knows less.

Shapes: B subjects, S sets, N events (:mod:`seqsetvae.batch`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from seqsetvae.batch import EventBatch

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Of splitmix64 (Steele et al. 2014), as signed numbers."""


def partly_hidden(batch: EventBatch, values: float, variables: float) -> EventBatch:
    """A batch of which the encoder sees a part. Draws one number from the default generator; nothing waits for a device.

    Args:
        batch: with all its events.
        values: chance that a variable of a set is hidden.
        variables: chance that a variable of a stay is hidden between two times, drawn evenly from the stay.

    Returns:
        The batch with `hidden_N`. A set of which nothing would be left is seen as it is.
    """
    key = torch.randint(2**62, (), device=batch.set_N.device)
    subject_N, minute_N = (one_S.index_select(0, batch.set_N) for one_S in (batch.subject_S, batch.minute_S))
    hidden_N = uniform(key, batch.set_N, batch.variable_N) < values
    chosen_N, one_N, other_N = (uniform(key + stream, subject_N, batch.variable_N) for stream in (1, 2, 3))
    length_N = batch.minute_S.index_select(0, batch.last_set_B).index_select(0, subject_N)
    first_N, last_N = torch.minimum(one_N, other_N) * length_N, torch.maximum(one_N, other_N) * length_N
    hidden_N |= (chosen_N < variables) & (first_N <= minute_N) & (minute_N <= last_N)
    seen_S = torch.zeros_like(batch.subject_S).index_add(0, batch.set_N, (~hidden_N).to(batch.subject_S.dtype))
    return replace(batch, hidden_N=hidden_N & (seen_S > 0).index_select(0, batch.set_N))


def uniform(key: Tensor, *number_XN: Tensor) -> Tensor:
    """A number in [0, 1) for each of N tuples of int64, float64: equal tuples get the same one.

    A hash stands for a table of all sets and variables, which for large vocabularies would have more cells than there is memory.
    """
    mixed_N = _mixed(key)
    for number_N in number_XN:
        mixed_N = _mixed(mixed_N + (number_N + 1) * GOLDEN)
    return _shifted(mixed_N, 11).double() * 2.0**-53


def _mixed(x: Tensor) -> Tensor:
    """The last steps of splitmix64: a permutation of the 2^64 numbers; products wrap around."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left: as of an unsigned number."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
