"""What the study's parent run keeps: names, metrics, tables, figures, and the winner's settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial

from optuna.study import Study

from seqsetvae import names
from seqsetvae.analysis.text_table import text_table
from seqsetvae.figures import study as study_figures
from seqsetvae.tracking.compat.experiment_page import artifact_links, picture, run_page
from seqsetvae.tracking.compat.image_series import thumbnail
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.vanished import mend_stale_runs
from seqsetvae.tuning.child_runs import settle_run
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.results import (
    COLUMNS,
    Results,
    importance,
    read_results,
    row_of,
    table_rows,
    winning_config,
)

_log = logging.getLogger(__name__)

SHOWN = ("history", "parallel_coordinates")
"""Figures in the description."""


class ParentRun:
    """Writes to the parent run, and says it in words.

    Args:
        run: the open parent run.
        job: what the study is about.
    """

    def __init__(self, run: Run, job: Job) -> None:
        self.run = run
        self.job = job

    def heading(self) -> str:
        """Before the first trial."""
        tune = self.job.tune
        text = (
            f"Study {self.job.study}: {tune.n_trials} trials of {self.job.total_steps} steps, {tune.n_workers} workers here\n"
            f"  run     {self.run.run_id}\n{self.run.where_to_look}"
        )
        self.run.describe(f"Optuna study `{self.job.study}`: {tune.n_trials} trials of {self.job.total_steps} steps.")
        return text

    def seen(self, study: Study) -> set[int]:
        """Numbers of the trials that had ended before."""
        return {one.number for one in study.get_trials(deepcopy=False) if one.state.is_finished()}

    def news(self, study: Study, seen: set[int]) -> list[str]:
        """A line for each trial that has ended since; their numbers are added to `seen`. Metrics of the study go to the parent run."""
        lines = []
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished() or trial.number in seen:
                continue
            seen.add(trial.number)
            row = row_of(trial)
            nll = "" if row.val_recon is None else f"  validation NLL {row.val_recon:.4g}"
            infeasible = "" if row.feasible or row.state != "complete" else ", but latents are not in use"
            reason = f": {row.reason}" if row.reason else ""
            lines.append(
                f"trial {row.number:3d}  {row.state}{infeasible}{nll}  step {row.steps} of {row.planned_steps}{reason}"
            )
        if lines:
            self._metrics(study)
        return lines

    def standing(self, study: Study) -> tuple[int, str]:
        """Trials that came to a result, and the best of them in words."""
        results = read_results(study)
        best = results.best
        shown = "none yet" if best is None else f"validation NLL {best.val_recon:.4g} (trial {best.number})"
        return results.count("complete") + results.count("pruned"), shown

    def final(self, study: Study) -> Results:
        """Tables, figures, importance and the winner's settings; prints the summary."""
        results = read_results(study)
        run = self.run
        self._metrics(study)
        run.log_table({"columns": list(COLUMNS), "data": table_rows(results)}, names.ARTIFACT_TRIALS)
        shares = importance(study)
        for key, share in shares.items():
            run.log_metrics({f"{names.STUDY_IMPORTANCE}/{key}": share}, len(results.rows))
        figures = self._figures(results, shares)
        for name, draw in figures.items():
            self._put_figure(name, draw)
        if results.best is not None:
            run.set_tag(names.TAG_BEST_RUN, results.best.run_id)
            run.log_text(self.best_config(results), names.ARTIFACT_BEST_CONFIG)
        if self.job.tune.goal == "pareto" and results.winners:
            self._front(results)
        run.describe(self._description(results, figures))
        _log.info(self.summary(results))
        return results

    def best_config(self, results: Results) -> str:
        """YAML of the winner's settings; empty without a winner."""
        return winning_config(self.job, results.best) if results.best is not None else ""

    def summary(self, results: Results) -> str:
        """The table at the end, with links into the UI."""
        rows = [[*row[:-1], self._link(str(row[-1]))] for row in table_rows(results)]
        table = text_table(COLUMNS, rows)
        return f"\n{table}\n\n{self._verdict(results)}\n{self.run.where_to_look}"

    def _counts(self, results: Results) -> str:
        counts = ", ".join(f"{results.count(state)} {state}" for state in ("complete", "pruned", "failed"))
        return f"{counts}; pruning saved {100 * results.compute_saved:.0f} % of the planned steps."

    def _verdict(self, results: Results) -> str:
        saved = self._counts(results)
        if results.best is None:
            return f"{saved}\nNo trial keeps the constraints."
        best = results.best
        front = f" The front has {len(results.winners)} trials, marked *." if self.job.tune.goal == "pareto" else ""
        return (
            f"{saved}\nBest: trial {best.number}, validation NLL {best.val_recon:.4g} nats per set.{front} Its settings: "
            f"{names.ARTIFACT_BEST_CONFIG} of run {self.run.run_id}"
        )

    def _description(self, results: Results, figures: Collection[str]) -> str:
        """Markdown: the winner first, since the UI folds the rest away."""
        run, best = self.run, results.best
        head = "🔴 **No trial keeps the constraints.**"
        if best is not None:
            page = run_page(run.experiment_id, best.run_id)
            head = f"🏆 **[Trial {best.number}](#{page}): validation NLL {best.val_recon:.4g} nats per set.**"
        files = {names.ARTIFACT_TRIALS: "all trials"}
        if best is not None:
            files |= {names.ARTIFACT_BEST_CONFIG: "the winner's settings, for `seqsetvae pretrain --config`"}
        shown = [name for name in SHOWN if name in figures]
        return "\n\n".join(
            [
                f"{head} {self._counts(results)}",
                artifact_links(run.experiment_id, run.run_id, files),
                *(picture(run.run_id, f"study/{name}_small.png", name.replace("_", " ")) for name in shown),
                f"Optuna study `{self.job.study}`, {self.job.tune.n_trials} trials of {self.job.total_steps} steps.",
            ]
        )

    def _front(self, results: Results) -> None:
        rows = [row for row in table_rows(results) if str(row[0]).endswith("*")]
        self.run.log_table({"columns": list(COLUMNS), "data": rows}, names.ARTIFACT_PARETO)
        for number in results.winners:
            self.run.log_text(winning_config(self.job, results.row(number)), f"study/pareto/trial_{number}.yaml")

    def _link(self, run_id: str) -> str:
        """Where a run is in the UI that the parent's link leads to."""
        return self.run.address(run_page(self.run.experiment_id, run_id)) if run_id else ""

    def _metrics(self, study: Study) -> None:
        results = read_results(study)
        figures = {
            names.STUDY_PRUNED: results.count("pruned"),
            names.STUDY_COMPUTE_SAVED: results.compute_saved,
        }
        if results.best is not None and results.best.val_recon is not None:
            figures[names.STUDY_BEST] = results.best.val_recon
        self.run.log_metrics(figures, len(results.rows))

    def _figures(self, results: Results, shares: dict[str, float]) -> dict[str, Callable[[], bytes]]:
        if not results.rows:
            return {}
        title = f"Study {self.job.study}"
        figures: dict[str, Callable[[], bytes]] = {
            "history": partial(study_figures.draw_history, results.rows, title),
            "parallel_coordinates": partial(study_figures.draw_parallel_coordinates, results.rows, title),
            "pareto": partial(study_figures.draw_pareto, results.rows, results.winners, title, self.job.tune.against),
        }
        if shares:
            figures["importance"] = partial(study_figures.draw_importance, shares, title)
        return figures

    def _put_figure(self, name: str, draw: Callable[[], bytes]) -> None:
        png = draw()
        self.run.log_image(png, f"study/{name}", 0)  # where the UI's slider opens
        self.run.log_bytes(png, f"study/{name}.png")
        if name in SHOWN:
            self.run.log_bytes(thumbnail(png), f"study/{name}_small.png")


def settle_all(job: Job, experiment_id: str, study: Study) -> None:
    """At the end: runs of workers that have vanished are delivered and ended, and every trial's run says what came of the trial."""
    uri = resolve_uri(job.base.tracking)
    client = open_client(uri)
    trials = study.get_trials(deepcopy=False)
    # By their tags, not by what the study knows of runs: a worker may vanish before it has told the study which run it has opened.
    unsettled = f"tags.`mlflow.parentRunId` = '{job.parent_run_id}' AND tags.`{names.TAG_TRIAL_STATE}` = 'running'"
    with readable_errors(uri):
        mend_stale_runs(client, experiment_id, job.base.tracking.work_dir, uri)
        for run in client.search_runs([experiment_id], unsettled, max_results=1000):
            settle_run(client, trials[int(run.data.tags[names.TAG_TRIAL])], run.info.run_id)
