"""What the served models have in common: which version they are, JSON as output, faults in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from seqsetvae.data.events_table import require_columns
from seqsetvae.errors import InputError
from seqsetvae.tracking.compat import served_requests

served_requests.guard(require_columns)


def version_of(context: Any) -> str:
    """`seqsetvae-mortality/3` for a model from the registry, else its name and model id.

    The number of a version is given to files that are there already, so it cannot be in them. But MLflow writes it into the model's folder
    each time it takes the model from the registry (`models:/seqsetvae-mortality@champion`).
    """
    fallback = str((context.model_config or {}).get("model", ""))
    for folder in Path(context.artifacts["model"]).parents:
        if (version := served_requests.registered_as(folder)) is not None:
            return version or fallback
        if (folder / "MLmodel").is_file():
            break
    return fallback


def answer(table: pd.DataFrame, version: str) -> pd.DataFrame:
    """A table as it is answered: with its model, and where MLflow sends it out as JSON, which has no NaN, null for what there is not."""
    named = table.assign(model=version)
    return named.astype(object).where(named.notna(), None) if served_requests.in_a_server() else named


@contextmanager
def refusing_in_words(table: pd.DataFrame) -> Iterator[None]:
    """An :class:`InputError` becomes the error that MLflow's server answers with status 400; a request of too many rows is refused."""
    served_requests.bound_rows(len(table))
    try:
        yield
    except InputError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from error
