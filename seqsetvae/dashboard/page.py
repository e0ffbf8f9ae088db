"""The pieces of the web page that are text: a view as HTML, every word from outside escaped."""

from __future__ import annotations

from collections.abc import Sequence

from seqsetvae.dashboard.status import alert_line
from seqsetvae.dashboard.trials import COLUMNS, trials_rows
from seqsetvae.dashboard.view import SYMBOLS, View
from seqsetvae.templates import piece, text_of
from seqsetvae.tracking.read.recorded_run import RecordedRun

STYLE = text_of("monitor.css")
PIECES = "monitor.html.jinja"


def light(view: View) -> str:
    """The traffic light."""
    return piece(PIECES, "light", view)


def reasons(view: View) -> str:
    """Why it is not green; empty where it is."""
    return piece(PIECES, "reasons", view)


def run(view: View) -> str:
    """Which run this is, how far it is, and whether it and its store still answer."""
    where = view.progress
    state = "; ".join(filter(None, [view.state, view.freshness if view.charts else "", where.speed]))
    return piece(PIECES, "run", view, state, ", ".join(filter(None, [where.place, where.left])))


def indicators(view: View) -> str:
    """The newest values beside what they should be."""
    return piece(PIECES, "indicators", view)


def trials(seen: Sequence[RecordedRun]) -> str:
    """Those of a study, the best first."""
    return piece(PIECES, "trials", COLUMNS, trials_rows(seen, SYMBOLS))


def alerts(view: View) -> str:
    """Newest first."""
    return piece(PIECES, "alerts", [(alert.level, SYMBOLS[alert.level], alert_line(alert)) for alert in view.alerts])
