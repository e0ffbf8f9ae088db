"""`monitor`: a live dashboard of runs, straight from the store, in the terminal or on a web page; or one look at them in words."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from seqsetvae.config import TrackingConfig
from seqsetvae.console import attach
from seqsetvae.dashboard.demo import RUN_ID, SECONDS, DemoRun
from seqsetvae.dashboard.status import status_text
from seqsetvae.dashboard.trials import trials_table
from seqsetvae.dashboard.view import View
from seqsetvae.dashboard.watch import SeenRun, WatchList, seen_run
from seqsetvae.errors import InputError
from seqsetvae.extras import require
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.recorded_run import ListedRun
from seqsetvae.tracking.read.run_reader import choose, listed_runs, open_runs

_log = logging.getLogger(__name__)

SHORTEST, LONGEST = 0.2, 600.0
"""Seconds between two looks."""
FEWEST, MOST = 10, 2000
"""Points of each metric: more of them than a screen has dots show nothing."""


@dataclass(frozen=True)
class MonitorResult:
    """What was shown."""

    runs: tuple[View, ...]
    """Each run that was looked at, as it was last seen."""
    picture: Path | None = None
    """The file that was saved."""

    def __repr__(self) -> str:
        shown = [f"{run.title} {'not watched' if run.level is None else run.level.word}" for run in self.runs[:3]]
        return f"<MonitorResult of {len(self.runs)} runs: {', '.join(shown)}{', ...' if len(self.runs) > 3 else ''}>"


def monitor(
    tracking: TrackingConfig,
    run: Sequence[str],
    update_interval: float = 2.0,
    max_points: int = 1000,
    once: bool = False,
    save: str | None = None,
    demo: bool = False,
    web: bool = False,
    host: str = "127.0.0.1",
    port: int = 8501,
) -> MonitorResult:
    """Show runs until told to quit. Nothing is written to the store.

    Args:
        tracking: The store to read from.
        run: Ids, beginnings of ids, names, or `latest`.
        update_interval: Seconds between two looks at the run that is shown.
        max_points: The last points of each metric to show, at most 2000.
        once: Print how each run is doing, and end. So it is also where the output is no terminal.
        save: A PNG file to draw the run's collapse metrics to, and end.
        demo: Show a simulated run that collapses. Needs no store.
        web: Show a web page instead, on this machine.
        host: Address that the page is served on. Anyone who reaches another one than 127.0.0.1 can read your runs.
        port: Port of the page.

    Raises:
        InputError: no such run, a store that cannot be read at the start, a port in use, a file that cannot be written.
    """
    attach()
    if not SHORTEST <= update_interval <= LONGEST:
        raise InputError(
            f"--monitor.update_interval is {update_interval:g}, but must be from {SHORTEST:g} to {LONGEST:g} seconds (the guides count "
            "milliseconds: their 2000 is 2 here)."
        )
    if not FEWEST <= max_points <= MOST:
        raise InputError(f"--monitor.max_points is {max_points}, but must be from {FEWEST} to {MOST}.")
    one_look = save is not None or (not web and (once or not sys.stdout.isatty()))
    ended = SECONDS if one_look else 0.0  # who looks once sees how the demo ends
    simulated = SeenRun(RUN_ID, "simulated collapse", DemoRun(started=time.time() - ended))
    watch = WatchList([simulated]) if demo else watch_of(tracking, run, max_points)
    if save is not None:
        from seqsetvae.dashboard.picture import save_picture

        _log.info(f"Saved {save_picture(watch.runs[0], Path(save))}")
    elif web:
        require("monitor", "monitor --web")
        from seqsetvae.dashboard.web import serve

        serve(watch, update_interval, host, free(host, port))
    elif one_look:
        _log.info("\n\n".join(in_words(watch)))
    else:
        require("monitor", "monitor, other than with --once or --save,")
        from seqsetvae.dashboard.terminal import TerminalDashboard

        TerminalDashboard(watch, update_interval).run()
    views = tuple(run.view for run in watch.runs if run.view is not None)
    return MonitorResult(views, None if save is None else Path(save))


def watch_of(tracking: TrackingConfig, wanted: Sequence[str], points: int) -> WatchList:
    """The runs that are meant, in the order in which they are asked for."""
    uri = resolve_uri(tracking)

    def listed() -> list[ListedRun]:
        with open_runs(uri) as reader:
            return listed_runs(reader, tracking.experiment)

    def join(run_id: str, name: str) -> SeenRun:
        return seen_run(uri, run_id, name, points)

    listing = listed()
    by_id = {one.run_id: one for one in listing}
    meant = choose(listing, wanted, uri)
    studies = {one for one in meant if by_id[one].kind == "tune"}

    def begun() -> list[tuple[str, str]]:
        return [(one.run_id, one.name) for one in reversed(listed()) if one.parent_id in studies]

    runs = [join(one, by_id[one].name) for one in trials_for_studies(meant, listing)]
    return WatchList(runs, join, begun if studies else None)


def trials_for_studies(chosen: Sequence[str], listing: Sequence[ListedRun]) -> list[str]:
    """The same runs, but instead of a study, which measures nothing itself, its trials, the newest first."""
    by_id = {one.run_id: one for one in listing}
    studies = {by_id[one].parent_id for one in chosen} & {one for one in chosen if by_id[one].kind == "tune"}
    newest_first = sorted(chosen, key=lambda one: -by_id[one].start_time if by_id[one].parent_id in studies else -inf)
    return [one for one in newest_first if one not in studies]


def in_words(watch: WatchList) -> Iterator[str]:
    """Every run; of the trials of a study a table, and the newest of them."""
    looks = list(watch.look_at_all())
    trials = watch.trials
    newest = max(trials, key=lambda one: one.start_time, default=None)
    if newest is not None:
        yield trials_table(trials)
    for run, view in looks:
        if run.recorded is newest or run.recorded not in trials:
            yield status_text(view)


def free(host: str, port: int) -> int:
    """The port, if it can be listened on. Raises :class:`InputError` where it cannot."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"--monitor.port {port} of {host} cannot be listened on: {reason}. Choose another one with --monitor.port."
            ) from error
    return port
