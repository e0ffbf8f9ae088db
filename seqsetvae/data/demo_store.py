"""`open_store("demo")`: the shipped stays as a store in the user's cache, prepared on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from seqsetvae import __version__
from seqsetvae.data.cache import cache_folder
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources.demo import DEMO_FILE, Demo
from seqsetvae.data.store import FORMAT_VERSION, Store
from seqsetvae.data.verified import verify
from seqsetvae.errors import InputError


def open_store(path: str | Path) -> Store:
    """Open a prepared folder, or the demo data for the word `demo`; at the first time every byte is verified.

    Raises:
        InputError: it is none, incomplete, or damaged.
    """
    return demo_store() if str(path) == "demo" else _verified(Path(path))


def demo_store(cache: Path | None = None) -> Store:
    """The demo data as a store. The first call takes a second or two and writes to `cache`.

    `cache` defaults to $XDG_CACHE_HOME/seqsetvae, else ~/.cache/seqsetvae. The folder's name holds a hash of data and version, so a
    new version never reads an old folder, and of two processes that prepare it at once the first one's is used.
    """
    try:
        cache = cache or cache_folder()
    except OSError as error:
        raise InputError(f"The demo needs a cache folder: {error}") from error
    digest = hashlib.sha256(DEMO_FILE.read_bytes() + f"{__version__} {FORMAT_VERSION}".encode()).hexdigest()[:12]
    folder = cache / f"demo-{digest}"
    try:
        return _verified(folder)
    except InputError:
        pass  # not there yet, or damaged
    own = cache / f"{folder.name}-{os.getpid()}"
    try:
        prepare(Demo(), own, progress=False)
    except InputError as error:
        raise InputError(
            f"{error} The demo needs a cache folder: set XDG_CACHE_HOME to one that can be written."
        ) from error
    _install(own, folder)
    return _verified(folder)


def _verified(folder: Path) -> Store:
    store = Store.open(folder)
    verify(store)
    return store


def _install(own: Path, folder: Path) -> None:
    """Move a store to its place, unless another process has put a good one there meanwhile: that one may be in use already."""
    try:
        own.rename(folder)
    except OSError:
        try:
            _verified(folder)
            shutil.rmtree(own)
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
            own.rename(folder)
