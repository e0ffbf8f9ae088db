"""Serves a pretrained model: a table of events in, one row per subject with its state after the last set out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from seqsetvae.training.exported import read_pretrained


class LatentsModel(PythonModel):
    """What `mlflow models serve` and `mlflow models predict` run."""

    def load_context(self, context: Any) -> None:
        self.model = read_pretrained(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        encoded = self.model.encode(model_input)
        rows = pd.DataFrame({"subject": encoded.subject, "row": range(len(encoded.subject))})
        last = rows.groupby("subject", sort=False)["row"].agg(["last", "size"])
        states = [[float(x) for x in encoded.history_SD[row]] for row in last["last"]]
        return pd.DataFrame({"subject": last.index.tolist(), "sets": last["size"].tolist(), "state": states})


mlflow.models.set_model(LatentsModel())
