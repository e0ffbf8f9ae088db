"""Reading runs back, all of them at once: every metric point with params, tags and alerts. Nothing here writes to the store.

with open_histories("sqlite:///mlflow.db") as store:
    [run_id] = choose(store.listing(), ["latest"], store.uri)
    history = store.read(run_id)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqsetvae.errors import InputError
from seqsetvae.tracking.connection import readable_errors, sqlite_path, without_password

SQL_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
NAMED = 6
"""Runs that a message about an unknown run names."""
LATEST = "latest"


@dataclass(frozen=True)
class Series:
    """All points of one metric in order of their step, each step once: of a step that was recorded twice the last written counts."""

    step_T: NDArray[np.int64]
    """Optimizer steps."""
    time_T: NDArray[np.float64]
    """Seconds since the epoch."""
    value_T: NDArray[np.float64]

    @classmethod
    def of(cls, steps: Any, milliseconds: Any, values: Any) -> Series:
        """From rows in the order in which they were written.

        >>> Series.of([2, 1, 2], [2000, 1000, 9000], [0.2, 0.1, 0.9]).value_T.tolist()
        [0.1, 0.9]
        """
        step_T, time_T = np.asarray(steps, np.int64), np.asarray(milliseconds, np.float64) / 1000.0
        order_T = np.lexsort((time_T, step_T))
        sorted_T = step_T[order_T]
        last_T = order_T[np.append(sorted_T[1:] != sorted_T[:-1], True)] if len(order_T) else order_T
        return cls(step_T[last_T], time_T[last_T], np.asarray(values, np.float64)[last_T])

    def __len__(self) -> int:
        return len(self.step_T)


@dataclass(frozen=True)
class ListedRun:
    """A run as a list of runs has it."""

    run_id: str
    name: str
    start_time: float
    """Seconds since the epoch."""
    experiment: str
    parent_id: str = ""


@dataclass(frozen=True)
class RunHistory:
    """Everything that a run has recorded, except its files."""

    run_id: str
    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    experiment: str
    start_time: float
    """Seconds since the epoch."""
    end_time: float | None
    """None while it runs."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Series]
    alerts: tuple[Mapping[str, Any], ...] = ()
    """Rows of the run's table of alerts, oldest first; none where there was no alert or nobody watched."""
    store: str = ""
    """Address of the store, without a password."""
    artifact_uri: str = field(default="", repr=False)

    @property
    def title(self) -> str:
        """Name, with enough of the id to tell runs of one name apart."""
        return f"{self.name} ({self.run_id[:8]})" if self.name else self.run_id


class HistoryStore(Protocol):
    """A store to read from."""

    uri: str

    def listing(self, experiment: str | None = None) -> list[ListedRun]:
        """The runs that are not deleted, newest first."""

    def read(self, run_id: str) -> RunHistory:
        """Everything about one run. Raises :class:`InputError` where it has no metric."""


@contextmanager
def open_histories(uri: str) -> Iterator[HistoryStore]:
    """The store at an address, opened for reading only: a database by SQL, also while runs write to it; a server by its API.

    Raises :class:`InputError` where there is no such file, or what is there cannot be read.
    """
    from seqsetvae.tracking.history_server import ServerHistories
    from seqsetvae.tracking.history_sql import SqlHistories

    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise InputError(
            f"There is no tracking store {path}. Give the one that the runs were recorded in with --tracking.tracking_uri or "
            "MLFLOW_TRACKING_URI, or change to the folder with its mlflow.db."
        )
    with readable_errors(uri):
        database = re.split("[:+]", uri, maxsplit=1)[0] in SQL_SCHEMES
        yield SqlHistories(uri) if database else ServerHistories(uri)


def choose(listing: Sequence[ListedRun], wanted: Sequence[str], uri: str) -> list[str]:
    """Ids of the runs that are meant: by id or its beginning, by name (the newest of that name) or `latest`; each followed by its children
    (a rescued run by its rescues, a study by its trials), no run twice.

    Raises :class:`InputError` naming what was looked for and where.

    >>> runs = [ListedRun("b2" * 16, "rescue", 2.0, "demo", "a1" * 16), ListedRun("a1" * 16, "first", 1.0, "demo")]
    >>> [one[:2] for one in choose(runs, ["first"], "sqlite:///mlflow.db")]
    ['a1', 'b2']
    """
    where = without_password(uri)
    if not listing:
        raise InputError(f"There are no runs in {where}.")
    oldest_first = sorted(listing, key=lambda run: run.start_time)
    chosen: dict[str, None] = {}
    for word in wanted:
        waiting = [_find(listing, word, where).run_id]
        while waiting:
            run_id = waiting.pop(0)
            chosen[run_id] = None
            waiting += [run.run_id for run in oldest_first if run.parent_id == run_id and run.run_id not in chosen]
    return list(chosen)


def _find(listing: Sequence[ListedRun], word: str, where: str) -> ListedRun:
    if word == LATEST:
        return listing[0]
    exact = [run for run in listing if run.run_id == word] or [run for run in listing if run.name == word]
    if exact:
        return exact[0]
    begun = [run for run in listing if len(word) >= 4 and run.run_id.startswith(word)]
    if len(begun) == 1:
        return begun[0]
    shown = begun or listing
    known = "; ".join(f"{run.run_id} {run.name!r}" for run in shown[:NAMED])
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    if begun:
        raise InputError(f"{len(begun)} runs in {where} have an id that begins with {word!r}: {known}{more}.")
    raise InputError(
        f"There is no run with the id or the name {word!r} in {where} (deleted ones do not count). Its newest runs: {known}{more}."
    )


def no_metrics(name: str, run_id: str, status: str, where: str) -> InputError:
    """What to say of a run without a single point."""
    return InputError(
        f"Run {run_id} {name!r} ({status}) in {where} has no metrics: there is nothing to analyze. If its records still wait on this "
        "machine, `seqsetvae sync` delivers them."
    )


def table_rows(text: str) -> tuple[dict[str, Any], ...]:
    """Rows of a table as MLflow stores one.

    >>> table_rows('{"columns": ["step", "level"], "data": [[10, "yellow"]]}')
    ({'step': 10, 'level': 'yellow'},)
    """
    table = json.loads(text)
    return tuple(dict(zip(table["columns"], row, strict=True)) for row in table["data"])


def alerts_file(folder: Path | None, artifact: str) -> tuple[dict[str, Any], ...]:
    """The alerts of a run whose artifacts lie on this machine; none where the file is missing."""
    path = None if folder is None else folder / artifact
    return table_rows(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else ()
