"""All figures of a trained model, and the text with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqsetvae.config.figures import ON_SCREEN, FigureConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.figures import style
from seqsetvae.figures.latent import text
from seqsetvae.figures.latent.arrays import LatentSample, StayView, VariableError, VariableTold
from seqsetvae.figures.latent.correlation_figure import correlation_figure
from seqsetvae.figures.latent.embedding import embed, probe
from seqsetvae.figures.latent.posterior_figure import posterior_figure
from seqsetvae.figures.latent.reconstruction_figure import reconstruction_figure
from seqsetvae.figures.latent.stay_figure import stay_figure
from seqsetvae.figures.latent.summary import LatentSummary, summarize
from seqsetvae.figures.latent.told_figure import told_figure
from seqsetvae.figures.latent.umap_figure import umap_figure

POSTERIOR, MAP, RECONSTRUCTION = "posterior_collapse_analysis.png", "latent_space_umap.png", "reconstruction_errors.png"
TOLD, CORRELATION, STAY = "told_of_variables.png", "latent_correlation.png", "patient_view.png"
TEXT = "visualization.txt"


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn, and of what."""

    title: str
    """Model and data."""
    sample: LatentSample
    errors: Sequence[VariableError]
    told: Sequence[VariableTold]
    stay: StayView
    thresholds: SettledMonitor
    """Resolved."""
    seed: int

    @cached_property
    def summary(self) -> LatentSummary:
        """Of the sampled posteriors."""
        return summarize(self.sample, self.thresholds)


def draw_model(drawn: Drawn, config: FigureConfig = ON_SCREEN) -> dict[str, bytes]:
    """Figures and text by file name; the one stay is named by its row alone. Takes about 20 seconds, most of them for the map."""
    sample, errors, title, summary = drawn.sample, drawn.errors, drawn.title, drawn.summary
    embedding, probes = embed(sample, drawn.seed), probe(sample)
    of = f"{len(sample.mu_SZ):,} of {sample.sets:,} sets of {sample.stays:,} stays"
    quality = "" if embedding is None else f", trustworthiness {embedding.trustworthiness:.3f} (1 is best)"
    if not len(summary.active_A):
        quality += "; no dimension is active: a map of next to nothing"
    neighbors = "" if embedding is None else f" ({embedding.neighbors} neighbors)"
    independent = (
        ""
        if summary.correlation is None
        else f", which vary like {summary.correlation.effective:.1f} uncorrelated ones"
    )
    values = sum(one.events for one in errors)
    with style.DRAWING:
        figures = {
            POSTERIOR: posterior_figure(summary, title, f"posterior q(z | set), {of}"),
            MAP: umap_figure(
                sample, embedding, probes, title, f"UMAP{neighbors} of the posterior means of {of}{quality}"
            ),
            RECONSTRUCTION: reconstruction_figure(
                errors,
                title,
                f"absolute error of {values:,} recorded values (n) in the variable's unit; "
                "×: median error over that of always saying the training median",
            ),
            TOLD: told_figure(drawn.told, title),
            CORRELATION: correlation_figure(
                summary.correlation, title, f"{len(summary.active_A)} active dimensions{independent}; {of}"
            ),
        }
        files = style.files(figures, config) | draw_stay(drawn, f"stay in row {drawn.stay.row:,}", config)
    parts = {
        f"Posterior, {of}": text.posterior_text(summary),
        "Map": text.map_text(sample, embedding, probes),
        "Reconstruction, median absolute error (quartiles)": text.reconstruction_text(errors),
        "What the latents tell the decoder, nats per value": text.told_text(drawn.told),
        "Correlation": text.correlation_text(summary),
        "Patient view": text.stay_text(drawn.stay),
    }
    said = "\n\n".join([title, *(f"{heading}\n{'-' * len(heading)}\n{part}" for heading, part in parts.items())])
    return files | {TEXT: f"{said}\n".encode()}


def draw_stay(drawn: Drawn, name: str, config: FigureConfig) -> dict[str, bytes]:
    """The view of the one stay, with a name in its heading, by file name."""
    outcome = {0.0: ", outcome 0", 1.0: ", outcome 1"}.get(drawn.stay.label, "")
    said = f"{name}{outcome}: the most active dimensions, and the variables recorded most often"
    with style.DRAWING:
        figure = stay_figure(drawn.stay, np.argsort(-drawn.summary.signal_Z), drawn.title, said)
        return style.files({STAY: figure}, config)
