"""`evaluate --draws`: how sure risks are, and whether those that are said with more doubt are worse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seqsetvae.analysis.text_table import text_table
from seqsetvae.evaluation.predictions import Answered
from seqsetvae.evaluation.tables import label
from seqsetvae.scores import Floats, auroc, brier

GROUPS = ("narrow", "middle", "wide")
COLUMNS = ("model", "intervals", "stays", "width", "mean_risk", "observed_share", "brier", "auroc")

DoubtRow = tuple[str, str, int, float, float, float, float, float]


def doubt_rows(answered: Mapping[str, Answered], draws: int) -> list[DoubtRow]:
    """Three groups of stays by the width of the interval that holds 90 % of a stay's drawn logits, of each model of risks.

    The width is that of logits: of risks it would grow with the risk itself.
    """
    rows = []
    for name, (model, packed, risk_B) in answered.items():
        drawn_KB = model.drawn(packed, draws)[:, :, 0]
        rows += group_rows(name, packed.label_B.astype(np.float64), risk_B, drawn_KB)
    return rows


def group_rows(name: str, label_B: Floats, risk_B: Floats, drawn_KB: Floats) -> list[DoubtRow]:
    """Of one model."""
    inside_KB = drawn_KB.clip(1e-9, 1 - 1e-9)
    low_B, high_B = np.quantile(np.log(inside_KB / (1 - inside_KB)), (0.05, 0.95), axis=0)
    rows = []
    for group, stays in zip(GROUPS, np.array_split(np.argsort(high_B - low_B, kind="stable"), 3), strict=True):
        outcome, risk = label_B[stays], risk_B[stays]
        both = 0 < outcome.sum() < len(outcome)
        width = float((high_B - low_B)[stays].mean())
        area = auroc(outcome, risk) if both else float("nan")
        rows.append(
            (name, group, len(stays), width, float(risk.mean()), float(outcome.mean()), brier(outcome, risk), area)
        )
    return rows


def doubt_text(rows: list[DoubtRow]) -> str:
    """As a table for people."""
    heading = ["intervals of the logit", "stays", "width", "mean risk", "observed", "Brier", "AUROC"]
    lines = [
        [f"{group} ({label(name)})", str(stays), *(f"{value:.3f}" for value in rest)]
        for name, group, stays, *rest in rows
    ]
    return text_table(heading, lines)
