"""What MLflow's scoring server may be asked: so many bytes and rows, CSV cell by cell, and every refusal in words.

MLflow 3.17 has no setting for any of this. But for each request its server calls functions of its module by their names, and :func:`guard`
puts others in their place: `invocations`, which answers, and those that read JSON and CSV. Nothing else of MLflow is touched.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import scoring_server
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME

from seqsetvae.errors import InputError

MAX_BYTES = 64 * 2**20
"""Of a request's body, unless the environment variable SEQSETVAE_MAX_BYTES says otherwise."""
MAX_ROWS = 1_000_000
"""Of a request's table, unless the environment variable SEQSETVAE_MAX_ROWS says otherwise."""
SHOWN = 1000
"""Characters of either end of a message that are answered: MLflow puts the request into it."""

_in_a_request: ContextVar[bool] = ContextVar("in_a_request", default=False)
_logger = logging.getLogger(__name__)


class RequestTooLarge(MlflowException):  # type: ignore[misc, unused-ignore]
    """Is answered with status 413, for which MLflow has no error code."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    def get_http_status_code(self) -> int:
        """Content too large."""
        return 413


def bound_rows(rows: int) -> None:
    """Refuse a request of more rows than allowed. Tables of `mlflow models predict` and of Python have no bound."""
    most = limit("SEQSETVAE_MAX_ROWS", MAX_ROWS)
    if _in_a_request.get() and rows > most:
        raise RequestTooLarge(
            f"The table has {rows:,} rows, of at most {most:,}. Send fewer subjects at once, or start the server with "
            "a larger SEQSETVAE_MAX_ROWS."
        )


def limit(name: str, otherwise: int) -> int:
    """What an environment variable sets.

    Raises:
        InputError: it is no whole number above 0.
    """
    text = os.environ.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"The environment variable {name} is {text!r}; it takes a whole number above 0.")
    return int(text)


def guard(check: Callable[[pd.DataFrame], None]) -> None:
    """Let MLflow's server answer by the rules of this module. A second call changes nothing.

    Args:
        check: refuses a table, by an :class:`InputError`, before MLflow has made anything of it.
    """
    limit("SEQSETVAE_MAX_ROWS", MAX_ROWS)
    limit("SEQSETVAE_MAX_BYTES", MAX_BYTES)
    if not hasattr(scoring_server.invocations, "__wrapped__"):
        scoring_server.invocations = _in_words(scoring_server.invocations)
        scoring_server.infer_and_parse_data = _checked(scoring_server.infer_and_parse_data, check)
        scoring_server.parse_csv_input = _checked(_read_csv, check)


def in_a_server() -> bool:
    """Whether MLflow will send out what is answered, as JSON."""
    return bool(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.get())


def registered_as(folder: Path) -> str | None:
    """`NAME/VERSION` of a model folder that MLflow has taken from the registry.

    It is empty if by an address without a version, such as models:/m-0123; None for any other folder.
    """
    file = folder / REGISTERED_MODEL_META_FILE_NAME
    if not file.is_file():
        return None
    found = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    name, number = found.get("model_name"), found.get("model_version")
    return f"{name}/{number}" if name and number else ""


def _in_words(invocations: Any) -> Any:
    """MLflow's answer to one request, without its tracebacks, and with words where it would have status 500 and none."""

    @functools.wraps(invocations)
    def answered(data: bytes, content_type: str | None, model: Any, input_schema: Any) -> Any:
        token = _in_a_request.set(True)
        try:
            _bound_bytes(len(data))
            return invocations(data, content_type or "", model, input_schema)
        except MlflowException as error:
            if trace := error.json_kwargs.pop("stack_trace", None):
                _logger.warning("A request was refused.\n%s", trace)
            error.message = _shortened(error.message)
            raise
        except Exception as error:
            _logger.warning("A request was refused.", exc_info=True)
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            message = f"The request cannot be read as a table of events. {_shortened(text)}"
            raise MlflowException(message, error_code=BAD_REQUEST) from error
        finally:
            _in_a_request.reset(token)

    return answered


def _bound_bytes(size: int) -> None:
    most = limit("SEQSETVAE_MAX_BYTES", MAX_BYTES)
    if size > most:
        raise RequestTooLarge(
            f"The request has {size:,} bytes, of at most {most:,}. Send fewer subjects at once, or start the server with "
            "a larger SEQSETVAE_MAX_BYTES."
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]} … {text[-SHOWN:]}"


def _checked(read: Callable[..., Any], check: Callable[[pd.DataFrame], None]) -> Callable[..., Any]:
    """A reader that refuses what `check` does, such as a column that is there twice: MLflow would take it for something else."""

    @functools.wraps(read)
    def checked(*args: Any, **kwargs: Any) -> Any:
        table = read(*args, **kwargs)
        if isinstance(table, pd.DataFrame):
            check(table)
        return table

    return checked


def _read_csv(csv_input: Any, schema: Any = None) -> pd.DataFrame:
    """A CSV table with every cell as text, of which the model makes numbers. The header is read as a row.

    So pandas neither renames a column that is there twice nor takes the first cells of longer rows for names of rows, and MLflow need not
    know the columns' types, which are any.
    """
    try:
        table = pd.read_csv(csv_input, header=None, dtype=str)
    except (ValueError, OverflowError) as error:  # pandas' own errors among them
        raise InputError(f"It is no CSV table: {error}") from error
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis=1).reset_index(drop=True)
