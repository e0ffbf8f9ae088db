"""A chart as Apache ECharts wants it."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqsetvae import palette
from seqsetvae.dashboard.charts import Chart, StepCurve
from seqsetvae.figures.curve_panels import thin

DRAWN = 400
"""Points of one curve that are sent: about as many as a chart has pixels."""
COLORS = (palette.BLUE, palette.PURPLE, palette.SKY)
DIGITS = 5
"""That are sent of a number."""


def options(chart: Chart) -> dict[str, Any]:
    """Curves, thresholds with their labels, axes."""
    low, high = chart.limits
    named = len(chart.traces) > 1
    title = {
        "text": f"{{name|{chart.title}}}  {{unit|{chart.unit}}}",
        "left": 12,
        "top": 8,
        "textStyle": {
            "rich": {
                "name": {"fontSize": 14, "fontWeight": "bold"},
                "unit": {"fontSize": 12, "fontWeight": "normal", "color": "#666"},
            }
        },
    }
    return {
        "animation": False,
        "title": title,
        "legend": {
            "show": named,
            "right": 12,
            "top": 26,
            "icon": "roundRect",
            "itemHeight": 3,
            "textStyle": {"fontSize": 11},
        },
        "grid": {"left": 58, "right": 16, "top": 50, "bottom": 42},
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "value",
            "min": "dataMin",
            "max": "dataMax",
            "name": "optimizer step",
            "nameLocation": "middle",
            "nameGap": 24,
            "axisLabel": {"hideOverlap": True},
            "splitNumber": 4,
        },
        "yAxis": {"type": "value" if chart.log_below is None else "log", "min": low, "max": high, "splitNumber": 4}
        | ({"interval": 0.25} if chart.share and (low, high) == (0.0, 1.0) else {})
        | {"axisLabel": _numbers(chart, low, high)},
        "series": [_series(chart, trace, color) for trace, color in zip(chart.traces, COLORS, strict=False)],
    }


def _numbers(chart: Chart, low: float, high: float) -> dict[str, Any]:
    """Beside the y axis."""
    # The bounds of a share are said where they are round; others have many digits.
    shown: dict[str, Any] = {"showMinLabel": chart.share and low == 0.0, "showMaxLabel": chart.share and high == 1.0}
    least = chart.log_below
    if least is not None and any((trace.value_T < least).any() for trace in chart.traces):
        # A colon marks what is JavaScript. Where the axis ends stands whatever is lower still.
        shown[":formatter"] = f"value => (value < {1.001 * least:g} ? '≤ ' : '') + Number(value.toPrecision(3))"
    return shown


def _series(chart: Chart, trace: StepCurve, color: str) -> dict[str, Any]:
    known_T = np.isfinite(trace.value_T)
    x_T, y_T = thin(trace.step_T[known_T].astype(np.float64), chart.drawn(trace.value_T[known_T]), DRAWN)
    lines = [
        {
            "yAxis": reference.value,
            "label": {"formatter": reference.label, "position": "insideEndTop", "fontSize": 11},
            "lineStyle": {"color": palette.BLACK if reference.threshold else "#888888", "type": "dashed"},
        }
        for reference in (chart.references if trace is chart.traces[0] else ())
    ]
    return {
        "type": "line",
        "name": trace.label or chart.title,
        "color": color,
        "showSymbol": len(x_T) < 2,
        "lineStyle": {"width": 1.8},
        "data": [[int(x), float(f"{y:.{DIGITS}g}")] for x, y in zip(x_T.tolist(), y_T.tolist(), strict=True)],
        "markLine": {"symbol": "none", "silent": True, "data": lines},
    }
