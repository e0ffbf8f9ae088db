"""What becomes of a record that the store did not take: it waits, or it is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from seqsetvae.tracking.connection.address import without_password

REFUSALS = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "BAD_REQUEST",
    "MALFORMED_REQUEST",
}
"""Answers that will be the same in a minute, as long as the store has the run. Everything else (no answer, 5xx, 429, also a login
that was refused) is tried again."""
FILE_REFUSALS = {400, 405, 411, 413, 414, 415, 422}
"""HTTP answers about one file: the next one may be taken."""


class UnreachableError(Exception):
    """The store did not take a record now, but may later."""

    smaller_may_do = False
    """Whether the store was too slow for a batch that can be made smaller, and was."""


class RefusedError(Exception):
    """The store does not take this record, though it takes others."""


@contextmanager
def classified(remote: bool) -> Iterator[None]:
    """Turn whatever MLflow raises into :class:`RefusedError` or :class:`UnreachableError`."""
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except MlflowException as error:
        # A server's own refusal is JSON (RestException). A bare 404 is a gateway whose server is away.
        final = error.error_code in REFUSALS and (isinstance(error, RestException) or not remote)
        raise (RefusedError if final else UnreachableError)(without_password(str(error))) from error
    except FileNotFoundError as error:
        raise RefusedError(f"the file is gone: {error}") from error
    except OSError as error:  # also every error of `requests`
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise (RefusedError if status in FILE_REFUSALS else UnreachableError)(without_password(str(error))) from error
    except json.JSONDecodeError as error:
        raise UnreachableError(f"the answer is cut off or no answer of MLflow's: {error}") from error
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
