"""Runs benchmarks and prints their tables."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from benchmarks.measured import folder_for, on_what, write_measured
from seqsetvae.errors import InputError, RunFailure

NAMES = (
    "step",
    "pretrain",
    "vocabulary",
    "loader",
    "tracking",
    "monitor",
    "survivors",
    "store_scale",
    "meds_scale",
    "tuning",
    "tuning_compare",
    "analyze",
    "finetune",
    "serving",
    "dashboard",
)
"""Modules of this package, each with `measure(quick) -> list[Table]`."""
BY_NAME = ("gpu", "mortality", "few_labels", "tasks", "forecast")
"""Those that only run when asked for: `gpu`, for a machine that has one; the others an hour or more, on data of the user's, whose models
are kept. The latter also take `store`."""


def run_benchmarks(
    only: str | None = None,
    quick: bool = False,
    store: str = "demo",
    labels: str | None = None,
    task: str | None = None,
    pretrained_on: str | None = None,
    write: str | None = None,
) -> None:
    """Run the benchmarks and print their tables as Markdown.

    Args:
        only: One of step, pretrain, vocabulary, loader, tracking, monitor, survivors, store_scale, meds_scale, tuning, tuning_compare,
            analyze, finetune, serving, dashboard, gpu, mortality, few_labels, tasks, forecast. None: all of them but gpu, for a
            machine that has one, and the last four, which take long and keep their models in the folder benchmark_models.
        quick: Smaller sizes and fewer repetitions, to see that they run.
        store: Data for the benchmarks mortality, few_labels, tasks and forecast: a folder that `seqsetvae prepare` wrote, or `demo`.
        labels: Table of other outcomes for few_labels (.csv, .csv.gz, .parquet).
        task: Its column.
        pretrained_on: Another store that few_labels pretrains on: what is pretraining on other patients worth? None: the same.
        write: Folder for what was measured, a file per benchmark; `make bench` gives docs/benchmarks, from which the site has its page.
    """
    known = (*NAMES, *BY_NAME)
    if only is not None and only not in known:
        raise InputError(f"--only is {only!r}, but the benchmarks are {', '.join(known)}.")
    folder = folder_for(write) if write else None
    if only is None:
        run_each(quick, folder)
        return
    machine = on_what()
    print(f"{machine['processor']}, {machine['threads']} threads, PyTorch {machine['torch']}\n", flush=True)
    options: dict[str, str | None] = {"store": store} if only in BY_NAME[1:] else {}
    if only == "few_labels":
        options |= {"labels": labels, "task": task, "pretrained_on": pretrained_on}
    tables = importlib.import_module(f"benchmarks.{only}").measure(quick=quick, **options)
    for table in tables:
        print(table.markdown(), end="\n\n", flush=True)
    if folder is not None:
        write_measured(folder, only, tables, machine, quick=quick)


def run_each(quick: bool, folder: Path | None) -> None:
    """Each benchmark of `NAMES` in a process of its own.

    The peak of a process's memory never falls, and threads and caches that one leaves behind would meet the next.

    Raises:
        RunFailure: some have failed; the others have run all the same.
    """
    failed = []
    for name in NAMES:
        command = [sys.executable, "-m", "seqsetvae", "bench", "--only", name, "--quick", str(quick).lower()]
        if folder is not None:
            command += ["--write", str(folder)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        raise RunFailure(f"These benchmarks have failed, and nothing was written of them: {', '.join(failed)}.")
