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
from seqsetvae.config.figures import ON_SCREEN, FigureConfig
from seqsetvae.console import attach
from seqsetvae.errors import InputError
from seqsetvae.figures import style
from seqsetvae.figures.comparison import comparison
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.run_reader import RunReader, choose, listed_runs, open_runs

_log = logging.getLogger(__name__)

REPORT, TEXT, COMPARISON = "report.html", "collapse_analysis.txt", "comparison.png"
SAVE_DIR = "analyze.save_dir"
OF_TRAINING = (names.TRAIN_LOSS, names.VAL_LOSS, names.COLLAPSE_KL)


def analyze(
    tracking: TrackingConfig,
    run: Sequence[str],
    save_dir: str = "training_analysis",
    log: bool = False,
    figure: FigureConfig = ON_SCREEN,
) -> list[RunAnalysis]:
    """Read runs from the store, write what is to be seen of them, and print the diagnosis.

    Args:
        tracking: The store to read from.
        run: Ids, beginnings of ids, names, or `latest`.
        save_dir: Folder for the figures, collapse_analysis.txt and report.html; made if it is missing. With several runs each gets a
            folder of its own in it, beside the report of all.
        log: Also put the files into each run, as artifacts in its folder analysis/.
        figure: How figures are written.

    Raises:
        InputError: no such run, a run without metrics, a store that cannot be read, a folder that cannot be written.
    """
    attach()
    uri = resolve_uri(tracking)
    folder = writable(Path(save_dir), SAVE_DIR)
    started = time.perf_counter()
    with open_runs(uri) as reader:
        runs = read_runs(reader, choose(listed_runs(reader, tracking.experiment), run, uri))
        known = {one.run_id: one for one in runs}
        before = [updates_before(reader, one, known) for one in runs]
    points = sum(len(series) for one in runs for series in one.metrics.values())
    _log.info(
        f"Read {points:,} points of {_runs(len(runs))} from {runs[0].store} in {time.perf_counter() - started:.1f} s."
    )
    analyses = [analyze_run(*pair) for pair in zip(runs, before, strict=True)]
    one = len(analyses) == 1
    for analysis in analyses:
        files = files_of(analysis, figure)
        write(folder if one else folder / folder_name(analysis.run), files, SAVE_DIR)
        if log:
            from seqsetvae.tracking.write.attachments import attach_files

            attach_files(uri, analysis.run.run_id, files, names.ARTIFACT_ANALYSIS)
        _log.info(f"\n{analysis.run.title}: {analysis.verdict}")
        _log.info(
            "".join(f"{finding}\n" for finding in analysis.findings) + "\n".join([*analysis.notes, analysis.agreement])
        )
    if not one:
        write(folder, files_of_all(analyses, figure), SAVE_DIR)
    where = (
        f" and among the artifacts of {'the run' if one else 'each run'}, in {names.ARTIFACT_ANALYSIS}/" if log else ""
    )
    _log.info(f"\nReport: {folder / REPORT}{where}")
    return analyses


def read_runs(reader: RunReader, run_ids: Sequence[str]) -> list[RecordedRun]:
    """The runs of training among these.

    One that was asked for alone says what it lacks; a study's own run stands for its trials, and a trial that has recorded nothing is
    passed over.
    """
    if len(run_ids) == 1:
        return [reader.read(run_ids[0])]
    found, empty = [], []
    for run_id in run_ids:
        try:
            recorded = reader.read(run_id)
        except InputError as error:
            empty.append(error)
            continue
        if any(key in recorded.metrics for key in OF_TRAINING):
            found.append(recorded)
    if not found:
        raise empty[0] if empty else InputError(f"None of the runs {', '.join(run_ids)} has metrics of a training.")
    for passed_over in empty:
        _log.info(f"Passed over: {passed_over}")
    return found


def updates_before(
    reader: RunReader, recorded: RecordedRun, known: Mapping[str, RecordedRun]
) -> tuple[CollapseStatistics, ...]:
    """Of a rescue, what the detector had seen in the runs that it continues; nothing where these are gone."""
    rescued = recorded.tags.get(names.TAG_RESCUED_RUN)
    if not rescued:
        return ()
    try:
        earlier = known[rescued] if rescued in known else reader.read(rescued)
    except InputError:
        return ()
    again = replay(earlier, updates_before(reader, earlier, known))
    return again.statistics if again is not None else ()


def files_of(analysis: RunAnalysis, figure: FigureConfig) -> dict[str, bytes]:
    """What is written of one run, by file name."""
    return {
        **written(analysis.drawings, analysis.figures, figure),
        TEXT: collapse_text(analysis).encode(),
        REPORT: render_report([analysis]).encode(),
    }


def written(
    drawings: Mapping[str, style.Drawing], on_screen: Mapping[str, bytes], figure: FigureConfig
) -> Mapping[str, bytes]:
    """Figures as files; those for the screen are drawn already, for the report."""
    return on_screen if figure == ON_SCREEN else style.files(drawings, figure)


def files_of_all(analyses: Sequence[RunAnalysis], figure: FigureConfig) -> dict[str, bytes]:
    """What is written of several runs together."""
    with style.DRAWING:
        compared = comparison([one.run for one in analyses])
        png = None if compared is None else style.png(compared)
    return {
        **({} if compared is None or png is None else written({COMPARISON: compared}, {COMPARISON: png}, figure)),
        TEXT: "\n".join(map(collapse_text, analyses)).encode(),
        REPORT: render_report(analyses, png).encode(),
    }


def folder_name(recorded: RecordedRun) -> str:
    """A name for a folder of a run: readable, and no other run's.

    >>> folder_name(RecordedRun("26274ef4228c42b5", "pretrain beta=50 rescue 1", "", "", 0.0, None, {}, {}, {}))
    'pretrain_beta=50_rescue_1_26274ef4'
    """
    return re.sub(r"[^\w.=-]+", "_", f"{recorded.name}_{recorded.run_id[:8]}").strip("_")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
