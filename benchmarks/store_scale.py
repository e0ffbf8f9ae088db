"""A store of a million subjects: how fast it is made, and that opening and reading it take no memory to speak of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seqsetvae.certify.table import Table
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.errors import InputError

BYTES_PER_EVENT = 14
"""On disk, with its share of set and subject and room for a train shard that is written twice."""

READER = """
import json, sys, time
import numpy as np, psutil
from seqsetvae.data.store import Store

def resident(kind):
    # Pages of mapped files count as shared; the system takes them back when it needs them.
    info = psutil.Process().memory_info()
    return (info.rss - info.shared if kind == "private" else info.rss) / 2**20

before = resident("private"), resident("all")
start = time.perf_counter()
store = Store.open(sys.argv[1])
seconds = time.perf_counter() - start
opened = resident("private"), resident("all")
rng = np.random.default_rng(0)
shards = store.shards("train")
start = time.perf_counter()
for _ in range(1000):
    shard = int(rng.integers(len(shards)))
    store.gather("train", shard, rng.integers(0, shards[shard].subjects, 64))
reading = time.perf_counter() - start
read = resident("private"), resident("all")
print(json.dumps({"open_ms": seconds * 1e3, "patients_per_second": 64_000 / reading,
    "open_MiB": opened[0] - before[0], "read_MiB": read[0] - before[0], "shared_MiB": read[1] - before[1]}))
"""


def measure(quick: bool = False) -> list[Table]:
    """Build synthetic stores of growing size and read each in a fresh process. Raises InputError if the disk is too small."""
    rows: list[tuple[object, ...]] = []
    for subjects in (2_000, 20_000) if quick else (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="seqsetvae-bench-") as folder:
            require_space(Path(folder), subjects * 50 * BYTES_PER_EVENT)
            store = Path(folder) / "store"
            start = time.perf_counter()
            prepare(Synthetic(subjects=subjects), store, progress=False)
            build = time.perf_counter() - start
            size = sum(path.stat().st_size for path in store.iterdir()) / 2**20
            read = _read_in_fresh_process(store)
        rows.append(
            (
                f"{subjects:,}",
                f"{size:,.0f}",
                f"{subjects / build:,.0f}",
                f"{read['open_ms']:.1f}",
                f"{read['open_MiB']:.1f}",
                f"{read['read_MiB']:.1f}",
                f"{read['shared_MiB']:,.0f}",
                f"{read['patients_per_second']:,.0f}",
            )
        )
    columns = (
        "subjects",
        "MiB on disk",
        "built, subjects/s",
        "open, ms",
        "memory after open, MiB",
        "after 1000 batches, MiB",
        "with shared pages, MiB",
        "read, patients/s",
    )
    note = (
        "About 50 events per subject; 1000 random batches of 64. Memory is what the process gained of its own. Shared pages are "
        "those of the mapped shards and of libraries loaded on first use; the system takes them back when it needs them."
    )
    return [Table("Store size", columns, rows, note)]


def require_space(folder: Path, needed: int) -> None:
    """Raises InputError where the disk is too small."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {free / 2**30:.1f} GiB free, but the benchmark needs {needed / 2**30:.1f}. "
            "Point TMPDIR to a larger disk, or use --quick."
        )


def _read_in_fresh_process(store: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", READER, str(store)], check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
