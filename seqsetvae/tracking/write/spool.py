"""The spool on local disk: everything a run wants recorded, in order, until the store has acknowledged it.

    <work_dir>/spool/<run_id>/
        header.json           tracking_uri (without a password), run_id, experiment_id
        000001.jsonl ...      journal of what goes into MLflow's tables
        uploads/000001.jsonl  journal of files, which may wait for an artifact store while everything else goes on
        rejected.jsonl        records that the store has refused, each with the reason; `sync` offers them again
        register.json         the model is to be registered once everything has arrived, and what has to be known for it
        model/                the model itself, where it lies nowhere else
        files/                copies of uploads that may change later (text, figures), links to checkpoints
        refused/              those of them that the store has refused
    <work_dir>/spool/<run_id>.lock
                              held by the process that delivers this spool: the live run, or `sync`

A record is `{"metrics": [[key, value, step, timestamp], ...]}`, `{"params": {...}}`, `{"tags": {...}}`, `{"dataset": ...}` or
`{"status": ...}`; in `uploads/` it is `{"file": {"path": ..., "folder": ...}}`, or with `link` for `path` a file that may have been
removed when its turn comes. Paths below the work folder are written from the spool, so that a folder that was moved or copied with
everything in it finds its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import sqlite_path, sqlite_uri
from seqsetvae.tracking.write.journal import Journal, Record, append_whole, write_json

LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Header:
    """Where the records of a spool belong."""

    tracking_uri: str
    run_id: str
    experiment_id: str
    beside: str = ""
    """Of a store that is a file of this machine: its path, from the spool."""


@dataclass(frozen=True)
class Wish:
    """A model that is to be registered."""

    run_id: str
    folder: Path
    """Where it lies; not there if it is among the run's checkpoints."""
    known: Mapping[str, Any]
    """What the command that made it has left for its registration."""


