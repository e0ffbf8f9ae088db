"""Times of events, exactly: minutes as a source gives them -> whole microseconds, and what is no time of a stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from seqsetvae.data.sources.base import Chunk

MICROSECONDS = 60_000_000
"""In a minute."""
MINUTES_PER_YEAR = 525_960
LARGEST_MINUTE = 10_000.0 * MINUTES_PER_YEAR
"""Minutes of the clock since year 0 are times; a minute beyond the year 10,000 is none."""
LONGEST_STAY = 130.0 * MINUTES_PER_YEAR
"""Minutes between an event and the middle one of its stay, where times are plain numbers: a life is no longer."""
LONGEST_DATED_STAY = 400.0 * MINUTES_PER_YEAR
"""The same for dates: de-identified data put the birth of the very old centuries back."""

Fault = tuple[NDArray[np.bool_], str]
"""Which events are bad, and what is wrong with their minute."""


def microseconds(minute_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Minutes as whole microseconds, rounded: what times are compared by, so that no two that differ are ever one.

    >>> microseconds(np.array([30.0, 30.0 + 1 / 60, 110_485_001.0])).tolist()
    [1800000000, 1801000000, 6629100060000000]
    """
    return np.rint(minute_N * MICROSECONDS).astype(np.int64)


def impossible_minutes(chunk: Chunk) -> Iterator[Fault]:
    """What makes a minute no time of a stay, one reason after another; an event may be bad for several."""
    minute_N, dated = chunk.minute_N, chunk.start_B is not None
    finite_N = np.isfinite(minute_N)
    yield ~finite_N, "is not a time"
    if not dated:
        yield minute_N < 0, "is negative; minutes count from the start of the stay"
    beyond_N = finite_N & (np.abs(minute_N) > LARGEST_MINUTE)
    yield beyond_N, "is beyond any time: it would be after the year 10,000"
    limit = LONGEST_DATED_STAY if dated else LONGEST_STAY
    far_N = np.zeros_like(finite_N)
    usable_N = finite_N & ~beyond_N
    for start, stop in _long_stays(chunk, usable_N, limit):
        usable = usable_N[start:stop]
        middle = np.median(minute_N[start:stop][usable])
        far_N[start:stop] = usable & (np.abs(minute_N[start:stop] - middle) > limit)
    yield far_N, f"is beyond any stay: more than {limit / MINUTES_PER_YEAR:.0f} years from the middle of this one"


def _long_stays(chunk: Chunk, usable_N: NDArray[np.bool_], limit: float) -> Iterator[tuple[int, int]]:
    """First event, and the one after the last, of each subject whose times lie farther apart than the limit."""
    if not len(chunk.minute_N):
        return
    first = np.flatnonzero(np.diff(chunk.subject_N, prepend=-1))
    minute_N = np.where(usable_N, chunk.minute_N, np.nan)
    least, greatest = np.fmin.reduceat(minute_N, first), np.fmax.reduceat(minute_N, first)
    stops = np.append(first[1:], len(minute_N))
    for number in np.flatnonzero(greatest - least > limit).tolist():
        yield int(first[number]), int(stops[number])
