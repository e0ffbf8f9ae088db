"""Runs benchmarks and prints their tables."""

from __future__ import annotations

import importlib
import platform

import torch

from seqsetvae.errors import InputError

NAMES = (
    "step",
    "loader",
    "tracking",
    "monitor",
    "store_scale",
    "tuning",
    "tuning_compare",
    "analyze",
    "finetune",
    "serving",
)
"""Modules of this package, each with `measure(quick) -> list[Table]`."""


def run_benchmarks(only: str | None = None, quick: bool = False) -> None:
    """Run the benchmarks and print their tables as Markdown.

    Args:
        only: One of step, loader, tracking, monitor, store_scale, tuning, tuning_compare, analyze, finetune, serving. None: all of them.
        quick: Smaller sizes and fewer repetitions, to see that they run.
    """
    if only is not None and only not in NAMES:
        raise InputError(f"--only is {only!r}, but the benchmarks are {', '.join(NAMES)}.")
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n"
    )
    for name in NAMES if only is None else (only,):
        for table in importlib.import_module(f"seqsetvae.benchmarks.{name}").measure(quick=quick):
            print(table.markdown(), end="\n\n", flush=True)
