"""One look for all figures: colors and marks that color-blind readers can tell apart, fonts, and PNG without pyplot.

Figures are drawn on a background thread while training runs. So nothing here touches pyplot or `rcParams`, whose state all threads
share: whatever differs from matplotlib's defaults is said where the artist is made.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, SymmetricalLogLocator
from PIL import Image

from seqsetvae import palette
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config.figures import ON_SCREEN, FigureConfig

Drawing = Figure
"""What the functions of this folder draw, for whoever keeps it and writes it later."""
BLACK, BLUE, PURPLE, SKY = palette.BLACK, palette.BLUE, palette.PURPLE, palette.SKY
GRAY, SHADE, GRID = "#666666", "#f1f1f1", "#e4e4e4"
LEVEL_COLORS = {level: palette.LEVELS[level.word] for level in Level}
LEVEL_MARKERS = {Level.UNKNOWN: "s", Level.GREEN: "o", Level.YELLOW: "^", Level.ORANGE: "D", Level.RED: "X"}

DPI = 100
SIZE = (14.0, 10.0)
"""Inches, so 1400 x 1000 pixels."""
LEFT, RIGHT, TOP, BOTTOM = 0.058, 0.972, 0.815, 0.06
"""Shares of the figure that the panels lie in, below heading and strip."""
HEADING = 0.75
"""Inches that the two lines of heading and some air take, in a figure without a strip."""
HEADING_ID = "heading"
"""Marks those lines."""
STRIP = (0.878, 0.03)
"""Lower edge and height of the strip above them."""
TEXT, SMALL, LARGE = 10.0, 9.0, 14.0
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Heiti SC",
    "Arial Unicode MS",
)

DRAWING = threading.RLock()
"""Held while a figure is built and rendered. matplotlib is not thread-safe even for figures of one's own: fonts and text layouts are
cached for all."""


@cache
def font_families() -> tuple[str, ...]:
    """matplotlib's own font, then the first installed one with Chinese: a family that is missing would be warned of at each text."""
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *[name for name in CJK_FONTS if name in installed][:1])


def font_files(families: Sequence[str]) -> list[str]:
    """The files of these families."""
    return [str(findfont(FontProperties(family=name))) for name in families]


@cache
def characters() -> frozenset[int]:
    """Code points that one of the families has."""
    return frozenset(code for path in font_files(font_families()) for code in get_font(path).get_charmap())


def legible(text: str) -> str:
    """The text with a box for each character that no font here has: matplotlib would draw the box too, but warn of each.

    >>> legible("KL \N{GREEK SMALL LETTER SIGMA}\U0010fffd")
    'KL σ□'
    """
    return "".join(letter if letter == "\n" or ord(letter) in characters() else "□" for letter in text)


def short(text: str, most: int) -> str:
    """The text, or as much of its beginning as `most` letters hold.

    >>> short("Non-invasive systolic pressure", 13), short("HR", 13)
    ('Non-invasive…', 'HR')
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def font(size: float) -> dict[str, Any]:
    """Size and families of a text; said at each one, because the defaults are everyone's."""
    return {"fontsize": size, "fontfamily": font_families()}


