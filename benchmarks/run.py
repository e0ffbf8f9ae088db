"""Runs benchmarks and prints their tables."""

from __future__ import annotations

import importlib

from benchmarks.measured import folder_for, on_what, write_measured
from seqsetvae.errors import InputError

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
    folder, machine = folder_for(write) if write else None, on_what()
    print(f"{machine['processor']}, {machine['threads']} threads, PyTorch {machine['torch']}\n")
    for name in NAMES if only is None else (only,):
        options: dict[str, str | None] = {"store": store} if name in BY_NAME[1:] else {}
        if name == "few_labels":
            options |= {"labels": labels, "task": task, "pretrained_on": pretrained_on}
        tables = importlib.import_module(f"benchmarks.{name}").measure(quick=quick, **options)
        for table in tables:
            print(table.markdown(), end="\n\n", flush=True)
        if folder is not None:
            write_measured(folder, name, tables, machine, quick=quick)
