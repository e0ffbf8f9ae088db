"""Which figures are held against which thresholds, and what to advise. Two rule sets: `principled` and the guides' `source`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seqsetvae.collapse.diagnosis import Indicator, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor

if TYPE_CHECKING:
    from seqsetvae.collapse.forecast import Forecast

GUIDES_TREND_CHECKS = 50
"""Rules `source`: the trend of the reconstruction loss is taken over this many updates."""
GUIDES_TREND_THRESHOLD = 0.001


INFORMED = 10.0
"""Multiple of the mutual information threshold from which any active unit will do."""
UNASKED = "Offer `negative_log_likelihood(z, batch)` (nats per set) on the module: only the decoder can tell whether it listens."
HEARD = ("decoder_information", "information that reaches the decoder")
NOT_LISTENED = frozenset({HEARD[0], "decoder_use"})
"""Indicators that say of themselves that the latents are not in use, whatever the posterior looks like."""
AT_PRIOR_SHARE = 0.25
"""Share of sets at the prior from which a part of the data is left out, such as a group of patients."""
PARTS = "collapsed_parts"
OF_A_PART = frozenset({"sets_at_prior", PARTS})
"""Indicators of a fault in a part of the data. They warn; for a collapse of the whole they do not count."""


def principled_indicators(statistics: CollapseStatistics, config: SettledMonitor) -> list[Indicator]:
    """Information into the latents, three ways, and out of them, one way."""
    # Few units of many are no fault where they carry much: four factors fill four dimensions, whatever the latent space has room for.
    informed = statistics.mutual_information >= INFORMED * config.mutual_information_threshold
    least_units = 0.5 / statistics.latent_dim if informed else config.active_units_threshold
    found = [
        Indicator("kl", "KL divergence", statistics.kl, config.kl_threshold),
        Indicator("active_units", "active units ratio", statistics.active_units_ratio, least_units),
        Indicator(
            "mutual_information",
            "mutual information",
            statistics.mutual_information,
            config.mutual_information_threshold,
        ),
    ]
    if statistics.heard_at_most is not None:
        name, label = HEARD if statistics.decoder_information is not None else ("decoder_use", "decoder use")
        found.append(Indicator(name, label, statistics.heard_at_most, config.decoder_use_threshold))
    if statistics.sets_at_prior is not None:
        found.append(
            Indicator("sets_at_prior", "share of sets at the prior", statistics.sets_at_prior, AT_PRIOR_SHARE, False)
        )
    if statistics.collapsed_parts is not None:
        label = f"collapsed parts ({', '.join(statistics.collapsed_parts) or 'none'})"
        found.append(Indicator(PARTS, label, len(statistics.collapsed_parts), 0.0, False))
    return found


def guides_indicators(statistics: CollapseStatistics, config: SettledMonitor) -> list[Indicator]:
    """The guides' four rules, word for word."""
    found = [
        Indicator("kl", "KL divergence", statistics.kl, config.kl_threshold),
        Indicator("mean_variance", "latent variance", statistics.mean_variance, config.var_threshold),
        Indicator(
            "active_ratio_by_variance",
            "active ratio (by variance)",
            statistics.active_ratio_by_mean_variance,
            config.active_units_threshold,
        ),
    ]
    if statistics.recon_slope is not None and statistics.updates >= GUIDES_TREND_CHECKS:
        found.append(
            Indicator(
                "recon_slope", "trend of reconstruction loss", statistics.recon_slope, GUIDES_TREND_THRESHOLD, False
            )
        )
    return found


RULES: dict[str, Callable[[CollapseStatistics, SettledMonitor], list[Indicator]]] = {
    "principled": principled_indicators,
    "source": guides_indicators,
}


def looks_collapsed(fired: list[Indicator]) -> bool:
    """Whether what is out of range amounts to a collapse, as far as one update can tell."""
    whole = {one.name for one in fired} - OF_A_PART
    return len(whole) >= 2 or not NOT_LISTENED.isdisjoint(whole)


def advice(fired: list[Indicator], statistics: CollapseStatistics, level: Level, told: Forecast | None = None) -> str:
    """One sentence on what to try, by what is out of range and by what was told of the data before training."""
    if not statistics.finite:
        return "Lower --optimizer.lr or --trainer.gradient_clip_val, and look for extreme values in the data."
    if not fired:
        return UNASKED if level == Level.UNKNOWN else "Nothing to do."
    names = {one.name for one in fired}
    if names <= OF_A_PART and PARTS in names:
        return (
            f"Nothing passes through {', '.join(statistics.collapsed_parts or ())}, though through the rest: see its own alert; free bits "
            "for each layer, a lower beta, or more of such data may help."
        )
    if names <= OF_A_PART:
        return (
            f"About {statistics.sets_at_prior or 0.0:.0%} of the sets nothing is said: see what they have in common, such as one variable, "
            "few events, or a group of patients."
        )
    beta = "" if statistics.beta is None else f" (beta is {statistics.beta:.3g})"
    if told is not None and (said := told.advice(statistics.beta or 0.0)):
        return f"{said[0].upper()}{said[1:]}"
    return _for_the_whole(names - OF_A_PART, statistics, level, beta)


def _for_the_whole(names: set[str], statistics: CollapseStatistics, level: Level, beta: str) -> str:
    if level == Level.YELLOW and names == {"active_units"}:
        return (
            f"{statistics.active_units} of {statistics.latent_dim} dimensions are in use: fine if the reconstruction is; a smaller "
            "--model.latent_dim would do, or --objective.free_bits to use more."
        )
    if statistics.kl > 1.0 and "mutual_information" in names:
        return (
            "KL is paid for without information, as by a constant shift of the means: lower --objective.max_beta"
            f"{beta}, and --objective.free_bits if there are any."
        )
    if names <= NOT_LISTENED:
        return "The decoder ignores the latents although they carry information: weaken it, or lower its learning rate."
    return (
        f"Lower --objective.max_beta{beta}, lengthen --objective.beta_warmup_steps, give some --objective.free_bits, or let "
        "--objective.beta_schedule controller hold the KL."
    )
