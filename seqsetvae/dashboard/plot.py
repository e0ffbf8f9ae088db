"""One chart drawn with letters."""

from __future__ import annotations

import time

import numpy as np
from textual_plotext import PlotextPlot

from seqsetvae import palette
from seqsetvae.dashboard.charts import Chart
from seqsetvae.figures.curve_panels import thin

CHART_WIDTH, CHART_HEIGHT = 40, 9
"""Letters that a chart needs at least."""
COLORS = {"blue": palette.SKY, "pink": palette.PURPLE}
"""Of the first curve and the second, by the word for it: letters leave no room for a legend."""
GRAY = "#888888"
DOTS = 2
"""Of a letter, side by side: more points than that cannot be seen apart."""


class ChartPlot(PlotextPlot):
    """Shows the chart that it was last told to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.chart: Chart | None = None
        """To be seen after the next :meth:`draw`."""
        self.drawn_at = 0.0
        self._drawn: tuple[Chart, int, int] | None = None

    @property
    def stale(self) -> bool:
        """Whether what is on the screen is not the chart as it is now."""
        if self._drawn is None or self.chart is None or self._drawn[1:] != (self.size.width, self.size.height):
            return self.chart is not None
        return not self.chart.same_as(self._drawn[0])

    def draw(self) -> None:
        """Draw curves and references."""
        assert self.chart is not None
        chart, plt = self.chart, self.plt
        plt.clear_figure()
        for trace, color in zip(chart.traces, COLORS.values(), strict=False):
            known_T = np.isfinite(trace.value_T)
            x_T, y_T = trace.step_T[known_T].astype(np.float64), chart.drawn(trace.value_T[known_T])
            x_T, y_T = thin(x_T, y_T, max(20, DOTS * self.size.width))
            if len(x_T):
                plt.plot(x_T.tolist(), y_T.tolist(), marker="braille", color=_rgb(color))
        for reference in chart.references:
            color = palette.ORANGE if reference.threshold else GRAY
            plt.hline(max(reference.value, chart.log_below or reference.value), _rgb(color))
        # Said either way: a plot that showed another chart before may still have that one's scale.
        plt.yscale("linear" if chart.log_below is None else "log")
        if chart.share:
            plt.ylim(0.0, 1.0)
        plt.title(self._title(chart))
        if self.size.height > CHART_HEIGHT:
            plt.xlabel("optimizer step")
        self._drawn = (chart, self.size.width, self.size.height)
        self.drawn_at = time.monotonic()
        self.refresh()

    def _title(self, chart: Chart) -> str:
        if len(chart.traces) == 1:
            return f"{chart.title}, {chart.unit}"
        named = ", ".join(f"{trace.label} ({word})" for trace, word in zip(chart.traces, COLORS, strict=False))
        whole = f"{chart.title}: {named}"
        return whole if len(whole) <= self.size.width else named


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
