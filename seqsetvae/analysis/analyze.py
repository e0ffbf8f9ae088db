"""`analyze`: from the store to figures, a text and a report, for one run, several, or a study with its trials."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqsetvae import names
from seqsetvae.analysis.collapse_text import collapse_text
from seqsetvae.analysis.output_folder import writable, write
from seqsetvae.analysis.replay import replay
from seqsetvae.analysis.report import render_report
from seqsetvae.analysis.run_analysis import RunAnalysis, analyze_run
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import TrackingConfig
from seqsetvae.console import attach
from seqsetvae.errors import InputError
from seqsetvae.figures import style
from seqsetvae.figures.comparison import comparison
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.histories import RunReader, choose, listed_runs, open_histories
from seqsetvae.tracking.read.run_history import RunHistory

_log = logging.getLogger(__name__)

REPORT, TEXT, COMPARISON = "report.html", "collapse_analysis.txt", "comparison.png"
SAVE_DIR = "analyze.save_dir"
OF_TRAINING = (names.TRAIN_LOSS, names.VAL_LOSS, names.COLLAPSE_KL)


def analyze(
    tracking: TrackingConfig, run: Sequence[str], save_dir: str = "training_analysis", log: bool = False
) -> list[RunAnalysis]:
    """Read runs from the store, write what is to be seen of them, and print the diagnosis.

    Args:
        tracking: The store to read from.
        run: Ids, beginnings of ids, names, or `latest`.
        save_dir: Folder for the figures, collapse_analysis.txt and report.html; made if it is missing. With several runs each gets a
            folder of its own in it, beside the report of all.
        log: Also put the files into each run, as artifacts in its folder analysis/.

    Raises:
        InputError: no such run, a run without metrics, a store that cannot be read, a folder that cannot be written.
    """
    attach()
    uri = resolve_uri(tracking)
    folder = writable(Path(save_dir), SAVE_DIR)
    started = time.perf_counter()
    with open_histories(uri) as store:
        histories = read_runs(store, choose(listed_runs(store, tracking.experiment), run, uri))
        known = {one.run_id: one for one in histories}
        before = [updates_before(store, one, known) for one in histories]
    points = sum(len(series) for one in histories for series in one.metrics.values())
    _log.info(
        f"Read {points:,} points of {_runs(len(histories))} from {histories[0].store} in {time.perf_counter() - started:.1f} s."
    )
    analyses = [analyze_run(*pair) for pair in zip(histories, before, strict=True)]
    one = len(analyses) == 1
    for analysis in analyses:
        files = files_of(analysis)
        write(folder if one else folder / folder_name(analysis.history), files, SAVE_DIR)
        if log:
            from seqsetvae.tracking.write.attachments import attach_files

            attach_files(uri, analysis.history.run_id, files, names.ARTIFACT_ANALYSIS)
        _log.info(f"\n{analysis.history.title}: {analysis.verdict}")
        _log.info(
            "".join(f"{finding}\n" for finding in analysis.findings) + "\n".join([*analysis.notes, analysis.agreement])
        )
    if not one:
        write(folder, files_of_all(analyses), SAVE_DIR)
    where = (
        f" and among the artifacts of {'the run' if one else 'each run'}, in {names.ARTIFACT_ANALYSIS}/" if log else ""
    )
    _log.info(f"\nReport: {folder / REPORT}{where}")
    return analyses


def read_runs(store: RunReader, run_ids: Sequence[str]) -> list[RunHistory]:
    """The runs of training among these.

    One that was asked for alone says what it lacks; a study's own run stands for its trials, and a trial that has recorded nothing is
    passed over.
    """
    if len(run_ids) == 1:
        return [store.read(run_ids[0])]
    found, empty = [], []
    for run_id in run_ids:
        try:
            history = store.read(run_id)
        except InputError as error:
            empty.append(error)
            continue
        if any(key in history.metrics for key in OF_TRAINING):
            found.append(history)
    if not found:
        raise empty[0] if empty else InputError(f"None of the runs {', '.join(run_ids)} has metrics of a training.")
    for passed_over in empty:
        _log.info(f"Passed over: {passed_over}")
    return found


def updates_before(
    store: RunReader, history: RunHistory, known: Mapping[str, RunHistory]
) -> tuple[CollapseStatistics, ...]:
    """Of a rescue, what the detector had seen in the runs that it continues; nothing where these are gone."""
    rescued = history.tags.get(names.TAG_RESCUED_RUN)
    if not rescued:
        return ()
    try:
        earlier = known[rescued] if rescued in known else store.read(rescued)
    except InputError:
        return ()
    again = replay(earlier, updates_before(store, earlier, known))
    return again.statistics if again is not None else ()


def files_of(analysis: RunAnalysis) -> dict[str, bytes]:
    """What is written of one run, by file name."""
    return {
        **analysis.figures,
        TEXT: collapse_text(analysis).encode(),
        REPORT: render_report([analysis]).encode(),
    }


def files_of_all(analyses: Sequence[RunAnalysis]) -> dict[str, bytes]:
    """What is written of several runs together."""
    with style.DRAWING:
        figure = comparison([one.history for one in analyses])
        png = None if figure is None else style.png(figure)
    return {
        **({COMPARISON: png} if png is not None else {}),
        TEXT: "\n".join(map(collapse_text, analyses)).encode(),
        REPORT: render_report(analyses, png).encode(),
    }


def folder_name(history: RunHistory) -> str:
    """A name for a folder of a run: readable, and no other run's.

    >>> folder_name(RunHistory("26274ef4228c42b5", "pretrain beta=50 rescue 1", "", "", 0.0, None, {}, {}, {}))
    'pretrain_beta=50_rescue_1_26274ef4'
    """
    return re.sub(r"[^\w.=-]+", "_", f"{history.name}_{history.run_id[:8]}").strip("_")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
