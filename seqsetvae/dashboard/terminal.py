"""The dashboard in a terminal, also over SSH: lays out a :class:`View` for 80x24 and for whatever is larger. No arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Grid, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import Footer, Static

from seqsetvae.dashboard import lines
from seqsetvae.dashboard.plot import CHART_HEIGHT, CHART_WIDTH, ChartPlot
from seqsetvae.dashboard.view import View
from seqsetvae.dashboard.watch import WatchList

PLOTS = 9
"""Charts on one page, at most."""


class TerminalDashboard(App[None]):
    """Made for :func:`seqsetvae.dashboard.monitor.monitor`.

    Args:
        watch: the runs.
        update_interval: seconds between two looks.
    """

    TITLE = "seqsetvae monitor"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #light { height: 1; padding: 0 1; text-wrap: nowrap; }
    #state, #progress { height: auto; padding: 0 1; }
    #details { height: auto; max-height: 60%; }
    .-low #details { height: 1fr; max-height: 100%; }
    .-wide #details { layout: horizontal; }
    #progress, #indicators { text-wrap: nowrap; text-overflow: ellipsis; }
    #indicators { height: auto; padding: 0 1; border-top: solid $surface-lighten-2; }
    .-wide #indicators { width: 3fr; }
    #alerts { height: 1fr; min-height: 4; padding: 0 1; border-top: solid $surface-lighten-2; }
    .-high #alerts { height: 9; }
    .-wide #alerts { width: 2fr; height: 100%; }
    #charts { height: 1fr; grid-gutter: 0 1; }
    .-low #charts { display: none; }
    .-low.charts #charts { display: block; }
    .-low.charts #details { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("n", "switch(1)", "Next run"),
        Binding("p", "switch(-1)", "Previous run"),
        Binding("c", "charts", "Charts and back"),
        Binding("right", "page(1)", "More charts"),
        Binding("left", "page(-1)", "Back", show=False),
        Binding("up", "scroll_alerts(-1)", "Alerts", show=False, priority=True),
        Binding("down", "scroll_alerts(1)", "Alerts", show=False, priority=True),
    ]

    def __init__(self, watch: WatchList, update_interval: float) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (130, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
        self.watched, self.update_interval = watch, update_interval
        self.place = 0
        """Of the run that is shown, in the list of runs."""
        self.view: View | None = None
        self._looking = False
        self._first_chart = 0
        self._rests = False
        """Whether no plot was drawn at this look."""
        self._written: dict[str, object] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="light")
        yield Static(id="state")
        yield Static(id="progress")
        with Container(id="details"):
            yield Static(id="indicators")
            with VerticalScroll(id="alerts", can_focus=False):
                yield Static(id="alert_lines")
        with Grid(id="charts"):
            for _ in range(PLOTS):
                yield ChartPlot()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#state", Static).update("Looking at the store ...")
        self.set_interval(self.update_interval, self.look)
        self.look()

    def look(self) -> None:
        """Look at the run, on another thread: a store may take its time, and keys are to be answered meanwhile."""
        if not self._looking:
            self._looking = True
            self.run_worker(self._look_once, thread=True)

    class Seen(Message):
        """What a look has brought. A message is taken from any thread, and dropped where the dashboard was left meanwhile."""

        def __init__(self, place: int, view: View) -> None:
            super().__init__()
            self.place, self.view = place, view

    def _look_once(self) -> None:
        place = self.place
        self.post_message(self.Seen(place, self.watched.look(place)))

    @on(Seen)
    def show(self, seen: Seen) -> None:
        """Write and draw what was seen, unless another run is wanted by now."""
        self._looking = False
        view = seen.view
        if self._is_left:
            return
        if seen.place != self.place:
            self.look()
            return
        other = self.view is None or self.view.run_id != view.run_id or len(self.view.charts) != len(view.charts)
        self.view = view
        self._write(view)
        self._draw(view, anew=other)

    @property
    def _is_left(self) -> bool:
        """Whether the dashboard is being closed: messages may arrive when its pieces are gone already."""
        return not self.query("#light")

    def _write(self, view: View) -> None:
        place = f"run {self.place + 1} of {len(self.watched.runs)}" if len(self.watched.runs) > 1 else ""
        symbol, color = view.light
        self._say("#light", Content.styled(f"{symbol} {view.verdict}", "bold black"), 1)
        if self._written.get("color") != color:
            self._written["color"] = self.query_one("#light", Static).styles.background = color
        self._say("#state", lines.state(view, place), view.trouble)
        if self._written.get("runs") != (count := len(self.watched.runs)):
            self._written["runs"] = count
            self.refresh_bindings()
        self._say("#progress", lines.progress(view), 1)
        width = self.query_one("#indicators", Static).content_size.width or self.size.width - 2
        rows = sum(len(chart.traces) for chart in view.charts)
        self._say("#indicators", lines.indicators(view, width), (rows, view.notes, width))
        said = (view.alerts, view.reasons)
        if self._written.get("#alert_lines") != said:
            self._say("#alert_lines", lines.alerts(view), said)

    def _say(self, name: str, content: Content, shape: object) -> None:
        """Write a piece. Only where `shape`, on which its height depends, differs from the last time is everything laid out anew."""
        self.query_one(name, Static).update(content, layout=self._written.get(name) != shape)
        self._written[name] = shape

    def _draw(self, view: View, anew: bool) -> None:
        """Hand each plot its chart.

        Laying out and drawing take milliseconds: only where the run or the size is another one is all of it done `anew`; at other
        looks only the plot is drawn that has waited longest, and that at every second look.
        """
        area = self.query_one("#charts", Grid)
        if anew:
            self._lay_out(area, len(view.charts))
        plots = [plot for plot in self.query(ChartPlot) if plot.display]
        for plot, chart in zip(plots, view.charts[self._first_chart :], strict=False):
            plot.chart = chart
        self._rests = not anew and not self._rests
        if area.display and not self._rests:
            self.call_after_refresh(self._draw_waiting, plots if anew else plots[:1] and [_longest_waiting(plots)])

    def _lay_out(self, area: Grid, charts: int) -> None:
        columns = max(1, min(3, self.size.width // CHART_WIDTH))
        rows = max(1, min(PLOTS // columns, (area.size.height or self.size.height - 5) // CHART_HEIGHT))
        self._first_chart = self._first_chart if self._first_chart < charts else 0
        shown = min(columns * rows, charts - self._first_chart)
        area.styles.grid_size_columns = columns
        area.styles.grid_size_rows = min(rows, -(-shown // columns) or 1)
        for place, plot in enumerate(self.query(ChartPlot)):
            plot.display = place < shown
        self.refresh_bindings()

    def _draw_waiting(self, plots: Sequence[ChartPlot]) -> None:
        for plot in plots:
            if plot.stale:
                plot.draw()

    def on_resize(self, _: Resize) -> None:
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        if self.view is not None and not self._is_left:
            self._written.clear()
            self._write(self.view)
            self._draw(self.view, anew=True)

    def action_switch(self, by: int) -> None:
        """Show another run."""
        self.place = (self.place + by) % len(self.watched.runs)
        self._first_chart = 0
        self.look()

    def action_charts(self) -> None:
        """In a low terminal: charts instead of figures and alerts, and back."""
        self.screen.toggle_class("charts")
        self.call_after_refresh(self._redraw)

    def action_page(self, by: int) -> None:
        """The charts that did not fit."""
        if self.view is not None:
            page = sum(plot.display for plot in self.query(ChartPlot))
            self._first_chart = max(0, self._first_chart + by * page)
            self._redraw()

    def action_scroll_alerts(self, by: int) -> None:
        """Older alerts, and back."""
        self.query_one("#alerts", VerticalScroll).scroll_relative(y=by, animate=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No keys for what there is not."""
        if action == "switch":
            return len(self.watched.runs) > 1
        if action == "charts":
            return self.screen.has_class("-low")
        if action == "page":
            shown = sum(plot.display for plot in self.query(ChartPlot))
            seen = not self.screen.has_class("-low") or self.screen.has_class("charts")
            return seen and self.view is not None and shown < len(self.view.charts)
        return True


def _longest_waiting(plots: Sequence[ChartPlot]) -> ChartPlot:
    return min(plots, key=lambda plot: (not plot.stale, plot.drawn_at))
