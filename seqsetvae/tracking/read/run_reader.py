"""Reading runs back, all of them at once: every metric point with params, tags and alerts. Nothing here writes to the store.

with open_runs("sqlite:///mlflow.db") as reader:
    [run_id] = choose(reader.listing(), ["latest"], reader.uri)
    recorded = reader.read(run_id)
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.schema import UnknownSchemaError
from seqsetvae.tracking.connection.address import without_password
from seqsetvae.tracking.connection.opening import check_there
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.read.client_runs import ClientRuns
from seqsetvae.tracking.read.recorded_run import ListedRun
from seqsetvae.tracking.read.sql_runs import BUSY_SECONDS, SqlRuns

SQL_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
NAMED = 6
"""Runs that a message about an unknown run names."""
LATEST = "latest"
AFTER_PRETRAINING = ("finetune", "evaluate")
"""Kinds of runs that `latest` passes over where there is another: what is looked for is the training that may have collapsed."""
RunReader = SqlRuns | ClientRuns
"""A store to read from."""

_log = logging.getLogger(__name__)


@contextmanager
def open_runs(uri: str) -> Iterator[RunReader]:
    """The store at an address, opened for reading only: a database by SQL, also while runs write to it; a server by its API.

    Raises :class:`InputError` where there is no such file, or what is there cannot be read.
    """
    check_there(uri)
    with readable_errors(uri):
        yield reader_of(uri)


def reader_of(uri: str, busy_seconds: float = BUSY_SECONDS) -> RunReader:
    """The runs of a store: of a database by SQL, where its tables are those that the SQL is for, and by MLflow's client otherwise."""
    if not is_database(uri):
        return ClientRuns(uri)
    reader = SqlRuns(uri, busy_seconds)
    try:
        with reader.tables.connect():
            return reader
    except UnknownSchemaError as unknown:
        _say_once(without_password(uri), str(unknown))
    return ClientRuns(uri)


@cache
def _say_once(where: str, reason: str) -> None:
    _log.warning("%s is read by MLflow's own client, which takes longer: %s.", where, reason)


def is_database(uri: str) -> bool:
    """Whether a store is a database that can be read by SQL, and no server.

    >>> is_database("postgresql+psycopg://me@db/mlflow"), is_database("http://127.0.0.1:5000")
    (True, False)
    """
    return re.split("[:+]", uri, maxsplit=1)[0] in SQL_SCHEMES


def listed_runs(reader: RunReader, experiment: str | None) -> list[ListedRun]:
    """The runs that a command may be asked for, newest first.

    Under `mlflow run` the newest is the one that the command itself was given: it is left out.
    """
    own = os.environ.get("MLFLOW_RUN_ID")
    return [run for run in reader.listing(experiment) if run.run_id != own]


def choose(listing: Sequence[ListedRun], wanted: Sequence[str], uri: str) -> list[str]:
    """Ids of the runs that are meant, each followed by its children, no run twice.

    A run is meant by id or its beginning, by name (the newest of that name) or `latest`. Children of a rescued run are its rescues, of a
    study its trials.

    Raises :class:`InputError` naming what was looked for and where.

    >>> runs = [ListedRun("b2" * 16, "rescue", 2.0, "demo", "a1" * 16), ListedRun("a1" * 16, "first", 1.0, "demo")]
    >>> [one[:2] for one in choose(runs, ["first"], "sqlite:///mlflow.db")]
    ['a1', 'b2']
    >>> later = ListedRun("c3" * 16, "evaluate demo", 3.0, "demo", kind="evaluate")
    >>> [one[:2] for one in choose([later, *runs], ["latest"], "sqlite:///mlflow.db")]
    ['b2']
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
        return next((run for run in listing if run.kind not in AFTER_PRETRAINING), listing[0])
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
