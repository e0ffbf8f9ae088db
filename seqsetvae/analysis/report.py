"""`report.html`: one page that needs nothing else, with figures embedded, alerts, settings and the diagnosis in words."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from seqsetvae import names
from seqsetvae.analysis.collapse_text import indicator_rows
from seqsetvae.analysis.run_analysis import COLLAPSE_METRICS, DYNAMICS, LOSS_CURVES, PERFORMANCE, RunAnalysis
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.templates import page
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.smoothing import finite

HEADINGS = {
    LOSS_CURVES: "Loss curves",
    PERFORMANCE: "Performance",
    DYNAMICS: "Training dynamics",
    COLLAPSE_METRICS: "Posterior collapse",
}


def render_report(analyses: Sequence[RunAnalysis], comparison: bytes | None = None) -> str:
    """The page, of one run or of several with their comparison."""
    first = analyses[0].run
    return page(
        "report.html.jinja",
        title=first.title if len(analyses) == 1 else f"{len(analyses)} runs compared",
        read=f"Read from {first.store} at {time.strftime('%Y-%m-%d %H:%M')}",
        comparison=_picture("comparison.png", "The runs by optimizer step and by wall time", comparison),
        runs=[_run(analysis) for analysis in analyses],
    )


def _run(analysis: RunAnalysis) -> dict[str, Any]:
    """What the page says of a run."""
    run = analysis.run
    level = analysis.alerts[-1].level if analysis.alerts else Level.GREEN
    validated = [finite(run.metrics.get(key)) for key in (names.VAL_LOSS, names.VAL_RECON)]
    return {
        "id": run.run_id,
        "title": run.title,
        "status": run.status.lower(),
        "level": level if run.watched else None,
        "lowest": ["" if series is None else f"{series.value_T.min():.4g}" for series in validated],
        "summary": analysis.summary,
        "verdict": analysis.verdict,
        "facts": facts(run),
        "findings": analysis.findings,
        "notes": analysis.notes,
        "figures": [
            _picture(name, heading, analysis.figures[name])
            for name, heading in HEADINGS.items()
            if name in analysis.figures
        ],
        "indicators": indicator_rows(analysis),
        "alerts": analysis.alerts,
        "agreement": analysis.agreement,
        "settings": dict(sorted(run.params.items())),
    }


def facts(run: RecordedRun) -> dict[str, str]:
    """What one wants to know first, in words."""
    last = max(int(series.step_T[-1]) for key, series in run.metrics.items() if not key.startswith("system/"))
    planned = run.tags.get(names.TAG_TOTAL_STEPS)
    ended = run.tags.get(names.TAG_ENDED_BY, "")
    found = {
        "run": f"{run.run_id} in experiment {run.experiment}",
        "status": run.status + (f", ended by: {ended}" if ended else ""),
        "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.start_time)),
        "steps": f"{last:,}" + (f" of {int(planned):,} planned" if planned else ""),
    }
    if run.end_time is not None:
        seconds = run.end_time - run.start_time
        hours, rest = divmod(round(seconds), 3600)
        found["took"] = f"{hours} h {rest // 60} min {rest % 60} s"
    validated = finite(run.metrics.get(names.VAL_LOSS))
    if validated is not None:
        best = int(validated.value_T.argmin())
        what, unit = (names.VAL_LOSS, "") if run.imported else ("−ELBO", " nats per set")
        found["validation"] = (
            f"{what} {validated.value_T[-1]:.4g}{unit} at the end; lowest {validated.value_T[best]:.4g} at step "
            f"{validated.step_T[best]:,}"
        )
    for tag, words in (
        (names.TAG_RESCUED_RUN, "rescue of run"),
        (names.TAG_RESCUED_BY, "goes on as run"),
        (names.TAG_IMPORTED_FROM, "imported from"),
    ):
        if tag in run.tags:
            found[words] = run.tags[tag]
    return found


def _picture(name: str, heading: str, png: bytes | None) -> dict[str, str] | None:
    if png is None:
        return None
    return {"name": name, "heading": heading, "base64": base64.b64encode(png).decode()}
