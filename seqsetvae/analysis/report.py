"""`report.html`: one page that needs nothing else, with figures embedded, alerts, settings and the diagnosis in words."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from seqsetvae import names
from seqsetvae.analysis.collapse_text import indicator_rows
from seqsetvae.analysis.findings import Finding
from seqsetvae.analysis.run_analysis import COLLAPSE_METRICS, DYNAMICS, LOSS_CURVES, PERFORMANCE, RunAnalysis
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.figures.style import LEVEL_COLORS
from seqsetvae.tracking.read.run_history import RunHistory
from seqsetvae.tracking.read.smoothing import finite

STYLE = """
body { font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #1a1a1a; }
body { max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { margin-top: 2.6rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
h3 { margin-top: 1.8rem; }
img { width: 100%; height: auto; border: 1px solid #ddd; margin: .4rem 0; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e4e4e4; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { white-space: nowrap; }
.wide { overflow-x: auto; }
.finding { border-left: 6px solid var(--level); background: #f7f7f7; padding: .5rem 1rem; margin: .8rem 0; }
.finding h4 { margin: 0; }
.finding ul { margin: .3rem 0; }
.level { border-left: 12px solid var(--level); padding-left: .4rem; white-space: nowrap; }
.quiet { color: #555; font-size: .92rem; }
summary { cursor: pointer; font-weight: 600; }
"""
HEADINGS = {
    LOSS_CURVES: "Loss curves",
    PERFORMANCE: "Performance",
    DYNAMICS: "Training dynamics",
    COLLAPSE_METRICS: "Posterior collapse",
}


def render_report(analyses: Sequence[RunAnalysis], comparison: bytes | None = None) -> str:
    """The page, of one run or of several with their comparison."""
    one = len(analyses) == 1
    title = analyses[0].history.title if one else f"{len(analyses)} runs compared"
    body = [f"<h1>{escape(title)}</h1>", f'<p class="quiet">{escape(_source(analyses[0].history))}</p>']
    if not one:
        body.append(_overview(analyses))
    if comparison is not None:
        body.append(_image("comparison.png", "The runs by optimizer step and by wall time", comparison))
    for analysis in analyses:
        body.append("" if one else f'<h2 id="{escape(analysis.history.run_id)}">{escape(analysis.history.title)}</h2>')
        body.append(_run(analysis))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _run(analysis: RunAnalysis) -> str:
    history = analysis.history
    parts = [
        f"<p><strong>{escape(analysis.verdict)}</strong></p>",
        _pairs(facts(history)),
        "<h3>Diagnosis</h3>",
        *(_finding(one) for one in analysis.findings),
        "" if analysis.findings else "<p>No findings.</p>",
        *(f'<p class="quiet">{escape(note)}</p>' for note in analysis.notes),
    ]
    for name, heading in HEADINGS.items():
        if name in analysis.figures:
            parts.append(_image(name, heading, analysis.figures[name]))
        if name == COLLAPSE_METRICS:
            parts += [_indicators(analysis), _alerts(analysis), f'<p class="quiet">{escape(analysis.agreement)}</p>']
    parts.append(f"<details><summary>Settings</summary>{_settings(history)}</details>")
    return "\n".join(parts)


def facts(history: RunHistory) -> dict[str, str]:
    """What one wants to know first, in words."""
    last = max(int(series.step_T[-1]) for key, series in history.metrics.items() if not key.startswith("system/"))
    planned = history.tags.get(names.TAG_TOTAL_STEPS)
    ended = history.tags.get(names.TAG_ENDED_BY, "")
    found = {
        "run": f"{history.run_id} in experiment {history.experiment}",
        "status": history.status + (f", ended by: {ended}" if ended else ""),
        "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(history.start_time)),
        "steps": f"{last:,}" + (f" of {int(planned):,} planned" if planned else ""),
    }
    if history.end_time is not None:
        seconds = history.end_time - history.start_time
        hours, rest = divmod(round(seconds), 3600)
        found["took"] = f"{hours} h {rest // 60} min {rest % 60} s"
    validated = finite(history.metrics.get(names.VAL_LOSS))
    if validated is not None:
        best = int(validated.value_T.argmin())
        what, unit = (names.VAL_LOSS, "") if history.imported else ("−ELBO", " nats per set")
        found["validation"] = (
            f"{what} {validated.value_T[-1]:.4g}{unit} at the end; lowest {validated.value_T[best]:.4g} at step "
            f"{validated.step_T[best]:,}"
        )
    for tag, words in (
        (names.TAG_RESCUED_RUN, "rescue of run"),
        (names.TAG_RESCUED_BY, "goes on as run"),
        (names.TAG_IMPORTED_FROM, "imported from"),
    ):
        if tag in history.tags:
            found[words] = history.tags[tag]
    return found


def _source(history: RunHistory) -> str:
    return f"Read from {history.store} at {time.strftime('%Y-%m-%d %H:%M')}"


def _overview(analyses: Sequence[RunAnalysis]) -> str:
    rows = []
    for one in analyses:
        level = one.alerts[-1].level if one.alerts else Level.GREEN
        validated = [finite(one.history.metrics.get(key)) for key in (names.VAL_LOSS, names.VAL_RECON)]
        lowest = "".join(
            f'<td class="number">{"" if val is None else f"{val.value_T.min():.4g}"}</td>' for val in validated
        )
        rows.append(
            f'<tr><td><a href="#{escape(one.history.run_id)}">{escape(one.history.title)}</a></td>'
            f"<td>{escape(one.history.status.lower())}</td><td>{_level(level) if one.history.watched else 'not watched'}</td>"
            f"{lowest}<td>{escape(one.summary)}</td></tr>"
        )
    head = _header(("run", "status", "collapse", "lowest −ELBO", "lowest NLL", "diagnosis"))
    note = (
        '<p class="quiet">On the validation split, nats per set. A collapsed run pays no KL, so its −ELBO can be the lowest of all: hold '
        "the reconstruction (NLL) against it.</p>"
    )
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>{note}'


def _finding(finding: Finding) -> str:
    evidence = "".join(f"<li>{escape(one)}</li>" for one in finding.evidence)
    advice = "".join(f"<li>{escape(one)}</li>" for one in finding.advice)
    return (
        f'<div class="finding" style="--level: {LEVEL_COLORS[finding.level]}"><h4>{escape(finding.name)} ({finding.level.word})</h4>'
        f"<ul>{evidence}</ul>To try next:<ol>{advice}</ol></div>"
    )


def _image(name: str, heading: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f'<h3>{escape(heading)}</h3><img alt="{escape(heading)}" title="{escape(name)}" src="data:image/png;base64,{data}">'


def _indicators(analysis: RunAnalysis) -> str:
    rows = indicator_rows(analysis)
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td>{escape(row[0])}</td>"
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table>{_header(('indicator', 'first', 'lowest', 'highest', 'last', 'out of range'))}{cells}</table>"


def _alerts(analysis: RunAnalysis) -> str:
    if not analysis.alerts:
        return "<p>No alerts.</p>"
    rows = "".join(
        f'<tr><td class="number">{alert.step:,}</td><td>{_level(alert.level)}</td><td>{escape("; ".join(alert.reasons))}'
        f"{escape(f' (not called a collapse yet: {alert.held_back})') if alert.held_back else ''}</td>"
        f'<td class="number">{"" if alert.beta is None else f"{alert.beta:.3g}"}</td><td>{escape(alert.detector)}</td></tr>'
        for alert in analysis.alerts
    )
    return f'<h3>Alerts</h3><div class="wide"><table>{_header(("step", "level", "why", "beta", "detector"))}{rows}</table></div>'


def _level(level: Level) -> str:
    return f'<span class="level" style="--level: {LEVEL_COLORS[level]}">{level.word}</span>'


def _settings(history: RunHistory) -> str:
    return _pairs({key: history.params[key] for key in sorted(history.params)})


def _pairs(pairs: Mapping[str, str]) -> str:
    rows = (f'<tr><td class="name">{escape(key)}</td><td>{escape(value)}</td></tr>' for key, value in pairs.items())
    return f"<table>{''.join(rows)}</table>"


def _header(words: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<th>{escape(word)}</th>" for word in words) + "</tr>"
