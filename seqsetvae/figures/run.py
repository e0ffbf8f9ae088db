"""The figures of one run that the source guides name: loss curves, performance metrics, training dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.figures import style
from seqsetvae.figures.collapse_panels import Reference
from seqsetvae.figures.curve_panels import Curve, CurvePanel, draw_curves, thin
from seqsetvae.figures.level_strip import draw_alert_lines, draw_strip
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series
from seqsetvae.tracking.read.smoothing import finite, running_mean

GAP = 0.045
TRAIN_COLOR, VAL_COLOR, OTHER = style.BLUE, "#D55E00", style.PURPLE
SCORES = {"auc": "AUC", "auroc": "AUC", "auprc": "AUPRC", "accuracy": "Accuracy"}
"""Performance metrics by the last word of their name, as in val_auc."""
KL_RANGE = (
    Reference("collapse below 0.01", 0.01, threshold=True),
    Reference("normal: 0.1 to 10", 0.1),
    Reference("normal: 0.1 to 10", 10.0),
    Reference("too high above 100", 100.0, threshold=True, fires_below=False),
)
"""The guides' ranges of the KL, nats per set."""


def loss_curves(run: RecordedRun, alerts: Sequence[Diagnosis], subtitle: str) -> Figure | None:
    """Loss, reconstruction and KL, of training and validation; None where the run has none of them."""
    both = (("train", TRAIN_COLOR, True), ("validation", VAL_COLOR, False))

    def pair(train: str, validation: str, words: tuple[str, str] = ("", "")) -> tuple[Curve, ...]:
        curves = []
        for key, (label, color, noisy), more in zip((train, validation), both, words, strict=True):
            if key in run.metrics:
                curves.append(curve(run.metrics[key], label + more, color, noisy))
        return tuple(curves)

    panels = [
        CurvePanel(
            "Loss",
            "nats per set",
            pair(names.TRAIN_LOSS, names.VAL_LOSS, (": recon + β·KL", ": −ELBO (β = 1)")),
            logarithmic=True,
        ),
        CurvePanel("Reconstruction", "nats per set", pair(names.TRAIN_RECON, names.VAL_RECON)),
        CurvePanel("KL divergence", "nats per set", pair(names.TRAIN_KL, names.VAL_KL), KL_RANGE, logarithmic=True),
    ]
    return _figure(run, alerts, subtitle, panels, columns=1)


def performance_metrics(run: RecordedRun, alerts: Sequence[Diagnosis], subtitle: str) -> Figure | None:
    """AUC, AUPRC and accuracy over steps; None where the run has none of them, or none more than once."""
    found: dict[str, list[Curve]] = {}
    colors = (VAL_COLOR, TRAIN_COLOR, OTHER, style.SKY)
    for key, series in scores(run).items():
        if len(series) > 1:
            title = SCORES[_last_word(key)]
            curves = found.setdefault(title, [])
            curves.append(curve(series, key, colors[len(curves) % len(colors)]))
    words = "0.5 chance, 0.7 good, 0.9 excellent"
    references = {"AUC": tuple(Reference(words, value) for value in (0.5, 0.7, 0.9))}
    panels = [
        CurvePanel(title, "share", tuple(found[title]), references.get(title, ()), share=True)
        for title in ("AUC", "AUPRC", "Accuracy")
        if title in found
    ]
    return _figure(run, alerts, subtitle, panels, columns=1)


def training_dynamics(run: RecordedRun, alerts: Sequence[Diagnosis], subtitle: str) -> Figure | None:
    """Beta, the loss's two terms as shares, KL against reconstruction, gradient norm, learning rate, information."""
    metrics = run.metrics

    def one(key: str, title: str, unit: str, **more: object) -> CurvePanel:
        found = (curve(metrics[key], "", TRAIN_COLOR, key == names.GRADIENT_NORM),) if key in metrics else ()
        return CurvePanel(title, unit, found, **more)  # type: ignore[arg-type]

    clip = run.params.get("trainer/gradient_clip_val", "")
    clipped = (Reference(f"clipped to {clip}", float(clip), threshold=True),) if clip not in ("", "None", "0.0") else ()
    information = [
        curve(metrics[key], label, color)
        for key, label, color in (
            (names.COLLAPSE_KL, "KL", TRAIN_COLOR),
            (names.COLLAPSE_MUTUAL_INFORMATION, "mutual information", VAL_COLOR),
        )
        if key in metrics
    ]
    panels = [
        one(names.BETA, "Weight of the KL term", "β"),
        CurvePanel("Loss weights: share of each term", "share of the loss", _shares(metrics), share=True),
        one(names.GRADIENT_NORM, "Gradient norm", "L2, before clipping", references=clipped, logarithmic=True),
        one(names.LEARNING_RATE, "Learning rate", "per step"),
        CurvePanel("What the KL buys", "nats per set", tuple(information), logarithmic=True),
    ]
    extra = _draw_trade_off(metrics)
    return _figure(run, alerts, subtitle, panels, columns=2, extra=extra)


