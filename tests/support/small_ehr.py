"""A patient_ehr folder of a few stays, of whatever tables and labels a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqsetvae.data.prepare import prepare
from seqsetvae.data.report import PrepareReport
from seqsetvae.data.sources import SPLITS, PatientEhr
from seqsetvae.data.store import Store

STAYS = 3
MakeStay = Callable[[int], pa.Table | dict[str, Sequence[Any]]]


def stay(minute: Sequence[Any], variable: Sequence[Any], value: Sequence[Any], /, **types: pa.DataType) -> pa.Table:
    """A table of events; a type may be given for each column."""
    columns = {"variable": variable, "value": value, "minute": minute}
    return pa.table({name: pa.array(cells, types.get(name)) for name, cells in columns.items()})


def write_ehr(root: Path, make: MakeStay, labels: str | None = "") -> Path:
    """Three stays in each split, named 200000, 200001, ...; `make(number)` gives the table of each.

    `labels`: the text of oc.csv; '': every second stay is positive; None: no file.
    """
    rows = ["ts_id,in_hospital_mortality"]
    for number in range(STAYS * len(SPLITS)):
        folder = root / SPLITS[number // STAYS]
        folder.mkdir(parents=True, exist_ok=True)
        table = make(number)
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), folder / f"{200000 + number}.parquet")
        rows.append(f"{200000 + number},{number % 2}")
    if labels is not None:
        (root / "oc.csv").write_text(labels or "\n".join(rows) + "\n")
    return root


def prepared(root: Path, output: Path, **options: Any) -> tuple[Store, PrepareReport]:
    report = prepare(PatientEhr(root), output, progress=False, **options)
    return Store.open(output), report


def events(store: Store, split: str = "train", row: int = 0) -> list[tuple[float, str, float]]:
    """(minute, variable, raw value as stored) of one stay, in order; NaN: no number."""
    packed = store.shard(split, 0).rows(row, row + 1)
    minute_N = np.repeat(packed.minute_S, np.diff(packed.first_event))
    names = [store.vocabulary.names[variable] for variable in packed.variable_N]
    return list(zip(minute_N.tolist(), names, packed.value_N.tolist(), strict=True))
