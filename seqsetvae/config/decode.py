"""Settings of the verbs that ask a model's decoder: `forecast` and `impute`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seqsetvae.config.embed import HOURS
from seqsetvae.config.require import require, require_one_stay


@dataclass(frozen=True)
class ForecastConfig:
    """What a model expects of the hours behind a time of each stay of a store, written as a table."""

    model: str = "models:/seqsetvae@champion"
    """models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint; pretrained with --model.foresee_hours."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name."""
    split: Literal["train", "valid", "test"] = "test"
    """Whose stays."""
    horizon: float = 6.0
    """Hours: one of those that the model was pretrained to foresee."""
    at: str = "end"
    """When: `end` of each stay, or hours from its first event such as `24h`. What came after these is held against the forecast."""
    variables: list[str] = field(default_factory=list)
    """Only these, e.g. [HR,Lactate]. Empty: all that the model knows."""
    calibrate_on: int = 500
    """Stays of the validation split, on whose forecasts at every set the bands are widened or narrowed until they hold what they promise
    (split conformal prediction, by variable). 0: the model's own bands."""
    output: str = "forecasts.parquet"
    """The table: .parquet."""
    figure: str = "forecast.png"
    """One stay and its forecast."""
    patient: str | None = None
    """Id of the patient whose stay is drawn; it stands in the figure. None: patient_row."""
    patient_row: int | None = None
    """The same by its row in the split, from 0. None: the one with the most events."""

    def __post_init__(self) -> None:
        require(self.output.endswith(".parquet"), "forecast.output", self.output, "a file that ends in .parquet")
        require(self.figure.endswith(".png"), "forecast.figure", self.figure, "a file that ends in .png")
        require(self.horizon > 0.0, "forecast.horizon", self.horizon, "above 0")
        require(self.calibrate_on >= 0, "forecast.calibrate_on", self.calibrate_on, "0 or more")
        known = self.at == "end" or HOURS.fullmatch(self.at)
        require(bool(known), "forecast.at", self.at, "end, or hours such as 24h")
        require_one_stay("forecast", self.patient, self.patient_row)

    @property
    def hours(self) -> float | None:
        """Hours from the first event, where that is what `at` says."""
        found = HOURS.fullmatch(self.at)
        return float(found[1]) if found else None


@dataclass(frozen=True)
class ImputeConfig:
    """What a model says of values that were not measured, at some times of some stays of a store, written as a table."""

    model: str = "models:/seqsetvae@champion"
    """models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name."""
    split: Literal["train", "valid", "test"] = "test"
    """Whose stays."""
    points: str | None = None
    """Table (.csv, .parquet) with the columns subject, minute (from the stay's first event) and variable; without variable all those that
    were not measured then. None: those at the last set of each stay."""
    output: str = "imputed.parquet"
    """The table: .parquet."""
    figure: str = "imputed.png"
    """One stay, each value of it filled in as if it had not been recorded."""
    patient: str | None = None
    """Id of the patient whose stay is drawn; it stands in the figure. None: patient_row."""
    patient_row: int | None = None
    """The same by its row in the split, from 0. None: the one with the most events."""
    left_out: int = 2000
    """Recorded values of the validation stays, left out one by one, that the bands are widened by, and as many of the split that they are
    tried on. 0: the model's own bands, untried."""

    def __post_init__(self) -> None:
        require(self.output.endswith(".parquet"), "impute.output", self.output, "a file that ends in .parquet")
        require(self.figure.endswith(".png"), "impute.figure", self.figure, "a file that ends in .png")
        points = self.points
        known = points is None or points.endswith((".csv", ".csv.gz", ".parquet"))
        require(known, "impute.points", points, "a table that ends in .csv, .csv.gz or .parquet")
        require(self.left_out >= 0, "impute.left_out", self.left_out, "0 or more")
        require_one_stay("impute", self.patient, self.patient_row)
