"""Where this user's caches lie."""

from __future__ import annotations

import os
from pathlib import Path

from seqsetvae.user import own_temporary_folder


def cache_folder() -> Path:
    """By the XDG convention; where there is no home a folder of this user's own among the temporary ones.

    Raises:
        OSError: that one belongs to somebody else.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "seqsetvae"
    try:
        return Path.home() / ".cache" / "seqsetvae"
    except RuntimeError:  # no HOME, and no entry in the password file
        return own_temporary_folder() / "cache"
