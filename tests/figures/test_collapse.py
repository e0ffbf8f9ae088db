"""What the monitor's figures show: the numbers given, thresholds where they are, alerts when they were; and nothing upsets them."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.lines import Line2D
from PIL import Image

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.figures import style
from seqsetvae.figures.collapse import collapse_figure, draw_collapse
from seqsetvae.figures.kl_map import EPSILON, color_scale, kl_map_figure
from seqsetvae.figures.lost import lost_figure

CONFIG = settle_monitor(MonitorConfig(), total_steps=2000)
SOURCE = settle_monitor(MonitorConfig(rules="source", fast_detection=True), total_steps=2000)
ALERTS = (
    Diagnosis(800, Level.YELLOW, (), ("mutual information too low: 0.050000 < 0.1",), "Lower --objective.max_beta."),
    Diagnosis(
        850, Level.ORANGE, (), ("KL divergence too low: 0.008000 < 0.01", "mutual information too low"), "Lower."
    ),
    Diagnosis(1000, Level.RED, (), ("KL divergence too low: 0.001000 < 0.01",), "Lengthen the warm-up."),
)
OPTIONAL = {"decoder_use": None, "recon": None, "recon_slope": None, "beta": None}


def history(updates: int = 40, dims: int = 6, every: int = 50) -> list[CollapseStatistics]:
    """A posterior that dies half way; the dimension with the largest KL first is not the one at the end."""
    rng = np.random.default_rng(3)
    found = []
    for update in range(updates):
        alive = 1.0 if update < updates // 2 else 1e-5
        kl_Z = (rng.uniform(0.1, 1.0, dims) * alive).astype(np.float32)
        kl = float(kl_Z.sum())
        found.append(
            CollapseStatistics(
                step=every * (update + 1),
                sets=1024,
                kl=kl,
                active_units=dims if alive == 1.0 else 0,
                latent_dim=dims,
                mutual_information=0.8 * kl - 0.001,
                mutual_information_ceiling=float(np.log(1024)),
                collapsed_dimensions_ratio=0.0,
                mean_variance=float(np.exp(-kl)),
                active_ratio_by_variance=1.0,
                active_ratio_by_mean_variance=0.9,
                kl_Z=kl_Z,
                decoder_use=None if update < 5 else 0.5 * kl,
                recon=30.0 - update,
                recon_slope=-0.25,
                updates=min(update + 1, 100),
                beta=min(1.0, update / 10),
            )
        )
    return found


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def line(axes: Axes, label: str) -> Line2D:
    [found] = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def test_each_panel_shows_its_metric_with_unit_and_threshold():
    updates = history()
    axes = panels(collapse_figure(updates, ALERTS, CONFIG, "run"))
    shown = {
        # title: (label of the curve, its values, unit, threshold)
        "KL divergence": ("KL divergence", [one.kl for one in updates], "nats per set", 0.01),
        "Mutual information": ("Mutual information", [one.mutual_information for one in updates], "nats", 0.1),
        "Active units": ("Var(μ) > 0.01", [one.active_units_ratio for one in updates], "share of dimensions", 0.1),
        "Decoder use": ("loss when z is exchanged", [one.decoder_use for one in updates], "nats per set", 0.01),
        "Posterior variance": ("mean σ²", [one.mean_variance for one in updates], "σ² (prior: 1)", None),
        "Reconstruction loss": (
            "slope -0.25 nats per update, last 40 updates",
            [one.recon for one in updates],
            "nats per set",
            None,
        ),
        "Weight of the KL term": ("Weight of the KL term", [one.beta for one in updates], "β", None),
    }
    assert set(axes) == {"Level", *shown}
    for title, (label, values, unit, threshold) in shown.items():
        x, y = line(axes[title], label).get_data()
        assert list(x) == [one.step for one in updates]
        np.testing.assert_array_equal(y, np.array(values, np.float64))
        assert axes[title].get_ylabel() == unit
        if threshold is not None:
            assert set(line(axes[title], f"threshold {threshold:g}").get_ydata()) == {threshold}
            assert f"threshold {threshold:g}" in legend_texts(axes[title])
            low, high = axes[title].get_ylim()
            assert low < threshold < high
    ceiling = line(axes["Mutual information"], "ceiling ln 1,024 = 6.93")
    assert set(ceiling.get_ydata()) == {updates[0].mutual_information_ceiling}
    assert set(line(axes["Posterior variance"], "share of σ² > 0.01").get_ydata()) == {1.0}
    assert axes["Weight of the KL term"].get_xlabel() == "optimizer step"


def test_scales_follow_the_span():
    axes = panels(collapse_figure(history(), ALERTS, CONFIG, "run"))
    assert axes["KL divergence"].get_yscale() == "symlog"
    assert axes["KL divergence"].get_ylim()[0] < 1e-4
    assert axes["Reconstruction loss"].get_yscale() == "linear"
    assert axes["Active units"].get_yscale() == "linear"
    [count] = axes["Active units"].child_axes
    assert count.get_ylabel() == "number of 6"


def test_alerts_are_marked_at_their_steps_in_their_colors():
    figure = collapse_figure(history(), ALERTS, CONFIG, "run")
    for title, axes in panels(figure).items():
        if title == "Level":
            continue
        marks = {
            one.get_label(): [segment[0][0] for segment in one.get_segments()]
            for one in axes.collections
            if isinstance(one, LineCollection)
        }
        assert marks == {"yellow alert": [800], "orange alert": [850], "red alert": [1000]}
    strip = panels(figure)["Level"]
    assert [(int(one.get_xdata()[0]), one.get_marker()) for one in strip.get_lines()] == [
        (800, "^"),
        (850, "D"),
        (1000, "X"),
    ]
    spans = [(one.get_paths()[0].get_extents(), one.get_facecolor()) for one in strip.collections]
    assert [(extent.x0, extent.x1) for extent, _ in spans] == [(50, 800), (800, 850), (850, 1000), (1000, 2000)]
    assert len({tuple(color[0]) for _, color in spans}) == 4
    assert len(set(style.LEVEL_MARKERS.values())) == len(set(style.LEVEL_COLORS.values())) == 5


def test_words_say_what_happened():
    words = [text.get_text() for text in collapse_figure(history(), ALERTS, CONFIG, "my $run$ 7").texts]
    assert words[:2] == ["my $run$ 7", "RED since step 1,000: posterior collapse"]
    assert words[2] == "Alerts"
    assert words[3].splitlines()[0] == "step 1,000 red: KL divergence too low: 0.001000 < 0.01"
    assert words[3].splitlines()[1].strip() == "To try: Lengthen the warm-up."


def test_an_early_warning_is_marked_but_has_no_say():
    early = replace(ALERTS[1], step=300, detector="early warning")
    figure = collapse_figure(history(), [early], CONFIG, "run")
    assert figure.texts[1].get_text() == "green up to step 2,000: no alert"
    strip = panels(figure)["Level"]
    assert len(strip.collections) == 1
    assert "early warning" in legend_texts(strip)


def test_the_guides_rules_show_their_own_thresholds_and_no_others():
    axes = panels(collapse_figure(history(60), ALERTS, SOURCE, "run"))
    thresholds = {
        title: [text for text in legend_texts(one) if text.startswith("threshold")]
        for title, one in axes.items()
        if one.get_legend() is not None
    }
    assert {title: texts for title, texts in thresholds.items() if texts} == {
        "KL divergence": ["threshold 0.005"],
        "Posterior variance": ["threshold 0.05"],
        "Active by variance": ["threshold 0.15"],
    }
    assert set(line(axes["Active by variance"], "of mean σ² > 0.05").get_ydata()) == {0.9}


def test_what_was_not_measured_has_no_panel():
    lean = [replace(update, **OPTIONAL, kl_Z=np.zeros(0, np.float32)) for update in history()]
    axes = panels(collapse_figure(lean, [], CONFIG, "run"))
    assert set(axes) == {"Level", "KL divergence", "Mutual information", "Active units", "Posterior variance"}
    assert set(draw_collapse(lean, [], CONFIG, "run")) == {names.IMAGE_COLLAPSE}
    assert draw_collapse([], [], CONFIG, "run") == {}


def heat_map(figure: Figure) -> QuadMesh:
    [mesh] = [one for one in panels(figure)["KL per dimension"].collections if isinstance(one, QuadMesh)]
    return mesh


@pytest.mark.parametrize("dims", [4, 256])
def test_the_map_is_the_input_sorted_by_the_last_kl(dims):
    updates = [replace(one, kl_Z=one.kl_Z + np.float32(EPSILON / 2)) for one in history(30, dims)]
    figure = kl_map_figure(updates, ALERTS, "run")
    assert figure is not None
    kl_ZT = np.stack([update.kl_Z for update in updates], axis=1)
    order = np.argsort(-kl_ZT[:, -1], kind="stable")
    np.testing.assert_array_equal(heat_map(figure).get_array(), kl_ZT[order])
    axes = panels(figure)["KL per dimension"]
    assert axes.get_ylim() == (dims - 0.5, -0.5)
    figure.draw_without_rendering()
    if dims == 4:
        assert [text.get_text() for text in axes.get_yticklabels()] == [f"z{index}" for index in order]
    assert axes.get_title(loc="right").startswith(f"0 of {dims} dimensions")
    bar = figure.axes[-1]
    assert bar.get_ylabel().startswith("KL, nats per set")
    assert [EPSILON, EPSILON] in [list(one.get_ydata()) for one in bar.get_lines()]
    assert "ε = 0.01" in [text.get_text() for text in bar.get_yticklabels()]


def test_colors_break_at_epsilon_and_darken_with_information():
    norm, colors = color_scale(0.0)
    ink = [1 - np.dot(colors(norm(kl))[:3], (0.299, 0.587, 0.114)) for kl in (0.0101, 0.1, 1.0, 10.0)]
    assert all(later > earlier for earlier, later in pairwise(ink))
    red, green, blue, _ = colors(norm(0.0099))
    assert red == green == blue
    red, green, blue, _ = colors(norm(0.0101))
    assert abs(red - blue) > 0.5


def test_the_alive_dimensions_are_counted():
    updates = history(4)
    updates[-1] = replace(updates[-1], kl_Z=np.array([0.5, 0.001, 0.02, 0.0, np.nan, 0.3], np.float32))
    figure = kl_map_figure(updates, [], "run")
    assert figure is not None
    axes = panels(figure)["KL per dimension   (pink: NaN or inf)"]
    assert axes.get_title(loc="right").startswith("3 of 6 dimensions")
    assert [2.5, 2.5] in [list(one.get_ydata()) for one in axes.get_lines()]


def odd_histories() -> Iterator[tuple[str, list[CollapseStatistics]]]:
    updates = history(6)
    floats = ["kl", "mutual_information", "mean_variance", "active_ratio_by_variance", "decoder_use", "recon", "beta"]
    for word, value in {
        "nan": np.nan,
        "inf": np.inf,
        "-inf": -np.inf,
        "zero": 0.0,
        "constant": 7.5,
        "huge": 1e300,
    }.items():
        fill = dict.fromkeys([*floats, "recon_slope", "mutual_information_ceiling"], value)
        kl_Z = np.full(6, value if abs(value) < 1e30 else np.inf, np.float32)
        yield f"all {word}", [replace(update, **fill, kl_Z=kl_Z) for update in updates]
        yield f"one {word}", [*updates[:3], replace(updates[3], **fill, kl_Z=kl_Z), *updates[4:]]
    yield "one point", updates[:1]
    yield "negative", [replace(update, kl=-1e-7, mutual_information=-3.0, decoder_use=-0.2) for update in updates]
    yield "repeated steps", [*updates, *updates[2:4]]
    yield (
        "other width",
        [*updates[:3], *[replace(one, kl_Z=np.ones(4, np.float32), latent_dim=4) for one in updates[3:]]],
    )
    yield "large steps", [replace(update, step=update.step * 10**9) for update in updates]
    yield "float32", [replace(update, kl=np.float32(0.1), recon=np.float32(3)) for update in updates]


@pytest.mark.parametrize(("name", "updates"), list(odd_histories()))
def test_odd_input_is_drawn_all_the_same(name, updates):
    config = SOURCE if name.startswith("all") else CONFIG
    images = draw_collapse(updates, ALERTS, config, "模型 $\\frac{ \x07" + "x" * 300)
    assert set(images) - {names.IMAGE_LOST} == {names.IMAGE_COLLAPSE, names.IMAGE_KL_MAP}
    for image in images.values():
        assert Image.open(io.BytesIO(image)).size == (1400, 1000)


def test_a_value_that_is_no_number_leaves_a_gap_and_a_cross():
    updates = history(6)
    updates[2] = replace(updates[2], kl=float("nan"))
    axes = panels(collapse_figure(updates, [], CONFIG, "run"))["KL divergence"]
    assert np.isnan(line(axes, "KL divergence").get_ydata()).tolist() == [False, False, True, False, False, False]
    assert list(line(axes, "NaN, inf").get_xdata()) == [150]
    # What was never measured is a gap without a cross.
    assert "NaN, inf" not in legend_texts(panels(collapse_figure(history(), [], CONFIG, "run"))["Decoder use"])


def test_what_was_lost_is_drawn_dimension_by_dimension_and_only_where_something_was():
    updates = history()
    figure = lost_figure(updates, ALERTS, 0, "run")
    best = max(updates, key=lambda one: one.mutual_information)
    [axes] = figure.axes
    then, now = (np.array([bar.get_height() for bar in bars]) for bars in axes.containers)
    assert then == pytest.approx(np.sort(best.kl_Z)[::-1])
    assert now == pytest.approx(updates[-1].kl_Z[np.argsort(-best.kl_Z)])
    assert any("6 of 6 dimensions" in text.get_text() for text in figure.texts)
    of_layers = [*updates[:-1], replace(updates[-1], collapsed_parts=("layer z2",))]
    assert "layer z2 collapsed" in lost_figure(of_layers, ALERTS, 0, "run").axes[0].get_title(loc="left")
    assert lost_figure(updates[:20], [], 0, "run") is None


def test_two_threads_draw_what_one_draws():
    runs = [history(30, 8), history(12, 40)]
    alone = [draw_collapse(run, ALERTS, CONFIG, "run") for run in runs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda run: draw_collapse(run, ALERTS, CONFIG, "run"), runs))
    assert together == alone


def test_it_can_be_handed_to_another_process_and_leaves_pyplot_alone():
    assert pickle.loads(pickle.dumps(draw_collapse)) is draw_collapse
    code = "import sys, seqsetvae.figures.collapse; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_installed_font_is_used_for_what_the_first_lacks(monkeypatch):
    """No Chinese font comes with matplotlib; its STIX stands in for one."""
    latin = style.font_files(("DejaVu Sans",))
    other = style.font_files(("STIXGeneral",))
    letter = chr(min(set(get_font(other[0]).get_charmap()) - set(get_font(latin[0]).get_charmap())))
    monkeypatch.setattr(style, "CJK_FONTS", ("No Such Font", "STIXGeneral"))
    style.font_families.cache_clear()
    style.characters.cache_clear()
    try:
        assert style.font_families() == ("DejaVu Sans", "STIXGeneral")
        assert style.legible(f"a{letter}") == f"a{letter}"
        style.png(style.new_figure(f"a{letter}", ""))
    finally:
        monkeypatch.undo()
        style.font_families.cache_clear()
        style.characters.cache_clear()
