"""Where this user's caches lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """By the XDG convention; where there is no home, as in many containers, a folder of this user's own among the temporary ones."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "seqsetvae"
    try:
        return Path.home() / ".cache" / "seqsetvae"
    except RuntimeError:  # no HOME, and no entry in the password file
        return _temporary()


def _temporary() -> Path:
    """Raises OSError if the folder belongs to somebody else, who could put anything there."""
    folder = Path(tempfile.gettempdir()) / f"seqsetvae-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} belongs to another user; set XDG_CACHE_HOME.")
    return folder
