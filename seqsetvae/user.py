"""Who runs this, where nobody has said: a user of no password file and without HOME, as many containers have it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def ensure_user() -> None:
    """Give this process, and those that it starts, a home and a name if it has none; libraries fail without, MLflow at its import.

    Raises:
        OSError: the folder that would be the home belongs to somebody else.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(own_temporary_folder())
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) and not _is_known():
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def own_temporary_folder() -> Path:
    """Among the temporary files. Raises OSError if it belongs to somebody else, who could put anything there."""
    folder = Path(tempfile.gettempdir()) / f"seqsetvae-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} belongs to another user: set HOME to a folder of yours.")
    return folder


def _is_known() -> bool:
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True
