"""Runs benchmarks and prints their tables."""

from __future__ import annotations

import importlib
import platform

import torch

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
BY_NAME = ("gpu", "mortality", "few_labels", "forecast")
"""Those that only run when asked for: `gpu`, for a machine that has one; the others an hour or more, on data of the user's, whose models
are kept. The latter also take `store`."""


def run_benchmarks(
    only: str | None = None,
    quick: bool = False,
    store: str = "demo",
    labels: str | None = None,
    task: str | None = None,
) -> None:
    """Run the benchmarks and print their tables as Markdown.

    Args:
        only: One of step, pretrain, vocabulary, loader, tracking, monitor, survivors, store_scale, meds_scale, tuning, tuning_compare,
            analyze, finetune, serving, dashboard, gpu, mortality, few_labels, forecast. None: all of them but gpu, for a machine that has
            one, and the last three, which take long and keep their models in the folders mortality_comparison and few_labels_comparison.
        quick: Smaller sizes and fewer repetitions, to see that they run.
        store: Data for the benchmarks mortality, few_labels and forecast: a folder that `seqsetvae prepare` wrote, or `demo`.
        labels: Table of other outcomes for few_labels (.csv, .csv.gz, .parquet).
        task: Its column.
    """
    known = (*NAMES, *BY_NAME)
    if only is not None and only not in known:
        raise InputError(f"--only is {only!r}, but the benchmarks are {', '.join(known)}.")
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n"
    )
    for name in NAMES if only is None else (only,):
        options: dict[str, str | None] = {"store": store} if name in BY_NAME[1:] else {}
        if name == "few_labels":
            options |= {"labels": labels, "task": task}
        for table in importlib.import_module(f"benchmarks.{name}").measure(quick=quick, **options):
            print(table.markdown(), end="\n\n", flush=True)
