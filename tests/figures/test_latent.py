"""What the figures of a trained model show: the numbers given, in the order and units said, with legends beside the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.data.units import AS_RECORDED
from seqsetvae.figures import style
from seqsetvae.figures.latent import text
from seqsetvae.figures.latent.arrays import (
    LatentSample,
    Quartiles,
    StayView,
    VariableError,
    VariableTold,
    VariableTrace,
)
from seqsetvae.figures.latent.correlation_figure import correlation_figure
from seqsetvae.figures.latent.embedding import Embedding, Probes
from seqsetvae.figures.latent.posterior_figure import posterior_figure
from seqsetvae.figures.latent.reconstruction_figure import reconstruction_figure
from seqsetvae.figures.latent.stay_figure import stay_figure
from seqsetvae.figures.latent.summary import summarize
from seqsetvae.figures.latent.told_figure import told_figure
from seqsetvae.figures.latent.umap_figure import OUTCOMES, umap_figure
from tests.support.drawn_texts import unreadable

THRESHOLDS = settle_monitor(MonitorConfig(kl_threshold=0.02), total_steps=10_000)
PROBES = Probes(0.71, 0.2, None)


def sample(scales: tuple[float, ...] = (0.001, 1.2, 0.4, 0.0, 0.7), sets: int = 600) -> LatentSample:
    """Posterior means with these standard deviations; the last dimension repeats the second with its sign turned."""
    rng = np.random.default_rng(1)
    mu_SZ = (rng.standard_normal((sets, len(scales))) * scales).astype(np.float32)
    mu_SZ[:, -1] = -scales[-1] * mu_SZ[:, 1]
    stay_S = np.arange(sets) % 20
    label_S = np.where(stay_S < 5, 1.0, np.where(stay_S < 18, 0.0, np.nan))
    return LatentSample(
        mu_SZ=mu_SZ,
        logvar_SZ=np.broadcast_to(-np.square(np.array(scales, np.float32)), mu_SZ.shape).copy(),
        hour_S=rng.uniform(0.0, 48.0, sets),
        label_S=label_S,
        severity_S=np.where(stay_S == 0, np.nan, rng.uniform(0.0, 20.0, sets)),
        severity="疾病严重程度, points",
        stay_S=stay_S,
        stays=20,
        sets=9000,
        decoder_use=3.0,
    )


def error(name: str, model: float, training_median: float, unit: str = "mmHg", events: int = 100) -> VariableError:
    return VariableError(
        name,
        unit,
        events,
        Quartiles(model / 2, model, model * 2),
        Quartiles(training_median / 2, training_median, training_median * 3),
    )


ERRORS = (error("pH", 0.05, 0.05, "pH"), error("心率", 11.0, 0.0, "beats/min", 7), error("MAP", 2.0, 8.0, events=4000))


def view(sets: int = 30, dims: int = 5) -> StayView:
    rng = np.random.default_rng(2)
    hour_S = np.sort(rng.uniform(0.0, 40.0, sets))
    seen = np.arange(0, sets, 2)
    middle_S = 80 + 5 * np.sin(hour_S)
    recorded_T = middle_S[seen].copy()
    recorded_T[:3] += 50.0
    traces = tuple(
        VariableTrace(name, unit, hour_S[seen], recorded_T, middle_S - 10, middle_S, middle_S + 10, hour_S)
        for name, unit in (("HR", "beats/min"), ("平均动脉压", "mmHg"))
    )
    mu_SZ = rng.standard_normal((sets, dims)).astype(np.float32)
    return StayView(7, 1.0, hour_S, rng.integers(1, 9, sets), mu_SZ, np.full_like(mu_SZ, 0.3), traces)


def embedding(one: LatentSample) -> Embedding:
    return Embedding(one.mu_SZ[:, 1:3].astype(float), 15, 0.93)


def panels(figure: Figure) -> dict[str, Any]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def legend_texts(axes) -> list[str]:
    return [one.get_text() for one in axes.get_legend().get_texts()]


ONE = sample()
SUMMARY, DEAD = summarize(ONE, THRESHOLDS), summarize(sample((0.0,) * 5), THRESHOLDS)
MANY = tuple(error(f"variable {number:03d}", number + 1.0, 50.0) for number in range(60))
FIGURES = {
    "posterior": lambda: posterior_figure(SUMMARY, "models:/seqsetvae/3 on 数据, test", "subtitle"),
    "posterior, collapsed": lambda: posterior_figure(DEAD, "run", "subtitle"),
    "posterior, wide": lambda: posterior_figure(summarize(sample((0.5,) * 256), THRESHOLDS), "run", "subtitle"),
    "map": lambda: umap_figure(ONE, embedding(ONE), PROBES, "run", "subtitle"),
    "no map": lambda: umap_figure(ONE, None, PROBES, "run", "subtitle"),
    "errors": lambda: reconstruction_figure(ERRORS, "run", "subtitle"),
    "many errors": lambda: reconstruction_figure(MANY, "run", "subtitle"),
    "correlation": lambda: correlation_figure(SUMMARY.correlation, "run", "subtitle"),
    "no correlation": lambda: correlation_figure(DEAD.correlation, "run", "subtitle"),
    "stay": lambda: stay_figure(view(), SUMMARY.active_A, "run", "subtitle"),
    "stay of one set": lambda: stay_figure(view(sets=1), [0, 1], "run", "subtitle"),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_nothing_overlaps_and_nothing_is_cut(name):
    figure: Any = FIGURES[name]()
    with style.DRAWING:
        assert unreadable(figure) == []
        renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        if axes.get_legend():
            inside, legend = axes.get_window_extent(renderer), axes.get_legend().get_window_extent(renderer)
            assert legend.y0 >= inside.y1 - 1


def test_the_posterior_figure_has_each_dimension_in_order_and_the_thresholds():
    summary = summarize(sample(), THRESHOLDS)
    shown = panels(posterior_figure(summary, "run", "subtitle"))
    for title, values, threshold, said in (
        ("KL per dimension", summary.kl_Z, 0.01, "collapsed below ε = 0.01: 3 of 5 above"),
        ("Activity: variance of the means", summary.signal_Z, 0.01, "active above 0.01: 3 of 5 above"),
    ):
        axes = shown[title]
        order = np.argsort(-values, kind="stable")
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(values[order])
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [f"z{one}" for one in order]
        assert [to_rgb(bar.get_facecolor()[:3]) == to_rgb(style.BLUE) for bar in axes.patches] == [True] * 3 + [
            False
        ] * 2
        [line] = axes.get_lines()
        assert set(line.get_ydata()) == {threshold}
        assert legend_texts(axes) == [said]
    scatter = {line.get_label(): line for line in shown["Means against variance"].get_lines()}
    active = summary.signal_Z > 0.01
    np.testing.assert_array_equal(scatter["active"].get_xdata(), summary.signal_Z[active])
    np.testing.assert_array_equal(scatter["inactive"].get_ydata(), summary.variance_Z[~active])
    assert scatter["prior"].get_data() == ([0.0], [1.0])
    bars = shown["Against the monitor's thresholds"]
    ratios = [one.value / one.threshold for one in summary.indicators if one.fires_below]
    assert [bar.get_x() + bar.get_width() for bar in bars.patches[:4]] == pytest.approx(ratios)
    words = [one.get_text() for one in bars.texts]
    assert words[0] == f"KL divergence: {summary.statistics.kl:.3g} nats per set (threshold 0.02)"
    assert words[2].endswith(f"nats, at most {np.log(600):.2f} (threshold 0.1)")
    assert legend_texts(bars) == ["threshold"]


def test_a_collapsed_posterior_is_out_of_range():
    dead = summarize(replace(sample((0.0,) * 5), decoder_use=0.0), THRESHOLDS)
    axes = panels(posterior_figure(dead, "run", "subtitle"))["Against the monitor's thresholds"]
    assert legend_texts(axes) == ["threshold", "out of range"]
    red = to_rgb(style.LEVEL_COLORS[Level.RED])
    assert all(to_rgb(bar.get_facecolor()[:3]) == red for bar in axes.patches[:4])
    assert text.posterior_text(dead).count("OUT OF RANGE") == 5
    assert text.correlation_text(dead) == "Fewer than two dimensions are active."


def test_the_map_is_colored_by_outcome_hour_and_severity():
    one = sample()
    figure = umap_figure(one, embedding(one), PROBES, "run", "subtitle")
    shown = panels(figure)
    [points] = shown["Outcome (stays)"].collections
    np.testing.assert_array_equal(points.get_offsets(), embedding(one).xy_S2)
    colors = {label: to_rgb(color) for label, (color, _) in OUTCOMES.items()}
    for label, color in colors.items():
        assert {tuple(row[:3]) for row in points.get_facecolors()[one.label_S == label]} == {color}
    assert legend_texts(shown["Outcome (stays)"]) == ["0 (13)", "1 (5)", "none (2)"]
    [_, hours] = shown["Time in the stay"].collections
    np.testing.assert_array_equal(hours.get_array(), one.hour_S)
    [unknown, known] = shown["Severity"].collections
    assert isinstance(known, PathCollection)
    assert len(unknown.get_offsets()) == np.isnan(one.severity_S).sum()
    np.testing.assert_array_equal(known.get_array(), one.severity_S[np.isfinite(one.severity_S)])
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert "hours since the start of the stay" in labels
    assert style.legible("疾病严重程度, points") in labels
    said = [one.get_text() for axes in figure.axes for one in axes.texts]
    assert said[0].endswith("AUROC 0.71")
    assert said[1].endswith("R² 0.20")
    assert said[2] == ""


def test_each_variable_has_its_errors_in_its_unit_the_best_first():
    figure = reconstruction_figure(ERRORS, "run", "subtitle")
    assert list(panels(figure)) == ["MAP, mmHg", "pH, pH", f"{style.legible('心率')}, beats/min"]
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["0.25×, n 4,000", "1.00×, n 100", "n 7"]
    lines = [line.get_xdata() for line in figure.axes[0].get_lines()]
    assert [list(x) for x in lines] == [[1.0, 4.0], [2.0], [4.0, 24.0], [8.0]]
    heights = [line.get_ydata()[0] for line in figure.axes[0].get_lines()]
    assert heights == [1, 1, 0, 0]
    assert [one.get_text() for one in figure.legends[0].get_texts()] == [
        "model: median error, quartiles",
        "training median in its place",
    ]
    rows = text.reconstruction_text(ERRORS).splitlines()
    assert rows[1].split() == ["MAP", "mmHg", "4,000", "2", "(1", "to", "4)", "8", "(4", "to", "24)", "0.25"]


def test_a_unit_that_nobody_knows_is_no_part_of_a_heading():
    figure = reconstruction_figure([error("MAP", 2.0, 8.0, AS_RECORDED)], "run", "subtitle")
    assert list(panels(figure)) == ["MAP"]


@pytest.mark.parametrize(("most", "says_the_limit"), [(0.03, False), (2.0, True)])
def test_little_that_is_told_is_seen_as_well_as_much(most, says_the_limit):
    told = [VariableTold("HR", most, 0.001), VariableTold("pH", most / 2, 0.001)]
    axes = told_figure(told, "run").axes[0]
    assert most < axes.get_xlim()[1] < max(4 * most, 2.2)
    assert most / axes.get_xlim()[1] > 0.25, "the longest bar takes a good part of the panel"
    assert [text.get_text() for text in axes.texts] == ["most that can be shown "] * says_the_limit


def test_correlations_stand_in_clustered_order():
    found = summarize(sample(), THRESHOLDS).correlation
    figure = correlation_figure(found, "run", "subtitle")
    axes = panels(figure)["Correlation of posterior means, clustered"]
    [mesh] = [one for one in axes.collections if isinstance(one, QuadMesh)]
    np.testing.assert_array_equal(mesh.get_array().reshape(3, 3), found.r_AA)
    assert mesh.get_clim() == (-1.0, 1.0)
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == [tick.get_text() for tick in axes.get_yticklabels()]
    assert abs(names.index("z1") - names.index("z4")) == 1
    pairs = panels(figure)["Strongest pairs"]
    assert pairs.get_yticklabels()[0].get_text() == "z1 – z4"
    assert pairs.patches[0].get_width() == pytest.approx(-1.0)
    assert text.correlation_text(summarize(sample(), THRESHOLDS)).startswith(
        "3 active dimensions vary like 1.8 uncorrelated"
    )


def test_a_stay_shows_its_sets_its_posterior_and_what_was_recorded():
    one = view()
    figure = stay_figure(one, [3, 1], "run", "subtitle")
    shown = panels(figure)
    assert list(shown) == [
        "Sets: 30, as high as they have events",
        "z3",
        "z1",
        "HR, beats/min",
        f"{style.legible('平均动脉压')}, mmHg",
    ]
    [sticks] = shown["Sets: 30, as high as they have events"].collections
    assert isinstance(sticks, LineCollection)
    assert [segment[1].tolist() for segment in sticks.get_segments()] == np.column_stack(
        [one.hour_S, one.events_S]
    ).tolist()
    [mean] = shown["z3"].get_lines()
    np.testing.assert_array_equal(mean.get_data(), (one.hour_S, one.mu_SZ[:, 3]))
    [band] = [area for area in shown["z3"].collections if isinstance(area, FillBetweenPolyCollection)]
    edges = band.get_paths()[0].vertices
    assert {round(float(y), 4) for y in edges[:, 1]} == {
        round(float(one.mu_SZ[at, 3] + sign * 0.3), 4) for at in range(30) for sign in (-1, 1)
    }
    trace = one.traces[0]
    line, dots = shown["HR, beats/min"].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), trace.middle_S)
    np.testing.assert_array_equal(dots.get_data(), (trace.hour_T, trace.recorded_T))
    assert shown["HR, beats/min"].get_title(loc="right") == "80 % of 15 values inside the band"
    assert shown["z1"].get_xlabel() == "hours since the start of the stay"
    low, high = shown["HR, beats/min"].get_ylim()
    assert low < trace.recorded_T.min()
    assert high > trace.recorded_T.max()
