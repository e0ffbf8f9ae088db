"""`Run`: an open MLflow run. Whatever is logged here is queued in memory and reaches the store by way of the spool."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqsetvae import names, palette
from seqsetvae.tracking.compat.experiment_page import run_page, runs_page
from seqsetvae.tracking.compat.image_series import image_series, small, thumbnail
from seqsetvae.tracking.connection.address import local_folder, without_password
from seqsetvae.tracking.params import flatten
from seqsetvae.tracking.write.spool import Wish
from seqsetvae.tracking.write.spool_writer import CHECKPOINTS, SpoolWriter

if TYPE_CHECKING:
    from seqsetvae.tracking.write.logger import MlflowLogger

_log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
QUIET_SECONDS = 2.0
"""Deliveries at the end that take longer than this are announced."""


class Run:
    """Made by :func:`seqsetvae.tracking.write.start.start_run`. Leaving its `with` block ends the run with the status that fits."""

    def __init__(
        self,
        *,
        tracking_uri: str,
        run_id: str,
        experiment_id: str,
        experiment_name: str,
        artifact_uri: str,
        work_dir: Path,
        writer: SpoolWriter | None,
        known_params: set[str],
        finish_seconds: float,
        start_time: int = 0,
        color: str = palette.BLUE,
    ) -> None:
        """`writer` None: a rank that records nothing. `known_params`: keys that the store has already, and never changes."""
        self.tracking_uri = tracking_uri
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.experiment_name = experiment_name
        self.work_dir = work_dir
        self.start_time = start_time
        """Milliseconds since the epoch, of its first part."""
        self.color = color
        """In MLflow's charts, where nothing is wrong with it: another one than that of the runs before it."""
        self.local_artifact_dir = local_folder(artifact_uri)
        """Where the run's artifacts lie, if that is a folder of this machine."""
        self._writer = writer
        self._known_params = known_params
        self._finish_seconds = finish_seconds
        self._tables: dict[str, dict[str, str]] = {}
        self._not_written: list[str] = []
        self._ended = writer is None
        if writer is not None:
            atexit.register(self._end_at_exit)

    @classmethod
    def silent(cls, tracking_uri: str, run_id: str, work_dir: Path) -> Run:
        """The run as seen by any rank but 0."""
        return cls(
            tracking_uri=tracking_uri,
            run_id=run_id,
            experiment_id="",
            experiment_name="",
            artifact_uri="",
            work_dir=work_dir,
            writer=None,
            known_params=set(),
            finish_seconds=0.0,
        )

    @property
    def checkpoint_dir(self) -> Path:
        """Where to write checkpoints.

        Among the run's artifacts, which shows them without a second copy; or, when the store is remote, in the work folder, from where
        :meth:`log_file` uploads them.
        """
        return (self.local_artifact_dir or self.work_dir / self.run_id) / names.ARTIFACT_CHECKPOINTS

    @cached_property
    def logger(self) -> MlflowLogger:
        """For `Trainer(logger=...)`."""
        from seqsetvae.tracking.write.logger import MlflowLogger

        return MlflowLogger(
            experiment_name=self.experiment_name,
            run_id=self.run_id,
            folder=self.work_dir / self.run_id,
            log_metrics=self.log_metrics,
            log_params=self.log_params,
        )

    def address(self, page: str) -> str:
        """Of a page of :mod:`seqsetvae.tracking.compat.experiment_page`: on the server, or where `mlflow ui` serves a local store."""
        server = self.tracking_uri if self.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{without_password(server).rstrip('/')}/#{page}"

    @property
    def where_to_look(self) -> str:
        """Lines for people: this run, and all runs beside each other; before them the command that serves them, where no server does."""
        command = f"mlflow ui --backend-store-uri {without_password(self.tracking_uri)} --host 127.0.0.1"
        lines = {
            **({} if self.tracking_uri.startswith("http") else {"serve": command}),
            "look": self.address(run_page(self.experiment_id, self.run_id)),
            "compare": self.address(runs_page(self.experiment_id)),
        }
        return "\n".join(f"  {name:<8}{text}" for name, text in lines.items())

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Queue numbers or one-element tensors (also on a GPU: nothing waits for it here). Repetitions of a step are dropped."""
        if self._writer is not None:
            self._writer.log_metrics(metrics, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Queue settings, flattened with `/`. A key that the run has already is left as it is: MLflow never changes a param."""
        fresh = {key: text for key, text in flatten(params).items() if key not in self._known_params}
        self._known_params |= fresh.keys()
        if fresh:
            self._put("params", fresh)

    def set_tag(self, key: str, value: object) -> None:
        self._put("tags", {key: str(value)})

    def log_text(self, text: str, artifact_path: str) -> None:
        """Queue a text file; `artifact_path` is its path among the run's artifacts, with its name."""
        self.log_bytes(text.encode(), artifact_path)

    def log_figure(self, png: bytes, path: str) -> None:
        """A figure, and beside it one that is narrow enough for the run's page."""
        self.log_bytes(png, path)
        self.log_bytes(thumbnail(png), small(path))

    def log_bytes(self, content: bytes, artifact_path: str) -> None:
        """Queue a file from its content. A later one of the same path replaces it."""
        self._put("file", {"content": content, "name": Path(artifact_path).name, "folder": _folder_of(artifact_path)})

    def log_file(self, path: Path | str, artifact_path: str | None = None, *, copy: bool = True) -> None:
        """Queue an upload; `artifact_path` is the target with its name (None: the file's own name).

        With `copy` the file is read now and may change afterwards. Without it (large files such as checkpoints, which keep their name)
        it must stay until it was delivered; a newer content under the same name is what arrives. A file that lies among the run's
        local artifacts already is there.
        """
        source = Path(path).absolute()
        target = artifact_path or source.name
        if self.local_artifact_dir is not None and source == self.local_artifact_dir / target:
            return
        if copy:
            self.log_bytes(source.read_bytes(), target)
        elif source.name != Path(target).name:
            raise ValueError(f"{source} cannot become {target} without a copy: the names differ.")
        else:
            self._put("file", {"path": str(source), "folder": _folder_of(target)})

    def log_image(self, png: bytes | Path | str, key: str, step: int) -> None:
        """Queue a figure for the run's image panel, where `key` gets a slider over steps.

        Takes a PNG file or its content. A second figure of the same step, such as a continued run draws, replaces the first.
        """
        content = png if isinstance(png, bytes) else Path(png).read_bytes()
        for path, part in image_series(content, key, step, self.start_time + step, f"{self.run_id[:8]}-{step}").items():
            self.log_bytes(part, path)
        self.set_tag("mlflow.loggedImages", True)

    def log_table(self, table: Mapping[str, Any], artifact_path: str) -> None:
        """Queue a table, `{"columns": [...], "data": [[...], ...]}` of plain values.

        It has the form in which MLflow's UI shows one and `mlflow.load_table` reads one. A later table of the same path replaces it.
        """
        self.log_text(json.dumps(table, ensure_ascii=False), artifact_path)
        # By this tag MLflow knows a table among the artifacts; it lists all tables of the run.
        self._tables[artifact_path] = {"path": artifact_path, "type": "table"}
        self.set_tag("mlflow.loggedArtifacts", json.dumps(list(self._tables.values())))

    def log_dataset(
        self,
        name: str,
        digest: str,
        source: str,
        *,
        context: str = "training",
        schema: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue what the run has read: shown under "Datasets" and searchable by digest (at most 36 characters)."""
        self._put(
            "dataset",
            {
                "name": name,
                "digest": digest[:36],
                "source_type": "local",
                "source": json.dumps({"uri": source}),
                "schema": json.dumps(schema) if schema is not None else None,
                "profile": json.dumps(profile) if profile is not None else None,
                "context": context,
            },
        )

    def describe(self, markdown: str) -> None:
        """The description on the run's page."""
        self.set_tag("mlflow.note.content", markdown)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait up to `timeout` seconds for delivery of what was logged so far. Return whether it has arrived."""
        return self._writer is None or self._writer.flush(timeout)

    def persist(self, timeout: float = 10.0) -> bool:
        """Wait until what was logged so far is on the local disk, where even `kill -9` leaves it. Takes milliseconds."""
        return self._writer is None or self._writer.persist(timeout)

    def upload_checkpoints(self) -> None:
        """Queue what the folder of checkpoints holds and was not uploaded yet. In a local store it lies among the artifacts already."""
        if self._writer is not None and self.local_artifact_dir is None:
            self._writer.put(CHECKPOINTS)

    def register_when_delivered(
        self, known: Mapping[str, Any] | None = None, export: Callable[[Path], None] | None = None
    ) -> Wish | None:
        """Should the store be away at the end, or the process be killed, `sync` registers the model once it has delivered everything.

        Args:
            known: what has to be known for it.
            export: writes the model into a folder; None: it is among the run's checkpoints.

        Returns:
            What is wished; None on a copy of the run, and on a full disk, after which it is registered by hand.
        """
        if self._writer is None or self._writer.is_copy:
            return None
        spool = self._writer.spool
        try:
            if export is not None:
                export(spool.model)
            spool.wish_registration(known or {})
        except OSError as full:
            if export is not None:
                self.not_written(f"the model, which is not registered ({full.strerror or full})")
            return None
        return spool.wish

    def registered(self) -> None:
        """The model is registered, or will not be: nothing is left to `sync`."""
        if self._writer is not None:
            self._writer.spool.registered()

    def not_written(self, what: str) -> None:
        """Remember a file that could not be written; :attr:`losses` names it at the end."""
        self._not_written.append(what)

    @property
    def losses(self) -> tuple[str, ...]:
        """After the end: what is in no store and on no disk, in words."""
        lost = self._writer.lost if self._writer is not None else ""
        return (*self._not_written, *([f"{lost} of run {self.run_id}"] if lost else []))

    def finish(self, status: Status = "FINISHED", reason: str = "finished") -> bool:
        """End the run; once it is ended a call does nothing. Return whether everything, the status included, has arrived in the store.

        What has not stays on disk for `seqsetvae sync`, and a message says so. A call that a signal breaks off has not ended the run:
        the next one does. From the moment of delivery on, the status stays that of the first.
        """
        if self._ended or self._writer is None or self._writer.is_copy:
            return True
        self.set_tag(names.TAG_ENDED_BY, reason)
        self._put("status", {"status": status, "end_time": int(time.time() * 1000)})
        delivered = self._deliver_the_rest(self._writer)
        self._ended = True
        atexit.unregister(self._end_at_exit)
        os.environ.pop("SEQSETVAE_RUN_ID", None)
        # What the store refused in its last moments is offered again by `sync` alone.
        refused = [why for _, why in self._writer.spool.rejections()]
        if not delivered or refused:
            _say(
                f"The tracking store has not taken everything yet ({self._writer.trouble or next(iter(refused), 'it is slow')}). The rest "
                f"is kept in {self._writer.spool.folder}; deliver it with:\n"
                f"  seqsetvae sync --tracking.work_dir {os.path.relpath(self.work_dir)}"
            )
        if self._writer.lost:
            _say(
                f"LOST, because neither the disk of {self._writer.spool.folder} nor the store took them: {self._writer.lost}."
            )
        return delivered and not refused

    def _deliver_the_rest(self, writer: SpoolWriter) -> bool:
        """Wait for delivery, in silence only for a moment. Return whether all has arrived."""
        delivered = writer.close(min(QUIET_SECONDS, self._finish_seconds))
        if not delivered and self._finish_seconds > QUIET_SECONDS:
            _say(f"Delivering the last records of run {self.run_id}, for up to {self._finish_seconds:.0f} s ...")
            delivered = writer.close(self._finish_seconds - QUIET_SECONDS)
        if not delivered:
            writer.give_up()
        return delivered

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish("KILLED", "SIGINT")
        elif hasattr(error, "signum"):  # of whatever floor: a signal has asked for the end
            self.finish("KILLED", str(error))
        elif isinstance(error, SystemExit) and error.code in (None, 0):
            self.finish()
        else:
            self.finish("FAILED", kind.__name__)

    def _end_at_exit(self) -> None:
        self.finish("FAILED", "the process ended without finishing the run")

    def _put(self, kind: str, content: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer.put({kind: content})


def _folder_of(artifact_path: str) -> str:
    return re.sub(r"^\.$", "", Path(artifact_path).parent.as_posix())


def _say(message: str) -> None:
    _log.warning(message)
