"""Settings of `embed`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.finetune import TaskKind
from seqsetvae.config.require import require

HOURS = re.compile(r"([0-9]+(?:\.[0-9]+)?)h", re.ASCII)


@dataclass(frozen=True)
class EmbedConfig:
    """What a model makes of the stays of a store, written as a table."""

    model: str
    """models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name."""
    output: str = "embeddings.parquet"
    """The table: .parquet."""
    split: Literal["all", "train", "valid", "test"] = "all"
    """Whose stays."""
    at: str = "end"
    """When: `end` of each stay, `every_set`, hours from its first event such as `24h`, or a table of outcomes with prediction times
    (.csv, .csv.gz, .parquet), whose outcome becomes a column, or several where an outcome is several numbers."""
    task: str | None = None
    """Column of that table, or several with commas between them. Default: that of the MEDS label schema which has values."""
    kind: TaskKind = "auto"
    """What the outcomes of that table are, as in `seqsetvae finetune`."""
    progress_bar: bool = True
    """Show progress."""

    def __post_init__(self) -> None:
        require(self.output.endswith(".parquet"), "embed.output", self.output, "a file that ends in .parquet")
        known = self.at in ("end", "every_set") or HOURS.fullmatch(self.at) or self.is_table
        require(bool(known), "embed.at", self.at, "end, every_set, hours such as 24h, or a table of outcomes")

    @property
    def is_table(self) -> bool:
        """Whether `at` names a table of outcomes."""
        return self.at.endswith((".csv", ".csv.gz", ".parquet"))

    @property
    def hours(self) -> float | None:
        """Hours from the first event, where that is what `at` says."""
        found = HOURS.fullmatch(self.at)
        return float(found[1]) if found else None