def new_figure(title: str, subtitle: str, height: float = SIZE[1]) -> Figure:
    """An empty figure with two lines of heading, drawn without pyplot. Panels go below :data:`TOP`, or :data:`HEADING` inches."""
    figure = Figure(figsize=(SIZE[0], height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    # A run may be called anything: "$" is no formula, and a long name must not run out of the picture.
    for inches, text, size, weight in ((0.15, short(title, 100), LARGE, "bold"), (0.42, subtitle, TEXT + 1, "normal")):
        heading = legible(text)
        figure.text(
            LEFT,
            1 - inches / height,
            heading,
            va="top",
            fontweight=weight,
            parse_math=False,
            gid=HEADING_ID,
            **font(size),
        )
    return figure


def dress(axes: Axes, title: str, unit: str) -> None:
    """A panel: title above on the left, where the legend leaves room, light grid, no box."""
    axes.set_facecolor("white")
    # All limits are said: looking for them around odd values may overflow.
    axes.set_autoscale_on(False)
    axes.set_title(legible(title), loc="left", y=1.0, pad=5, fontweight="bold", parse_math=False, **font(TEXT + 1))
    axes.set_ylabel(legible(unit), parse_math=False, **font(SMALL))
    # Fixed places, as all of the layout: measuring each tick label to find better ones takes as long as drawing does.
    axes.yaxis.set_label_coords(-58 / (DPI * SIZE[0] * axes.get_position().width), 0.5)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    plain_ticks(axes.yaxis)
    plain_ticks(axes.xaxis, most=5, number_format=",.0f")


def label_steps(axes: Axes) -> None:
    """Say that the x axis counts steps."""
    label_below(axes, "optimizer step")


def label_below(axes: Axes, text: str) -> None:
    """Say what the x axis is, below its numbers."""
    axes.set_xlabel(legible(text), parse_math=False, **font(SMALL))
    height = axes.get_figure(root=True).get_size_inches()[1]  # type: ignore[union-attr]
    axes.xaxis.set_label_coords(0.5, -26 / (DPI * height * axes.get_position().height))


def plain_ticks(axis: Axis, most: int = 4, number_format: str = "g") -> None:
    """Few ticks with plain numbers. Never 10 to the power of something: parsing formulas is slow, and no thread's own."""
    axis.set_major_locator(MaxNLocator(most, integer=number_format != "g"))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format(value, number_format)))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelsize=SMALL, labelfontfamily=font_families())


def share_ticks(axis: Axis) -> None:
    """Quarters: a scale of 0 to 1 says both of its ends."""
    axis.set_major_locator(FixedLocator([0.0, 0.25, 0.5, 0.75, 1.0]))


def log_ticks(axes: Axes, linear_below: float) -> None:
    """A logarithmic y axis that goes on below `linear_below` to zero and beyond in equal steps: nothing falls off its lower end."""
    axes.set_yscale("symlog", linthresh=linear_below)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_below))
    axes.yaxis.set_minor_locator(NullLocator())

    def said(value: float, _: int) -> str:
        crowded = axes.get_ylim()[1] > 1e5 * linear_below  # there 0 stands too close for a number beside it
        return "" if crowded and 0.0 < abs(value) < 2.0 * linear_below else f"{value:g}"

    axes.yaxis.set_major_formatter(FuncFormatter(said))


def legend_above(axes: Axes, handles: Sequence[Artist]) -> None:
    """A legend in one row above the data, on the right."""
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=max(1, len(handles)),
        prop=FontProperties(family=font_families(), size=SMALL),
        frameon=False,
        borderaxespad=0.1,
        handlelength=1.6,
        columnspacing=1.2,
    )


def written(figure: Figure, config: FigureConfig) -> bytes:
    """The figure as a file. The same figure gives the same bytes."""
    if config == ON_SCREEN:
        return png(figure)
    paper = config.style == "paper"
    whole = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    buffer = io.BytesIO()
    with DRAWING, rc_context({"pdf.fonttype": 42, "svg.hashsalt": "seqsetvae"}):  # letters that an editor can change
        for heading in figure.findobj(lambda one: one.get_gid() == HEADING_ID):
            heading.set_visible(not paper)
        figure.savefig(
            buffer,
            format=config.format,
            dpi=config.dpi or (300 if paper else DPI),
            metadata=whole[config.format],
            bbox_inches="tight" if paper else None,
        )
    return buffer.getvalue()


def files(figures: Mapping[str, Figure], config: FigureConfig) -> dict[str, bytes]:
    """By the names of files, which end as their format does."""
    return {f"{name.rpartition('.')[0]}.{config.format}": written(one, config) for name, one in figures.items()}


def png(figure: Figure) -> bytes:
    """The figure as PNG. The same figure gives the same bytes."""
    # Not `savefig`, which draws everything twice: the first time to lay it out.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    # Without the alpha channel, which is 1 all over.
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "png")
    return buffer.getvalue()
