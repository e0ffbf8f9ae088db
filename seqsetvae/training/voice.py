"""With several devices each process comes by what is to be said; one of them says it."""

from __future__ import annotations

import logging

from lightning.pytorch.utilities import rank_zero_only

from seqsetvae.console import ALERTS

_log = logging.getLogger(__name__)


@rank_zero_only
def say(message: str) -> None:
    """News of a training."""
    _log.info(message)


@rank_zero_only
def warn(message: str) -> None:
    """What is likely to go wrong."""
    _log.warning(message)


@rank_zero_only
def alarm(message: str) -> None:
    """An alert of the collapse monitor."""
    ALERTS.warning(message)
