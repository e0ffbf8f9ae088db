"""Published trainings, replayed: the figures that other people's logs name, under the detector's rules.

Figures alone, no code: the log of He et al. 2019 (jxhe/vae-lagging-encoder, plot_scripts/example.out, Yelp), the three of text models of
LIDVAE (Wang, Blei & Cunningham 2021; yixinwang/lidvae-public, sequential_pytorch/res/sample_out), each with KL and mutual information of a
batch (16 to 32 sets, so at most 3.5 nats), and the tables of losses over beta of Wang & Liu 2022
(zihao-wang/LinearVAE, output), whose term of the KL is divided by beta here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from seqsetvae.certify.table import Table
from seqsetvae.certify.truth import ALIVE, DEAD
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.rules import looks_collapsed, principled_indicators
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor

DIMENSIONS = {"he2019-yelp": 32, "lidvae-synthetic": 5, "lidvae-yahoo": 32, "lidvae-yelp": 32}
BATCH_SETS = 32
"""Sets behind each figure of the logs."""
LOSS_DIMENSIONS = 5
ENDS = 10
"""Points at the end of a log, whose mean mutual information is its truth."""


@dataclass(frozen=True)
class LogPoint:
    """One line of a log."""

    step: int
    kl: float
    mutual_information: float
    active_units: int | None

    def statistics(self, latent_dim: int) -> CollapseStatistics:
        """What the rules can use of it; active units that nobody counted do not fire, and the decoder was never asked."""
        units = latent_dim if self.active_units is None else self.active_units
        ceiling = math.log(BATCH_SETS)
        figures = (self.kl, units, latent_dim, self.mutual_information, ceiling, math.nan, math.nan, math.nan, math.nan)
        return CollapseStatistics(self.step, BATCH_SETS, *figures)


def logs() -> dict[str, list[LogPoint]]:
    """By name, in order of their steps."""
    found: dict[str, list[LogPoint]] = {}
    with (files("seqsetvae.certify") / "public_logs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            units = int(row["active_units"]) if row["active_units"] else None
            point = LogPoint(int(row["step"]), float(row["kl"]), float(row["mutual_information"]), units)
            found.setdefault(row["log"], []).append(point)
    return found


def log_table() -> Table:
    """One row per log: how it ended, and what the rules say of every point, as if each were a check."""
    columns = (
        "log",
        "points",
        "dead ones by its own figures",
        "ends with, nats",
        "green or unknown",
        "yellow",
        "orange",
        "red",
        "at the end",
    )
    rows: list[tuple[object, ...]] = []
    found, rules = logs(), _rules()
    for name, points in found.items():
        levels = _levels(points, DIMENSIONS[name])
        below = sum(one.mutual_information < rules.mutual_information_threshold for one in points)
        ends = sum(one.mutual_information for one in points[-ENDS:]) / ENDS
        counts = [levels.count(level) for level in (Level.YELLOW, Level.ORANGE, Level.RED)]
        rows.append((name, len(points), below, f"{ends:.2f}", len(points) - sum(counts), *counts, levels[-1].word))
    dead = [one for points in found.values() for one in points if one.mutual_information < 0.1]
    kl_alone = sum(one.kl < 0.01 for one in dead)
    note = (
        f"Of the {len(dead)} points with mutual information below 0.1 nats the rule KL < 0.01 finds {kl_alone}; KL reaches "
        f"{max(one.kl for one in dead):.3g}. The decoder was never asked, so that the best level is unknown."
    )
    return Table("Published logs under the rules", columns, rows, note)


@cache
def _rules() -> SettledMonitor:
    """The thresholds, which depend on no length."""
    return settle_monitor(MonitorConfig(), 1000)


def _levels(points: Sequence[LogPoint], latent_dim: int) -> list[Level]:
    total = points[-1].step + 1
    detector = Detector(settle_monitor(MonitorConfig(), total), BetaOutlook(total))
    return [detector.check(one.statistics(latent_dim)).level for one in points]


@dataclass(frozen=True)
class LossPoint:
    """How a training at one beta ended."""

    setting: str
    beta: float
    recon: float
    kl: float
    active_units: int

    @property
    def looks_collapsed(self) -> bool:
        """By the rules, with the KL for the mutual information, which it is at the optimum."""
        point = LogPoint(1, self.kl, self.kl, self.active_units)
        indicators = principled_indicators(point.statistics(LOSS_DIMENSIONS), _rules())
        return looks_collapsed([one for one in indicators if one.out_of_range])


def losses() -> dict[str, list[LossPoint]]:
    """By setting, in order of beta."""
    found: dict[str, list[LossPoint]] = {}
    with (files("seqsetvae.certify") / "public_losses.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            beta, recon, kl = (float(row[name]) for name in ("beta", "recon", "kl"))
            point = LossPoint(row["setting"], beta, recon, kl, int(row["active_units"]))
            found.setdefault(point.setting, []).append(point)
    return found


def loss_table() -> Table:
    """One row per setting: what the reconstruction gained over that of the largest beta, where nothing lives, beside the rules."""
    columns = ("setting", "betas", "truth", "looks collapsed")
    rows: list[tuple[object, ...]] = []
    for setting, points in losses().items():
        # Near the critical beta 0.5 (lambda - beta) of loss is gained for 0.5 ln(lambda / beta) nats.
        nats = [(points[-1].recon - one.recon) / one.beta for one in points]
        for truth, least, most in (("dead", -math.inf, DEAD), ("faint", DEAD, ALIVE), ("alive", ALIVE, math.inf)):
            ours = [one for one, known in zip(points, nats, strict=True) if least <= known < most]
            betas = f"{ours[0].beta:g} to {ours[-1].beta:g}"
            rows.append((setting, betas, truth, f"{sum(one.looks_collapsed for one in ours)} of {len(ours)}"))
    return Table("Published losses over beta under the rules", columns, rows)
