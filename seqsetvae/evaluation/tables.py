"""An evaluation as people read it: one table for the terminal, a short one for the run's page; and as code reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seqsetvae import names
from seqsetvae.analysis.text_table import text_table
from seqsetvae.curves import Band, net_benefit_of_all
from seqsetvae.evaluation.latents import LatentScores
from seqsetvae.figures.calibration import draw_calibration
from seqsetvae.figures.risk_curves import draw_risk_curves
from seqsetvae.scores import Curve, Floats, Interval
from seqsetvae.tasks.kind import Kind
from seqsetvae.tracking.compat.experiment_page import artifact_links, picture
from seqsetvae.tracking.compat.image_series import small
from seqsetvae.tracking.write.run import Run

SubgroupRow = tuple[str, str, int, int, Interval, Interval]
"""Subgroup, model, stays, positives, and the first two scores of the kind of task."""

WIDE = "\u2003"
SHORT = {"binary": (("auroc", "AUROC"), ("auprc_average_precision", "AUPRC (average precision)"), ("brier", "Brier"))}
"""The scores of the short table, where they are not the first three."""


def comparison(
    scores: Mapping[str, Mapping[str, Interval]], latents: Mapping[str, LatentScores], kind: Kind
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the one table: a column per model, a row per score; where there is a backbone, how it does as a VAE."""
    rows = [[words, *(str(found[key]) for found in scores.values())] for key, words in kind.headings.items()]
    of_latents = [latents[name].cells() if name in latents else {} for name in scores]
    headings = next(iter(latents.values())).cells() if latents else ()
    rows += [[heading, *(cells.get(heading, "") for cells in of_latents)] for heading in headings]
    return ["", *map(label, scores)], rows


def subgroup_table(rows: Sequence[SubgroupRow], kind: Kind) -> dict[str, object]:
    """All that is known of the subgroups, as a table of the run."""
    counted = [kind.events_are] if kind.events_are else []
    columns = ["subgroup", "model", "stays", *counted, *list(kind.headings)[:2]]
    cells = [
        [group, label(name), stays, *([events] if counted else []), str(first), str(second)]
        for group, name, stays, events, first, second in rows
    ]
    return {"columns": columns, "data": cells}


def subgroup_text(rows: Sequence[SubgroupRow], groups: Sequence[str], models: Sequence[str], kind: Kind) -> str:
    """The first score of each model in each subgroup, and which subgroups are left out."""
    found = {(group, name): score for group, name, _, _, score, _ in rows}
    sizes = {group: f"{stays} ({events})" if kind.events_are else str(stays) for group, _, stays, events, _, _ in rows}
    lines = [[group, size, *(str(found[group, name]) for name in models)] for group, size in sizes.items()]
    score = next(iter(kind.headings.values()))
    size = f"stays ({kind.events_are})" if kind.events_are else "stays"
    table = text_table([f"{score} in subgroups", size, *map(label, models)], lines) if lines else ""
    left_out = [group for group in groups if group not in sizes]
    note = f"Too few outcomes to be scored: {', '.join(left_out)}." if left_out else ""
    return "\n".join(part for part in (table, note) if part)


def short_table(scores: dict[str, dict[str, Interval]], kind: Kind) -> str:
    """Three scores as Markdown, for the run's page: MLflow's tables have no space between columns."""
    keys = SHORT.get(kind.name, tuple(kind.headings.items())[:3])
    lines = [f"| model |{'|'.join(f' {WIDE}{words}{WIDE} ' for _, words in keys)}|", f"|:--{'|---' * len(keys)}|"]
    for name, found in scores.items():
        lines.append(f"| {label(name)}{WIDE} | {' | '.join(f'{WIDE}{found[key]}' for key, _ in keys)} |")
    return "\n".join(lines)


