"""What was measured, kept: a file per benchmark, from which `docs/generated.py` makes a page of the site."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from seqsetvae.atomic import atomic_write
from seqsetvae.certify.table import Table
from seqsetvae.errors import InputError


def processor() -> str:
    """Its name as a person knows it.

    >>> processor() != ""
    True
    """
    with_name = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", with_name.read_text(), re.MULTILINE) if with_name.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def on_what() -> dict[str, Any]:
    """The machine, and how busy it is before anything is measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }


def folder_for(given: str) -> Path:
    """Where the files go.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(given)
    if not folder.is_dir():
        raise InputError(f"--write: there is no folder {given}. The site is made from docs/benchmarks.")
    return folder


def write_measured(folder: Path, name: str, tables: Sequence[Table], machine: dict[str, Any], *, quick: bool) -> None:
    """One benchmark's file; a later run replaces it."""
    content = {
        "measured": time.strftime("%Y-%m-%d"),
        "quick": quick,
        **machine,
        "tables": [asdict(table) | {"rows": [[str(cell) for cell in row] for row in table.rows]} for table in tables],
    }
    with atomic_write(folder / f"{name}.json") as file:
        file.write(f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())
