"""A MEDS data set of many million events: how fast `prepare meds` makes a store of it, and how much memory that takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.store_scale import require_space
from seqsetvae.certify.table import Table

EVENTS_PER_FILE = 1_000_000
EVENTS_PER_SUBJECT = 1_000
CODES = 6_000
NUMERIC_CODES = 1_500
BYTES_PER_EVENT = 40
"""Of the data set and the store together, with room for train shards that are written twice."""

PREPARE = """
import json, resource, sys, time
from pathlib import Path
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Meds

start = time.perf_counter()
report = prepare(Meds(Path(sys.argv[1])), Path(sys.argv[2]))
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "variables": report.variables,
    "stored": sum(s.events for s in report.splits.values()),
    "peak_GiB": used.ru_maxrss / 2**20}))
"""


def measure(quick: bool = False) -> list[Table]:
    """Write synthetic data sets and prepare each in a fresh process. Raises InputError if the disk is too small."""
    rows: list[tuple[object, ...]] = []
    for files in (3,) if quick else (10, 100):
        with tempfile.TemporaryDirectory(prefix="seqsetvae-bench-") as folder:
            events = files * EVENTS_PER_FILE
            require_space(Path(folder), events * BYTES_PER_EVENT)
            for number in range(files):
                write_file(Path(folder) / "meds", number)
            start = time.perf_counter()
            command = [sys.executable, "-c", PREPARE, f"{folder}/meds", f"{folder}/store"]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            wall = time.perf_counter() - start
        rows.append(
            (
                f"{events:,}",
                f"{found['variables']:,}",
                f"{found['stored']:,}",
                f"{wall:,.0f}",
                f"{found['cpu']:,.0f}",
                f"{events / found['seconds']:,.0f}",
                f"{found['peak_GiB']:.2f}",
            )
        )
    columns = ("events", "variables", "events stored", "seconds", "of CPU", "events/s", "peak memory, GiB")
    note = (
        f"Files of {EVENTS_PER_FILE:,} events, {EVENTS_PER_SUBJECT:,} a subject, {CODES:,} codes of unequal frequency, a quarter of which "
        "carries numbers; some texts, one static event a subject. CPU time and peak are those of the whole process, libraries and mapped "
        "shards included; others on the machine hardly change them."
    )
    return [Table("MEDS", columns, rows, note)]


def write_file(root: Path, number: int) -> None:
    """One file of the data set: train, tuning or held_out by its number."""
    rng = np.random.default_rng(number)
    split = (
        ("train", "train", "train", "tuning", "held_out")[number % 5]
        if number > 2
        else ("train", "tuning", "held_out")[number]
    )
    subjects = EVENTS_PER_FILE // EVENTS_PER_SUBJECT
    gap = rng.exponential(20.0, (subjects, EVENTS_PER_SUBJECT)).round() * (
        rng.random((subjects, EVENTS_PER_SUBJECT)) < 0.2
    )
    minute = np.cumsum(gap, axis=1).astype(np.int64) + rng.integers(0, 50_000_000, (subjects, 1))
    static = np.arange(EVENTS_PER_FILE) % EVENTS_PER_SUBJECT == 0
    code = np.minimum((CODES * rng.random(EVENTS_PER_FILE) ** 3).astype(np.int32), CODES - 1)
    numeric = code % (CODES // NUMERIC_CODES) == 0
    text = rng.choice(np.array(["positive", "negative", "+++"]), EVENTS_PER_FILE)
    has_text = (code % 97 == 1) & ~numeric
    columns = {
        "subject_id": np.repeat(np.arange(subjects) + number * subjects, EVENTS_PER_SUBJECT),
        "time": pa.array(minute.reshape(-1) * 60_000_000, pa.timestamp("us"), mask=static),
        "code": pa.DictionaryArray.from_arrays(code, [f"CODE//{row:05d}" for row in range(CODES)]).cast(pa.string()),
        "numeric_value": pa.array(rng.normal(80.0, 10.0, EVENTS_PER_FILE).astype(np.float32), mask=~numeric),
        "text_value": pa.array(text, mask=~has_text),
    }
    path = root / "data" / split / f"{number}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
