"""Serves a pretrained model: a table of events in, one row per subject with its state after the last set out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from seqsetvae.serving.served import answer, refusing_in_words, version_of
from seqsetvae.training.pretrained.exported import read_pretrained


class LatentsModel(PythonModel):
    """What `mlflow models serve` and `mlflow models predict` run."""

    def load_context(self, context: Any) -> None:
        self.model = read_pretrained(Path(context.artifacts["model"]))
        self.version = version_of(context)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        with refusing_in_words(model_input):
            return answer(self.model.last_states(model_input), self.version)


mlflow.models.set_model(LatentsModel())
