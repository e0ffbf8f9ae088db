"""How long something took, for people."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(65)
    '0:01:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
