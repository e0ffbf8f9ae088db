"""The pieces of the web page that are text: a view as HTML, every word from outside escaped."""

from __future__ import annotations

from html import escape

from seqsetvae import palette
from seqsetvae.dashboard.status import alert_line
from seqsetvae.dashboard.view import SYMBOLS, View

STYLE = """
body { font: 15px/1.45 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #1a1a1a; background: #f6f6f6; }
.nicegui-content { padding: 0; gap: 0; width: 100%; }
.light { width: 100%; padding: .7rem 1.2rem; font-size: 1.35rem; font-weight: 700; color: #000; }
.reasons { padding: .3rem 1.2rem; margin: 0; width: 100%; background: #fff; border-bottom: 1px solid #ddd; }
.run { padding: .6rem 1.2rem; width: 100%; background: #fff; border-bottom: 1px solid #ddd; }
.run h1 { font-size: 1.1rem; line-height: 1.3; font-weight: 700; margin: 0; }
.run p { margin: .1rem 0; }
.quiet { color: #555; }
.worry { font-weight: 700; background: #fff3d6; border-left: 6px solid #E69F00; padding: .2rem .6rem; }
.bar { background: #e4e4e4; height: 8px; border-radius: 4px; margin: .35rem 0; max-width: 46rem; }
.bar div { background: #0072B2; height: 8px; border-radius: 4px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: .8rem; width: 100%; padding: .8rem; }
.card { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .6rem .9rem; overflow-x: auto; }
.card h2 { font-size: 1rem; font-weight: 700; margin: 0 0 .3rem; line-height: 1.3; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(23rem, 1fr)); gap: .8rem; width: 100%; padding: 0 .8rem .8rem; }
.chart { background: #fff; border: 1px solid #ddd; border-radius: 6px; height: 15.5rem; width: 100%; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #eee; white-space: nowrap; }
th { font-weight: 400; color: #555; }
td { white-space: pre; }
td.number { text-align: right; font-variant-numeric: tabular-nums; font-weight: 700; }
tr.out td { background: #fff3d6; }
.alert { margin: .2rem 0; padding-left: 1.4rem; text-indent: -1.4rem; }
"""


def light(view: View) -> str:
    """The traffic light."""
    symbol, color = view.light
    return f'<div class="light" role="status" style="background: {color}">{symbol} {escape(view.verdict)}</div>'


def reasons(view: View) -> str:
    """Why it is not green; empty where it is."""
    return f'<div class="reasons">{"<br>".join(map(escape, view.reasons))}</div>' if view.reasons else ""


def run(view: View) -> str:
    """Which run this is, how far it is, and whether it and its store still answer."""
    where = view.progress
    state = "; ".join(filter(None, [view.state, view.freshness if view.charts else "", where.speed]))
    bar = "" if where.share is None else f'<div class="bar"><div style="width: {100 * where.share:.1f}%"></div></div>'
    lines = [
        f"<h1>{escape(view.title)}</h1>",
        f"<p{_worry(view.worrying)}>{escape(state)}</p>",
        f"{bar}<p>{escape(', '.join(filter(None, [where.place, where.left])))}</p>",
        f'<p class="quiet">{escape(view.experiment)}, {escape(view.store)}</p>' if view.experiment else "",
        *(f"<p><em>{escape(note)}</em></p>" for note in view.notes),
        f"<p{_worry(True)}>{escape(view.trouble)}</p>" if view.trouble else "",
    ]
    return f'<div class="run">{"".join(lines)}</div>'


def indicators(view: View) -> str:
    """The newest values beside what they should be."""
    rows = [
        f"<tr{' class=out' if row.out_of_range else ''}><td>{'! ' if row.out_of_range else ''}{escape(row.title)}</td>"
        f'<td class="number">{escape(row.value)}</td><td class="quiet">{escape(row.unit)}</td><td>{escape(row.range)}</td></tr>'
        for chart in view.charts
        for row in chart.rows
    ]
    head = "<tr><th>indicator</th><th>now</th><th></th><th>should be</th></tr>"
    return f'<div class="card"><h2>Indicators</h2><table>{head}{"".join(rows)}</table></div>'


def alerts(view: View) -> str:
    """Newest first."""
    lines = [
        f'<p class="alert"><span style="color: {palette.LEVELS[alert.level.word]}; -webkit-text-stroke: .4px #000">'
        f"{SYMBOLS[alert.level]}</span> {escape(alert_line(alert))}</p>"
        for alert in view.alerts
    ]
    return f'<div class="card"><h2>Alerts</h2>{"".join(lines) or "<p>No alerts.</p>"}</div>'


def _worry(worrying: bool) -> str:
    return ' class="worry"' if worrying else ""
