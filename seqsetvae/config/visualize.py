"""Settings of the figures of a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.require import require, require_one_stay


@dataclass(frozen=True)
class VisualizeConfig:
    """Which model is drawn, on which data."""

    model: str = "models:/seqsetvae@champion"
    """models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name."""
    split: Literal["train", "valid", "test"] = "test"
    """Split whose patients are drawn."""
    save_dir: str = "visualizations"
    """Folder for the figures and visualization.txt; made if it is missing."""
    max_batches: int = 20
    """At most so many batches of patients, drawn at random from the split."""
    batch_size: int = 32
    """Patients per batch."""
    seed: int = 0
    """Of the patients, the sets and the map."""
    patient: str | None = None
    """Id of the patient whose stay is drawn. It stands in the figure in save_dir, never in what --log puts into the run; `mlflow run`,
    though, records every -P. None: patient_row."""
    patient_row: int | None = None
    """The same by its row in the split, from 0. None: of the drawn patients the one with the most events."""
    severity: str | None = None
    """A variable that colors the map by its last recorded value. None: SAPS-I points in a store of PhysioNet 2012, else how
    far the values of a set lie from the training medians."""
    log: bool = False
    """Also put the files into the run that the model comes from, as artifacts in its folder visualizations/."""
    before: str | None = None
    """Another model to hold this one against, given in the same ways, such as the model_before_collapse_*.ckpt of a run that collapsed:
    of which variables did the latents tell the decoder anything then, and of which do they now?"""

    def __post_init__(self) -> None:
        for name in ("max_batches", "batch_size"):
            require(getattr(self, name) >= 1, f"visualize.{name}", getattr(self, name), "at least 1")
        require(0 <= self.seed < 2**32, "visualize.seed", self.seed, "0 or more, and below 2^32")
        require_one_stay("visualize", self.patient, self.patient_row)
