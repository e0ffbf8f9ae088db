"""The collapse metrics of a run as a file: the figure that the run itself records, drawn from what the store has now."""

from __future__ import annotations

import time
from pathlib import Path

from seqsetvae.analysis.output_folder import write
from seqsetvae.dashboard.updates import thresholds
from seqsetvae.dashboard.watch import SeenRun
from seqsetvae.errors import InputError
from seqsetvae.figures import style
from seqsetvae.figures.collapse import collapse_figure


def save_picture(run: SeenRun, path: Path) -> Path:
    """Look at the run once, and draw it.

    Raises :class:`InputError` where there is nothing to draw, the store cannot be read, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--monitor.save is {str(path)!r}, but a picture is saved as a PNG: name the file *.png.")
    view = run.look(time.time())
    if view.trouble or run.recorded is None:
        raise InputError(view.trouble)
    if not run.drawn:
        raise InputError(f"Run {view.title} has no collapse metrics to draw. {' '.join(view.notes)}")
    config, _ = thresholds(run.recorded)
    with style.DRAWING:
        png = style.png(collapse_figure(run.drawn, view.alerts[::-1], config, view.title))
    write(path.parent, {path.name: png}, "monitor.save")
    return path
