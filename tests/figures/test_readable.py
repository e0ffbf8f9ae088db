"""No text of a figure lies on another or runs out of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from seqsetvae import names
from seqsetvae.curves import bands, net_benefit_of_all
from seqsetvae.figures import study, style
from seqsetvae.figures.calibration import draw_calibration
from seqsetvae.figures.collapse import collapse_figure
from seqsetvae.figures.comparison import comparison
from seqsetvae.figures.contributions import Contributor, draw_contributions
from seqsetvae.figures.kl_map import kl_map_figure
from seqsetvae.figures.lost import lost_figure
from seqsetvae.figures.risk_curves import risk_curves
from seqsetvae.figures.run import loss_curves, performance_metrics, training_dynamics
from seqsetvae.figures.stay_forecast import ExpectedTrace, draw_stay_forecast, draw_stay_imputed
from seqsetvae.figures.study_rows import TrialRow
from seqsetvae.scores import calibration
from tests.analysis.made_runs import healthy, run, series
from tests.figures.test_collapse import ALERTS, CONFIG, SOURCE, history
from tests.figures.test_latent import view
from tests.support.drawn_texts import drawn, unreadable

WATCHED = {
    names.COLLAPSE_KL: series(np.linspace(8.0, 7.0, 100)),
    names.COLLAPSE_MUTUAL_INFORMATION: series(np.linspace(5.0, 6.0, 100)),
    names.LEARNING_RATE: series(np.linspace(1e-3, 1e-4, 100)),
}
WHOLE = run(healthy() | WATCHED, **{"trainer/gradient_clip_val": "1.0"})
SCORES = {
    f"val_{name}": series(np.linspace(0.6, 0.8, 10), WHOLE.metrics[names.VAL_LOSS].step_T)
    for name in ("auc", "auprc", "accuracy")
}
TRIALS = [
    TrialRow(
        number,
        "complete",
        number % 3 > 0,
        "",
        {"max_beta": 0.01 * 2**number, "free_bits": 0.01 * number, "lr": 1e-3},
        15.0 + number,
        "green",
        6.0,
        0.9,
        9.0,
        40,
        40,
    )
    for number in range(12)
] + [
    TrialRow(
        12,
        "pruned",
        False,
        "red",
        {"max_beta": 50.0, "free_bits": 0.1, "lr": 1e-2},
        500.0,
        "red",
        0.0,
        0.0,
        0.0,
        10,
        40,
    )
]
LABEL_B, RISK_B = np.tile([0.0, 1.0], 100), np.linspace(0.0, 1.0, 200)
TRACES = [
    ExpectedTrace(
        name, "beats/min", np.linspace(0, 30, 20), np.linspace(80, 90, 20), 0.97, np.array([70.0, 78, 84, 88, 99])
    )
    for name in ("Non-invasive systolic blood pressure", "HR", "NIMAP", "Temp", "FiO2")
]


FIGURES: dict[str, Callable[[], Figure | None]] = {
    "collapse": lambda: collapse_figure(history(), ALERTS, CONFIG, "run"),
    "collapse, one update": lambda: collapse_figure(history(1), (), CONFIG, "run"),
    "collapse, the guides' rules": lambda: collapse_figure(history(), ALERTS, SOURCE, "run"),
    "KL map": lambda: kl_map_figure(history(), ALERTS, "run"),
    "KL map of many": lambda: kl_map_figure(history(dims=256), ALERTS, "run"),
    "lost": lambda: lost_figure(history(), ALERTS, 0, "run"),
    "lost of many": lambda: lost_figure(history(dims=256), ALERTS, 0, "run"),
    "loss": lambda: loss_curves(WHOLE, ALERTS, "subtitle"),
    "performance": lambda: performance_metrics(run(healthy() | SCORES), (), "subtitle"),
    "dynamics": lambda: training_dynamics(WHOLE, ALERTS, "subtitle"),
    "dynamics of little": lambda: training_dynamics(run(healthy()), (), "subtitle"),
    "comparison": lambda: comparison(
        [replace(WHOLE, run_id=letter * 32, name="beta_warmup_steps 500, " * 4) for letter in "abcdefghijklmn"]
    ),
    "history of a study": lambda: drawn_by(lambda: study.draw_history(TRIALS, "Study")),
    "a study's front": lambda: drawn_by(lambda: study.draw_pareto(TRIALS, [1, 2], "Study", "mutual_information")),
    "parallel coordinates": lambda: drawn_by(lambda: study.draw_parallel_coordinates(TRIALS, "Study")),
    "importance": lambda: drawn_by(
        lambda: study.draw_importance({"max_beta": 0.7, "free_bits": 0.2, "lr": 0.1}, "Study")
    ),
    "calibration": lambda: drawn_by(
        lambda: draw_calibration(
            {f"seqsetvae-mortality/{n}": calibration(LABEL_B, RISK_B**n) for n in range(1, 6)},
            "200 stays",
            predicted={f"seqsetvae-mortality/{n}": RISK_B**n for n in range(1, 6)},
        )
    ),
    "risk curves": lambda: risk_curves(
        {f"model {n}": bands(LABEL_B, RISK_B, 3) for n in range(10)}, net_benefit_of_all(LABEL_B), 0.5, "death"
    ),
    "forecast": lambda: drawn_by(lambda: draw_stay_forecast(TRACES, 24.0, 6.0, "Forecast", "subtitle")),
    "imputed": lambda: drawn_by(lambda: draw_stay_imputed(view().traces, "Imputed", "subtitle")),
    "contributions": lambda: drawn_by(
        lambda: draw_contributions(
            [Contributor(float(n), "Non-invasive blood pressure", 80.0 + n, 0.1 * n, -0.1 * n) for n in range(30)],
            "stay",
        )
    ),
}


def drawn_by(draw: Callable[[], bytes]) -> Figure:
    """The figure that is written as PNG."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        kept.append(figure)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "png", keep)
        draw()
    return kept[0]


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_text_can_be_read(name):
    with style.DRAWING:
        figure = FIGURES[name]()
        assert figure is not None
        assert unreadable(figure) == []


def test_a_title_stands_below_the_label_of_the_axis_above_it():
    with style.DRAWING:
        figure = training_dynamics(WHOLE, ALERTS, "subtitle")
        assert figure is not None
        with drawn(figure) as texts:
            [title] = [box for text, box in texts if text == "KL against reconstruction"]
            column = [
                box for text, box in texts if text == "optimizer step" and box.y0 > title.y0 and box.x0 > title.x0
            ]
    assert min(box.y0 for box in column) - title.y1 > title.height / 2, "half a line of air"
