"""The folder that figures and texts are written to: each file whole or not at all, and a kind word where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from seqsetvae.atomic import atomic_write
from seqsetvae.errors import InputError


def writable(folder: Path, flag: str) -> Path:
    """The folder, made if it is missing, after a trial. Raises :class:`InputError` that names the flag where it cannot be written."""
    trial = folder / f".{os.getpid()}.trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--{flag} is {str(folder)!r}, which cannot be made: {error.strerror}.") from error
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"--{flag} is {str(folder)!r}, which cannot be written to: {error.strerror}.") from error
    return folder


def write(folder: Path, files: Mapping[str, bytes], flag: str) -> None:
    """Write all files of a folder. Raises :class:`InputError` where one cannot be written, as on a disk that is full."""
    for name, content in files.items():
        target = writable(folder, flag) / name
        try:
            with atomic_write(target) as file:
                file.write(content)
        except OSError as error:
            raise InputError(f"--{flag}: {target} cannot be written: {error.strerror}.") from error
