"""The folder that figures and texts are written to: each file whole or not at all, and a kind word where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from seqsetvae.atomic import atomic_write
from seqsetvae.errors import InputError


def writable(folder: Path, flag: str) -> Path:
    """The folder, after a trial that leaves nothing behind: what is refused later has then written nothing.

    Raises :class:`InputError` that names the flag where the folder cannot be made or written.
    """
    trial = folder / f".{os.getpid()}.trial"
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    doing = "made"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        doing = "written to"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"--{flag} is {str(folder)!r}, which cannot be {doing}: {error.strerror}.") from error
    finally:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
    return folder


def write(folder: Path, files: Mapping[str, bytes], flag: str) -> None:
    """Write all files of a folder, made if it is missing. Raises :class:`InputError` where one cannot be written, as on a full disk."""
    for name, content in files.items():
        target = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as file:
                file.write(content)
        except OSError as error:
            raise InputError(f"--{flag}: {target} cannot be written: {error.strerror}.") from error
