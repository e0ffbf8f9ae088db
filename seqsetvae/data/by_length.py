"""Any number of subjects as batches of like lengths, which saves padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.vocabulary import Vocabulary

EVENTS_PER_BATCH = 8000


def by_length(packed: Packed, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], Iterator[EventBatch]]:
    """Like lengths together: the order of the subjects, and batches of them. `argsort` of the order leads back."""
    n_events_B = np.diff(packed.events_before_B)
    order_B = np.argsort(n_events_B, kind="stable")
    edges = np.flatnonzero(np.diff(np.cumsum(n_events_B[order_B]) // EVENTS_PER_BATCH)) + 1
    return order_B, (gather(packed, rows, vocabulary) for rows in np.split(order_B, edges))
