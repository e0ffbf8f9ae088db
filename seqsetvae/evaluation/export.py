"""`export`: a finetuned model as a file for other runtimes."""

from __future__ import annotations

import logging
from pathlib import Path

from seqsetvae.analysis.output_folder import writable, write
from seqsetvae.config import ExportConfig, TrackingConfig
from seqsetvae.console import console
from seqsetvae.evaluation.predictions import find_risk_model
from seqsetvae.extras import require

_log = logging.getLogger(__name__)


@console()
def export(config: ExportConfig, tracking: TrackingConfig) -> Path:
    """Write the file, after its answers were compared with the model's.

    Raises:
        InputError: there is no such model, it has something that the format cannot have, or the file cannot be written.
        RunFailure: the file's answers are not those of the model.
    """
    require("onnx", "export")
    from seqsetvae.training.finetuning.onnx_export import to_onnx

    path = Path(config.output)
    folder = writable(path.parent, "export.output")
    name, (model, _) = find_risk_model(config.model, tracking)
    made = to_onnx(model)
    write(folder, {path.name: made.content}, "export.output")
    _log.info(
        f"{path}: {name}, {len(made.content) / 2**20:.1f} MB; its answers on made-up stays are within {made.farthest:.0e} of the model's"
    )
    return path
