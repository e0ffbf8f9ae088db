"""`RiskModel`: backbone and head together, as they are registered, served and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.data.events_table import read_events
from seqsetvae.model.classifier import RiskHead, head_input
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.exported import Pretrained, read_folder, rebuild, write_folder
from seqsetvae.training.features import compute_features


@dataclass(frozen=True)
class RiskModel:
    """Predicts the risk of the outcome that it was finetuned on."""

    pretrained: Pretrained
    head: RiskHead
    head_input: str
    """One of :data:`seqsetvae.model.classifier.INPUTS`."""
    hidden: int

    def from_features(self, features: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Risk of every row of computed features."""
        with torch.inference_mode():
            return self.head(head_input(dict(features), self.head_input)).double().numpy()

    def risk(self, events: pd.DataFrame) -> pd.DataFrame:
        """Risk of each subject of a table with the columns subject, minute, variable, value: the columns subject, risk, error.

        A subject with a row that cannot be used gets no risk (NaN) but an error that names the row; the others are not affected.

        Raises:
            InputError: a column is missing.
        """
        table = read_events(events, self.pretrained.vocabulary)
        risk_of: dict[str, float] = {}
        if table.packed is not None:
            rows_B = np.arange(table.packed.n_subjects)
            risk_B = self.from_features(compute_features(self.pretrained, table.packed, rows_B))
            risk_of = dict(zip(map(str, table.packed.subject_id), risk_B.tolist(), strict=True))
        return pd.DataFrame(
            {
                "subject": table.subjects,
                "risk": [risk_of.get(name, float("nan")) for name in table.subjects],
                "error": [table.problems.get(name, "") for name in table.subjects],
            }
        )


def export_risk_model(model: RiskModel, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write a model; `origin` says where it comes from, for people."""
    weights = {f"backbone.{key}": tensor for key, tensor in model.pretrained.vae.state_dict().items()}
    weights |= {f"head.{key}": tensor for key, tensor in model.head.state_dict().items()}
    head = {"input": model.head_input, "hidden": model.hidden}
    write_folder(
        folder, "risk", weights, {"recipe": asdict(model.pretrained.recipe), "head": head, "origin": dict(origin)}
    )


def read_risk_model(folder: Path) -> RiskModel:
    """Load what :func:`export_risk_model` wrote.

    Raises:
        InputError: the folder is none of those, or a file was changed, or holds anything but tensors.
    """
    weights, description = read_folder(folder, "risk")
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for key, tensor in weights.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    head = RiskHead(len(parts["head"]["mean_F"]), description["head"]["hidden"], dropout=0.0)
    head.load_state_dict(parts["head"])
    pretrained = rebuild(parts["backbone"], Recipe(**description["recipe"]))
    return RiskModel(pretrained, head.eval(), description["head"]["input"], description["head"]["hidden"])
