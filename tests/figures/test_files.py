"""Figures as files: formats, resolution, the style for papers; and what a figure of a study or a calibration shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation
from PIL import Image

from seqsetvae.config.figures import ON_SCREEN, FigureConfig
from seqsetvae.curves import bands, net_benefit_of_all
from seqsetvae.errors import InputError
from seqsetvae.figures import study as study_figures
from seqsetvae.figures import style
from seqsetvae.figures.calibration import draw_calibration
from seqsetvae.figures.comparison import comparison
from seqsetvae.figures.risk_curves import risk_curves
from seqsetvae.figures.study_rows import TrialRow
from seqsetvae.scores import calibration
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series


def made() -> Figure:
    with style.DRAWING:
        figure = style.new_figure("A heading", "with a line below")
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.7))
        style.dress(axes, "Panel", "nats")
        axes.plot([0, 1], [0, 1])
        return figure


def figures_of(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Those that are drawn from now on."""
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(style, "png", keep)
    return drawn


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_by_default_it_is_what_the_screen_shows():
    [(name, content)] = style.files({"curve.png": made()}, ON_SCREEN).items()
    assert (name, content) == ("curve.png", style.png(made()))


def test_a_paper_has_300_pixels_an_inch_and_no_heading():
    [(name, content)] = style.files({"curve.png": made()}, FigureConfig(style="paper")).items()
    picture = opened(content)
    assert name == "curve.png"
    assert round(picture.info["dpi"][0]) == 300
    assert picture.height < 3000 - 300, "the heading's inch is gone"
    assert opened(style.written(made(), FigureConfig(dpi=300))).size == (4200, 3000)


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_lines_instead_of_pixels(kind, begins):
    config = FigureConfig(format=kind)
    [(name, content)] = style.files({"curve.png": made()}, config).items()
    assert name == f"curve.{kind}"
    assert content.startswith(begins)
    assert content == style.written(made(), config), "the same figure gives the same bytes"
    if kind == "pdf":
        assert b"/FontFile2" in content, "letters are TrueType, which journals ask for"
        assert b"/Type3" not in content


def test_a_resolution_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"figure\.dpi is 3, but must be from 30 to 1200"):
        FigureConfig(dpi=3)


COMPLETE = [TrialRow(n, "complete", True, params={"lr": 10.0**-n}, val_recon=15.0 + n) for n in range(3)]
PRUNED = TrialRow(3, "pruned", False, params={"lr": 1e-3}, val_recon=900.0, level="red")


def test_what_was_pruned_far_out_does_not_swallow_the_scale(monkeypatch):
    drawn = figures_of(monkeypatch)
    study_figures.draw_history([*COMPLETE, PRUNED], "Study")
    study_figures.draw_parallel_coordinates([*COMPLETE, PRUNED], "Study")
    history, parallel = drawn
    low, high = history.axes[0].get_ylim()
    assert (low > 14.0, high < 20.0) == (True, True)
    labels = history.axes[0].get_legend_handles_labels()[1]
    assert "pruned, further out" in labels
    # The best trial alone has the black line below its own, from its setting to the least NLL.
    [best] = [line for line in parallel.axes[0].lines if line.get_linewidth() == 5.0]
    assert best.get_label() == "best: trial 0, 15"
    assert np.asarray(best.get_xydata())[-1].tolist() == [1.0, 0.0]
    ends = parallel.axes[1].get_ylim()
    assert ends == pytest.approx((15.0, 18.0)), (
        "the colors stand for the NLLs of those that were completed, and a bit beyond"
    )


def test_a_calibration_has_the_histogram_of_all_predictions(monkeypatch):
    drawn = figures_of(monkeypatch)
    rng = np.random.default_rng(0)
    risk_B = rng.beta(1.2, 7, 400)
    curve = calibration((rng.random(400) < risk_B).astype(float), risk_B)
    draw_calibration({"a model": curve}, "400 stays", predicted={"a model": risk_B})
    above, below = drawn[0].axes
    assert above.get_xlim() == below.get_xlim()
    counts = np.concatenate([patch.get_data()[0] for patch in below.patches if isinstance(patch, StepPatch)])
    within = int((risk_B <= above.get_xlim()[1]).sum())
    assert counts.sum() == within
    marks = {text.get_text(): text.xy[0] for text in below.texts if isinstance(text, Annotation)}
    assert marks["50%"] == pytest.approx(float(np.median(risk_B)))


def test_panels_of_a_comparison_share_their_steps():
    def run(name: str, steps: int) -> RecordedRun:
        every = list(range(10, steps + 1, 10))
        times = [1000 * step for step in every]
        return RecordedRun(
            name * 32, name, "FINISHED", "seqsetvae", 0.0, None, {}, {},
            {key: Series.of(part, times[-len(part):], [1.0] * len(part)) for key, part in (("val_loss", every[3:]), ("val_recon", every))},
        )  # fmt: skip

    figure = comparison([run("a", 100), run("b", 300)])
    assert figure is not None
    assert {axes.get_xlim() for axes in figure.axes[0::2]} == {(10.0, 300.0)}
    assert {axes.get_xlim() for axes in figure.axes[1::2]} == {(0.0, 5.0)}, "minutes since the start"


def test_the_curves_of_ten_models_are_all_drawn_and_no_two_look_alike():
    label_B = np.tile([0.0, 1.0], 20)
    risk_B = np.linspace(0.0, 1.0, 40)
    found = {f"model {number}": bands(label_B, risk_B, repeats=3) for number in range(10)}
    with style.DRAWING:
        figure = risk_curves(found, net_benefit_of_all(label_B), 0.5, "death")
    for axes in figure.axes:
        curves = [line for line in axes.lines if line.get_color() != style.GRAY]
        assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == 10
        assert len(axes.collections) == 10, "each has its band"
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*found, "without a model"]
