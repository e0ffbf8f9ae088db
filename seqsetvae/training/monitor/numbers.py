"""From a measurement to plain numbers: of the whole, and of each layer and subgroup."""

from __future__ import annotations

import os
from collections.abc import Sequence

from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.collapse.measured import slope
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.training.monitor.latents import WHOLE
from seqsetvae.training.monitor.measurement import Measurement

Figures = dict[str, dict[str, float]]
"""What the decoder was found to hear when it was asked last: of the whole and of each part, as `CollapseStatistics` names it."""


def heard_of(measured: Measurement) -> Figures | None:
    """What the decoder hears; None where this measurement did not ask it."""
    if measured.decoder is None:
        return None
    parts = {name: as_numbers(decoder) for name, (_, decoder) in measured.parts.items() if decoder is not None}
    return {WHOLE: as_numbers(measured.decoder), **parts}


def statistics_of(
    measured: Measurement,
    config: SettledMonitor,
    heard: Figures,
    window: Sequence[float] = (),
    hours: float | None = None,
) -> tuple[CollapseStatistics, dict[str, CollapseStatistics]]:
    """The whole, and its parts by name. Waits for the device.

    Args:
        measured: one update.
        config: thresholds.
        heard: by the decoder, when it was asked last.
        window: reconstruction losses of the updates before.
        hours: of training so far.
    """
    recon = None if measured.recon is None else float(measured.recon)
    beta = None if measured.beta is None else float(measured.beta)
    losses = [*window, *([] if recon is None else [recon])]
    whole = CollapseStatistics.of(
        measured.posterior,
        step=measured.step,
        var_threshold=config.var_threshold,
        decoder=heard.get(WHOLE),
        recon=recon,
        recon_slope=slope(losses) if len(losses) > 1 else None,
        updates=len(losses),
        beta=beta,
        hours=hours,
    )
    parts = {
        name: CollapseStatistics.of(
            found,
            step=measured.step,
            var_threshold=config.var_threshold,
            # Of a subgroup with few sets among those that the decoder was asked about, it is judged by all of them.
            decoder=heard.get(name, heard.get(WHOLE) if name.startswith("group ") else None),
            beta=beta,
            hours=hours,
        )
        for name, (found, _) in measured.parts.items()
    }
    return whole, parts


def as_numbers(found: DecoderInformation) -> dict[str, float]:
    """By the names that :class:`~seqsetvae.collapse.statistics.CollapseStatistics` has for them."""
    return {
        "decoder_use": float(found.use),
        "decoder_information": float(found.bound),
        "decoder_information_error": float(found.error),
    }


def noise_seed(step: int, place: int = 0) -> int:
    """Of the noise of a measurement: a function of the run's seed, the step and the number of the measurement at this step."""
    return hash((int(os.environ.get("PL_GLOBAL_SEED", "0")), step, place)) & 0x7FFF_FFFF_FFFF_FFFF