class Spool:
    """The journals of one run. One process writes them, and whoever holds :meth:`lock` delivers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.rejected, self._offered = folder / "rejected.jsonl", folder / "rejected.offered"
        self._refused = folder / "refused"
        self.records, self.uploads = Journal(folder), Journal(folder / "uploads")
        self._wish = folder / "register.json"
        self.model = folder / "model"
        # Any thread may release it, whichever thread of this process took it.
        self._lock = FileLock(folder.with_suffix(".lock"), thread_local=False)

    @classmethod
    def create(cls, work_dir: Path, header: Header) -> Spool:
        """Open and lock the spool of a run for writing; a left-over one of the same run is continued behind what it holds.

        Raises :class:`InputError` when another process goes on using it for `LOCK_SECONDS`.
        """
        spool = cls(work_dir.absolute() / "spool" / header.run_id)
        spool.folder.parent.mkdir(parents=True, exist_ok=True)
        if not spool.lock(LOCK_SECONDS):
            raise InputError(
                f"Run {header.run_id} is being written or delivered by another process. Wait for it, or stop it."
            )
        spool.files.mkdir(parents=True, exist_ok=True)
        spool.uploads.folder.mkdir(exist_ok=True)
        store = sqlite_path(header.tracking_uri)
        beside = os.path.relpath(store, spool.folder) if store is not None else ""
        write_json(spool.folder / "header.json", asdict(replace(header, beside=beside)))
        return spool

    @property
    def header(self) -> Header:
        """As it was written; where the spool and a store beside it were moved or copied together, that store."""
        header = Header(**json.loads((self.folder / "header.json").read_text(encoding="utf-8")))
        store = Path(os.path.normpath(self.folder / header.beside))
        return replace(header, tracking_uri=sqlite_uri(store)) if store.is_file() else header

    def file_of(self, file: Mapping[str, Any]) -> Path:
        """Where the content of a file record lies."""
        return Path(os.path.normpath(self.folder / (file.get("path") or file["link"])))

    def from_here(self, path: Path) -> str:
        """A path as a record holds it."""
        inside = path.is_relative_to(self.folder.parent.parent)
        return os.path.relpath(path, self.folder) if inside else str(path)

    def lock(self, timeout: float = 0.0) -> bool:
        """Whether this process may write and deliver from now until :meth:`close`; False while another one does."""
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout:
            return False
        return True

    def close(self) -> None:
        """Close the journals and let other processes deliver them."""
        self.records.close()
        self.uploads.close()
        self._lock.release()

    def n_unsent(self) -> int:
        """Records that wait."""
        return self.records.n_unsent() + self.uploads.n_unsent()

    def reject(self, record: Record, reason: str) -> None:
        """Set a record aside. A copied file moves along, to a folder that no later copy takes."""
        if "file" in record:
            record = {"file": self._kept(record["file"])}
        append_whole(self.rejected, (json.dumps({"reason": reason, "record": record}) + "\n").encode())

    def _kept(self, file: dict[str, Any]) -> dict[str, Any]:
        content = file.get("content")
        path = self.file_of(file) if content is None else self.keep_content(content, file["name"])
        # Also one that was refused before: where the record says it lay is cleared.
        if path.parent.parent in (self.files, self._refused) and path.exists():
            self._refused.mkdir(exist_ok=True)
            path = path.rename(Path(tempfile.mkdtemp(dir=self._refused), path.name))
        return {"path": self.from_here(path), "folder": file["folder"]}

    def rejections(self) -> Iterator[tuple[Record, str]]:
        """Records that were set aside, each with the reason."""
        for path in (self._offered, self.rejected):
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    yield entry["record"], entry["reason"]

    def offer_rejected_again(self) -> None:
        """Put what was refused back behind everything else: a store may take today what it refused yesterday."""
        if self._offered.exists():  # a process was killed between the lines below
            self._offer()
        if self.rejected.exists():
            self.rejected.rename(self._offered)  # what is refused from now on goes to a new file
            self._offer()

    def _offer(self) -> None:
        again = [json.loads(line)["record"] for line in self._offered.read_text(encoding="utf-8").splitlines()]
        self.records.append([record for record in again if "file" not in record])
        self.uploads.append([record for record in again if "file" in record])
        self._offered.unlink()

    def wish_registration(self, known: Mapping[str, Any]) -> None:
        """Have the run's model registered by whoever delivers the last record; `known` tells how, and may speak of what is in `model`."""
        write_json(self._wish, known)

    @property
    def wants_registration(self) -> bool:
        return self._wish.exists()

    @property
    def wish(self) -> Wish:
        """What is wanted."""
        return Wish(self.folder.name, self.model, json.loads(self._wish.read_text(encoding="utf-8")))

    def registered(self) -> None:
        """Forget the wish; a spool that was kept for it alone goes."""
        self._wish.unlink(missing_ok=True)
        shutil.rmtree(self.model, ignore_errors=True)
        if self.folder.exists() and not (self.records.segments() or self.uploads.segments() or any(self.rejections())):
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep_content(self, content: bytes, name: str) -> Path:
        """Write a file into the spool, in a folder of its own, so that it keeps its name.

        Raises:
            OSError: the disk is full; nothing is left behind.
        """
        folder = self._new_folder()
        try:
            (folder / name).write_bytes(content)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder / name

    def keep_link(self, path: Path) -> Path | None:
        """The content that a file has now, by a second link to it.

        It costs no space, and stays when the file is replaced or removed. None where the disk has no such links, or the file is gone.
        """
        folder = self._new_folder()
        try:
            os.link(path, folder / path.name)
        except OSError:
            folder.rmdir()
            return None
        return folder / path.name

    def _new_folder(self) -> Path:
        number = sum(1 for _ in self.files.iterdir())
        while True:
            with contextlib.suppress(FileExistsError):
                (self.files / f"{number:06d}").mkdir()
                return self.files / f"{number:06d}"
            number += 1

    def drop_file(self, record: Record) -> None:
        """Remove the copy or link that was made for a file record; any other file is left alone."""
        path = self.file_of(record["file"])
        if path.parent.parent in (self.files, self._refused):
            shutil.rmtree(path.parent, ignore_errors=True)

    def remove(self) -> None:
        """Delete a delivered spool, whose lock this process holds. What was refused and what is wished stay."""
        if any(self.rejections()) or self.wants_registration:
            self.records.clear()
            self.uploads.clear()
            shutil.rmtree(self.files, ignore_errors=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        # Whoever waits for the lock notices that its file was replaced, and tries again.
        self.folder.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.release()


def left_over(work_dir: Path | str) -> list[Spool]:
    """All spools under a work folder, oldest first; also those of live runs."""
    folders = Path(work_dir, "spool").absolute().glob("*/header.json")
    return [Spool(header.parent) for header in sorted(folders, key=lambda path: path.stat().st_mtime)]