def scores(run: RecordedRun) -> dict[str, Series]:
    """The metrics that are a performance."""
    return {key: series for key, series in run.metrics.items() if _last_word(key) in SCORES}


def _last_word(key: str) -> str:
    return key.replace("/", "_").rpartition("_")[2].lower()


def curve(series: Series, label: str, color: str, noisy: bool = False) -> Curve:
    """A metric over optimizer steps."""
    return Curve(label, series.step_T.astype(np.float64), series.value_T, color, noisy)


def _shares(metrics: Mapping[str, Series]) -> tuple[Curve, ...]:
    """How much of the loss is reconstruction and how much beta times KL; free bits count as KL, which they are paid for."""
    loss, recon = (finite(metrics.get(key)) for key in (names.TRAIN_LOSS, names.TRAIN_RECON))
    if loss is None or recon is None:
        return ()
    step_T, of_loss, of_recon = np.intersect1d(loss.step_T, recon.step_T, return_indices=True)
    loss_T, recon_T = loss.value_T[of_loss], recon.value_T[of_recon]
    penalty_T = np.maximum(loss_T - recon_T, 0.0)
    whole_T = np.abs(recon_T) + penalty_T
    share_T = np.divide(penalty_T, whole_T, out=np.full(len(whole_T), np.nan), where=whole_T > 0)
    x_T = step_T.astype(np.float64)
    return (
        Curve("reconstruction", x_T, 1.0 - share_T, TRAIN_COLOR, noisy=True),
        Curve("β·KL", x_T, share_T, VAL_COLOR, noisy=True),
    )


def _draw_trade_off(metrics: Mapping[str, Series]) -> Callable[[Axes], None] | None:
    """KL against reconstruction, from the first step (light) to the last (dark)."""
    kl, recon = (finite(metrics.get(key)) for key in (names.TRAIN_KL, names.TRAIN_RECON))
    if kl is None or recon is None:
        return None
    step_T, of_kl, of_recon = np.intersect1d(kl.step_T, recon.step_T, return_indices=True)
    if not len(step_T):
        return None
    width = max(1, len(step_T) // 40)
    kl_T, recon_T = (running_mean(one, width) for one in (kl.value_T[of_kl], recon.value_T[of_recon]))

    def draw(axes: Axes) -> None:
        style.dress(axes, "KL against reconstruction", "reconstruction, nats per set")
        index_T, _ = thin(np.arange(len(step_T), dtype=np.float64), recon_T)
        at = index_T.astype(np.int64)
        axes.plot(kl_T[at], recon_T[at], color=style.GRAY, linewidth=0.7, zorder=2)
        dots = axes.scatter(kl_T[at], recon_T[at], c=step_T[at], cmap="viridis_r", s=12, zorder=3)
        for values, set_limits in ((kl_T, axes.set_xlim), (recon_T, axes.set_ylim)):
            set_limits(*_around(values))
        style.plain_ticks(axes.xaxis, most=5)
        axes.set_xlabel("KL, nats per set", **style.font(style.SMALL))
        figure = axes.get_figure()
        assert isinstance(figure, Figure)
        bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=14)
        style.plain_ticks(bar.ax.yaxis, number_format=",.0f")
        bar.set_label("optimizer step", **style.font(style.SMALL))

    return draw


def _around(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _figure(
    run: RecordedRun,
    alerts: Sequence[Diagnosis],
    subtitle: str,
    panels: Sequence[CurvePanel],
    columns: int,
    extra: Callable[[Axes], None] | None = None,
) -> Figure | None:
    """Panels that hold data below the strip of levels, all on the same steps."""
    panels = [panel for panel in panels if panel.measured]
    if not panels:
        return None
    x_T = np.concatenate([one.x_T for panel in panels for one in panel.curves])
    first, last = int(x_T.min()), max(int(x_T.max()), int(x_T.min()) + 1)
    figure = style.new_figure(run.title, subtitle)
    if run.watched:
        draw_strip(
            figure.add_axes((style.LEFT, style.STRIP[0], style.RIGHT - style.LEFT, style.STRIP[1])), alerts, first, last
        )
    count = len(panels) + (extra is not None)
    rows = -(-count // columns)
    # What is no curve over steps stands below the axis labels of those that are.
    gap = (1.5 if extra is None else 2.2) * GAP
    height = (style.TOP - style.BOTTOM + gap) / rows - gap
    grid = figure.add_gridspec(
        rows, columns, left=style.LEFT, right=style.RIGHT, top=style.TOP if run.watched else 0.9, bottom=style.BOTTOM,
        hspace=gap / height, wspace=0.17,
    )  # fmt: skip
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        draw_curves(axes, panel)
        draw_alert_lines(axes, alerts)
        axes.set_xlim(first, last)
        if index + columns >= len(panels):
            style.label_steps(axes)
            if run.tags.get(names.TAG_KIND) == "finetune":
                axes.set_xlabel("epoch", **style.font(style.SMALL))
    if extra is not None:
        extra(figure.add_subplot(grid[len(panels) // columns, len(panels) % columns]))
    return figure
