"""The dashboard as a web page on this machine: lays out a :class:`View`. Everything is served from here, nothing from the internet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from nicegui import app, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seqsetvae.dashboard import page
from seqsetvae.dashboard.charts import Chart
from seqsetvae.dashboard.echart import options
from seqsetvae.dashboard.view import View
from seqsetvae.dashboard.watch import WatchList
from seqsetvae.tracking.read.recorded_run import RecordedRun

_log = logging.getLogger(__name__)

TRIALS_EVERY = 3
"""Intervals between two looks at the trials of a study."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SharedWatch:
    """Looks on another thread, and for all open pages at once: ten of them cost the store no more than one."""

    def __init__(self, watch: WatchList, update_interval: float) -> None:
        self.watch, self.update_interval = watch, update_interval
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._seen: dict[int, tuple[float, View]] = {}

    async def look(self, place: int) -> View:
        """The run at this place, at most half an interval old."""
        async with self._locks[place]:
            seen = self._seen.get(place)
            if seen is None or time.monotonic() - seen[0] > 0.5 * self.update_interval:
                seen = self._seen[place] = (time.monotonic(), await asyncio.to_thread(self.watch.look, place))
            return seen[1]

    async def trials(self) -> Sequence[RecordedRun]:
        """Of a study: those that have not ended are looked at again."""
        for place, run in enumerate(self.watch.runs):
            if run.recorded is None or run.recorded.status == "RUNNING":
                await self.look(place)
        return self.watch.trials


class Page:
    """One open page."""

    def __init__(self, shared: SharedWatch) -> None:
        self.shared = shared
        self.place = 0
        self._drawn: Sequence[Chart] = ()
        self._title = ""
        ui.add_css(page.STYLE)
        ui.add_head_html('<script>document.documentElement.lang = "en"</script>')  # for whoever has it read aloud
        self.light, self.reasons = _html(), _html()
        self.runs = ui.select({}, on_change=lambda event: self.switch(event.value))
        self.runs.style("width: 100%; padding: .2rem 1.2rem; background: #fff")
        self._list_runs()
        self.run = _html()
        if shared.watch.of_a_study:
            self.trials = _html()
            ui.timer(TRIALS_EVERY * shared.update_interval, self.refresh_trials)
        with ui.element("div").classes("columns"):
            self.indicators, self.alerts = _html(), _html()
        self.area = ui.element("div").classes("charts")
        self.charts: list[ui.echart] = []
        ui.timer(shared.update_interval, self.refresh)

    def _list_runs(self) -> None:
        titles = {place: one.title for place, one in enumerate(self.shared.watch.runs)}
        if titles != self.runs.options:
            self.runs.set_options(titles, value=self.place)
            self.runs.props(f'label="{len(titles)} runs"').set_visibility(len(titles) > 1)

    async def switch(self, place: int) -> None:
        """Show another run."""
        self.place = place
        await self.refresh()

    async def refresh(self) -> None:
        """Look, and send what has changed."""
        place = self.place
        view = await self.shared.look(place)
        if place != self.place:
            return
        for element, content in (
            (self.light, page.light(view)),
            (self.reasons, page.reasons(view)),
            (self.run, page.run(view)),
            (self.indicators, page.indicators(view)),
            (self.alerts, page.alerts(view)),
        ):
            element.set_content(content)  # sends nothing where it is the same
        self._draw(view.charts)
        self._list_runs()
        if self._title != (title := f"{view.light[0]} {view.title}"):
            self._title = title
            ui.page_title(title)

    async def refresh_trials(self) -> None:
        """Look at the trials of the study. Of many it takes a while, in which the page shows the newest."""
        self.trials.set_content(page.trials(await self.shared.trials()))

    def _draw(self, charts: Sequence[Chart]) -> None:
        if [chart.title for chart in charts] != [chart.title for chart in self._drawn]:
            self.area.clear()
            with self.area:
                self.charts = [ui.echart(options(chart), renderer="svg").classes("chart") for chart in charts]
        else:
            for element, chart, drawn in zip(self.charts, charts, self._drawn, strict=True):
                if not chart.same_as(drawn):
                    # Straight to the browser: NiceGUI would wrap each point of `element.options`, to notice when it changes.
                    element.run_chart_method("setOption", options(chart))
        self._drawn = charts


def _html() -> ui.html:
    # Its content is made by page.py, which escapes what comes from outside.
    return ui.html("", sanitize=False).style("width: 100%")


def serve(watch: WatchList, update_interval: float, host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        watch: the runs.
        update_interval: seconds between two looks.
        host: address to listen on.
        port: a free port.
    """
    shared = SharedWatch(watch, update_interval)

    @ui.page("/", title="seqsetvae monitor")
    async def _page() -> None:
        await Page(shared).refresh()

    if host in LOOPBACK:
        # A page of somebody else's that has this address looked up under its own name gets no answer.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    shown = f"[{host}]" if ":" in host else host
    _log.info(f"Dashboard: http://{shown}:{port}  (Ctrl-C ends it)")
    if host in LOOPBACK:
        _log.info(f"From another machine: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE, then the same address there.")
    ui.run(
        host=host,
        port=port,
        show=False,
        reload=False,
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
        ws_per_message_deflate=False,  # squeezing every message costs more than sending it across one machine
        title="seqsetvae monitor",
    )
