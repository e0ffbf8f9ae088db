"""How long the threads of a computation wait for each other awake."""

from __future__ import annotations

import os

SPINS = "2500"
"""Turns that a thread of GNU OpenMP waits for the others before it sleeps.

By default they are 300,000, longer than a thread that something else has pushed off its core is away: with one other busy process on two
cores a training step of batch 8 then takes 3.4x its time, with this 2.4x; on a quiet machine it costs less than 2 %.
"""


def sleep_soon() -> None:
    """Let threads sleep soon, here and in the processes that this one starts, unless GOMP_SPINCOUNT says how long.

    It is read when PyTorch is loaded: called before that, or else only for the processes that this one starts.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
