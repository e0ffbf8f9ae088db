"""The checkout stays as it is while tests run: each works in a folder of its own, and one that writes into the checkout fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHERS = {"__pycache__", "build", "dist"}
"""Folders that Python itself and the tools of a developer write to; so are those whose names begin with a dot."""


def tracked(root: Path) -> frozenset[str]:
    """Files that git knows: someone may edit them while tests run. None where the sources came without git."""
    command = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    return frozenset(str(root / name) for name in listed.split("\0"))


def untracked_files(folder: str, known: frozenset[str]) -> dict[str, tuple[int, int]]:
    """Path -> (size, time of the last change) of each file below a folder that git does not know, and of empty folders."""
    found: dict[str, tuple[int, int]] = {}
    with os.scandir(folder) as entries:
        inside = list(entries)
    if not inside:
        return {folder: (0, 0)}
    for entry in inside:
        if entry.name.startswith(".") or entry.name in OTHERS or entry.name.endswith(".egg-info"):
            continue
        if entry.is_dir(follow_symlinks=False):
            found |= untracked_files(entry.path, known)
        elif entry.path not in known:
            state = entry.stat(follow_symlinks=False)
            found[entry.path] = (state.st_size, state.st_mtime_ns)
    return found


class Untouched:
    """Compares the checkout, or another folder, with what it was before."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._known = tracked(root)
        self._before = untracked_files(str(root), self._known)

    def changes(self) -> Iterator[str]:
        """Paths, relative to it, that have appeared, changed or gone since the last call."""
        before, self._before = self._before, untracked_files(str(self._root), self._known)
        for path in sorted(before.keys() | self._before.keys()):
            if before.get(path) != self._before.get(path):
                yield os.path.relpath(path, self._root)
