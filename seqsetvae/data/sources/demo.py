"""500 real ICU stays that come with the package, so that everything can be tried before any download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLITS, Chunk, Source, stratified_split
from seqsetvae.data.sources.physionet2012 import PhysioNet2012

DEMO_FILE = Path(__file__).parent.parent / "demo" / "physionet2012-demo.parquet"
DEMO_STAYS = 500


@dataclass(frozen=True)
class Demo(Source):
    """The shipped selection of PhysioNet 2012 stays: one Parquet file, split and labels included."""

    name: ClassVar[str] = "demo"

    def describe(self) -> dict[str, object]:
        return {"source": self.name, "file": DEMO_FILE.name, "origin": "PhysioNet Challenge 2012 1.0.0, ODC-BY 1.0"}

    def n_subjects(self, split: str) -> int:
        return len(pc.unique(self._rows(split)["subject_id"]))

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        table = self._rows(split)
        subject = table["subject_id"].combine_chunks().dictionary_encode()
        variable = table["variable"].combine_chunks().dictionary_encode()
        subject_N = subject.indices.to_numpy().astype(np.int64)
        first_B = np.searchsorted(subject_N, np.arange(len(subject.dictionary)))
        yield Chunk(
            subject_ids=subject.dictionary.to_pylist(),
            files=[str(DEMO_FILE)] * len(subject.dictionary),
            label_B=table["label"].to_numpy()[first_B].astype(np.float32),
            variables=variable.dictionary.to_pylist(),
            subject_N=subject_N,
            minute_N=table["minute"].to_numpy().astype(np.float64),
            variable_N=variable.indices.to_numpy().astype(np.int64),
            value_N=table["value"].to_numpy().astype(np.float64),
            row_N=np.arange(1, table.num_rows + 1),
        )

    @cached_property
    def _table(self) -> pa.Table:
        table = pq.read_table(DEMO_FILE)
        for name in ("subject_id", "variable", "split"):
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.string()))
        return table

    def _rows(self, split: str) -> pa.Table:
        return self._table.filter(pc.equal(self._table["split"], split))


def make_demo(source: PhysioNet2012, path: Path = DEMO_FILE, stays: int = DEMO_STAYS, seed: int = 0) -> None:
    """Select `stays` stays, stratified by outcome, divide them 64/16/20 and write them as one zstd Parquet file.

    This is how the shipped file was made, from sets a and b with the defaults. Values are the raw ones; the source's rules for
    RecordID and unknown descriptors have been applied. Rows are sorted by subject, variable and minute (stable), which makes the
    file a third smaller and keeps the order of repeated measurements.
    """
    chunks = [chunk for split in SPLITS for chunk in source.chunks(split, Quarantine("stop"))]
    table = pa.concat_tables([_to_table(chunk) for chunk in chunks])
    stay = table.group_by("subject_id").aggregate([("label", "min")]).sort_by("subject_id")
    label_B = stay["label_min"].to_numpy()
    share = stays / len(label_B)
    chosen = stay.filter(pa.array(stratified_split(label_B, seed, (share, 1 - share)) == 0))
    split_B = stratified_split(chosen["label_min"].to_numpy(), seed)
    split = pa.table({"subject_id": chosen["subject_id"], "split": [SPLITS[i] for i in split_B]})
    # `order` keeps the order of repeated measurements through the join, which does not promise one.
    table = table.append_column("order", pa.array(np.arange(table.num_rows)))
    table = table.join(split, "subject_id", join_type="inner")
    keys = [(key, "ascending") for key in ("subject_id", "variable", "minute", "order")]
    table = table.sort_by(keys).drop_columns("order")
    pq.write_table(table, path, compression="zstd", compression_level=19)


def _to_table(chunk: Chunk) -> pa.Table:
    return pa.table(
        {
            "subject_id": np.array(chunk.subject_ids)[chunk.subject_N],
            "minute": chunk.minute_N.astype(np.float32),
            "variable": np.array(chunk.variables)[chunk.variable_N],
            "value": chunk.value_N.astype(np.float32),
            "label": chunk.label_B[chunk.subject_N],
        }
    )