def tables_of(run: Run, has_subgroups: bool, has_curves: bool, has_contributions: bool) -> str:
    """The curves and contributions, and links to what else the run has recorded."""
    files = {names.ARTIFACT_EVALUATION_COMPARISON: "all scores", names.ARTIFACT_EVALUATION_CALIBRATION: "calibration"}
    files |= {names.ARTIFACT_EVALUATION_SUBGROUPS: "subgroups"} if has_subgroups else {}
    files |= {names.ARTIFACT_EVALUATION_CURVES: "curves"} if has_curves else {}
    files |= {names.ARTIFACT_EVALUATION_CONTRIBUTIONS: "contributions of events"} if has_contributions else {}
    figures = [(names.ARTIFACT_EVALUATION_CALIBRATION_FIGURE, "Calibration")]
    figures += (
        [(names.ARTIFACT_EVALUATION_CURVES_FIGURE, "ROC, precision-recall and decision curves")] if has_curves else []
    )
    figures += [(names.ARTIFACT_EVALUATION_CONTRIBUTIONS_FIGURE, "Why this answer")] if has_contributions else []
    shown = "\n\n".join(picture(run.run_id, small(file), words) for file, words in figures)
    return f"{shown}\n\n{artifact_links(run.experiment_id, run.run_id, files)}"


def record_scores(
    run: Run, scores: Mapping[str, Mapping[str, Interval]], latents: Mapping[str, LatentScores], kind: Kind
) -> None:
    """All scores as a table of the run for people, one for code, and as its metrics."""
    columns, wide = comparison(scores, latents, kind)
    run.log_table({"columns": ["score", *columns[1:]], "data": wide}, names.ARTIFACT_EVALUATION_COMPARISON)
    rows = [[name, key, one.value, one.low, one.high] for name, found in scores.items() for key, one in found.items()]
    columns = ["model", "score", "value", "low_95", "high_95"]
    run.log_table({"columns": columns, "data": rows}, names.ARTIFACT_EVALUATION)
    for name, found in scores.items():
        run.log_metrics({f"{place(name)}/{key}": one.value for key, one in found.items()}, step=0)


def record_calibration(
    run: Run, curves: Mapping[str, Curve], head: str, is_share: bool, risks: Mapping[str, Floats]
) -> None:
    """The calibration curves as a table and as a figure of the run."""
    points = [[name, *point] for name, curve in curves.items() for point in curve]
    columns = ["model", "mean_risk", "observed_share", "stays"]
    run.log_table({"columns": columns, "data": points}, names.ARTIFACT_EVALUATION_CALIBRATION)
    named = {label(name): curve for name, curve in curves.items()}
    figure = draw_calibration(named, head, is_share, {label(name): risk_B for name, risk_B in risks.items()})
    run.log_figure(figure, names.ARTIFACT_EVALUATION_CALIBRATION_FIGURE)


def record_curves(run: Run, found: Mapping[str, Mapping[str, Band]], label_B: Floats, head: str) -> None:
    """ROC, precision-recall and decision curves as a table and as a figure of the run."""
    points = [
        [name, curve, *map(float, point)]
        for name, curves in found.items()
        for curve, band in curves.items()
        for point in zip(band.x_T, band.y_T, band.low_T, band.high_T, strict=True)
    ]
    columns = ["model", "curve", "x", "y", "low_95", "high_95"]
    run.log_table({"columns": columns, "data": points}, names.ARTIFACT_EVALUATION_CURVES)
    shown = {label(name): curves for name, curves in found.items()}
    figure = draw_risk_curves(shown, net_benefit_of_all(label_B), float(label_B.mean()), head)
    run.log_figure(figure, names.ARTIFACT_EVALUATION_CURVES_FIGURE)


def label(name: str) -> str:
    """A model's name as it heads a column.

    >>> label("models:/seqsetvae-mortality/3")
    'seqsetvae-mortality/3'
    """
    return name.removeprefix("models:/")


def place(name: str) -> str:
    """A model's name as the folder of its metrics.

    >>> place("models:/seqsetvae-mortality@champion")
    'seqsetvae-mortality_champion'
    """
    return label(name).replace("@", "_").replace(" ", "_").replace("/", "_")
