"""Files that are put among the artifacts of a run, whether it has ended or not."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors


def attach_files(uri: str, run_id: str, files: Mapping[str, bytes], folder: str) -> None:
    """Put files into a folder among the artifacts of a run.

    Args:
        uri: address of the store.
        run_id: the run.
        files: contents by name.
        folder: where they go.

    Raises:
        InputError: the store does not take them.
    """
    client = open_client(uri)
    with readable_errors(uri), tempfile.TemporaryDirectory() as written:
        for name, content in files.items():
            Path(written, name).write_bytes(content)
        client.log_artifacts(run_id, written, folder)
