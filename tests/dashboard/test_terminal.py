"""The dashboard in a terminal, by its own eyes: what stands on the screen, in a small one and in a large one, and what the keys do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.dashboard.demo import DemoRun
from seqsetvae.dashboard.monitor import watch_of
from seqsetvae.dashboard.plot import ChartPlot
from seqsetvae.dashboard.terminal import TerminalDashboard
from seqsetvae.dashboard.watch import SeenRun, WatchList
from seqsetvae.errors import InputError


def screen(app: TerminalDashboard) -> str:
    """What a person reads."""
    return "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())


async def until(app: TerminalDashboard, pilot, *said: str, seconds: float = 20.0) -> str:
    """The screen, once all these words are on it: it is not drawn in one go."""
    deadline = time.monotonic() + seconds
    while missing := [words for words in said if words not in (text := screen(app))]:
        assert time.monotonic() < deadline, f"{missing} not on the screen:\n{text}"
        await pilot.pause(0.1)
    return text


def show(watch: WatchList, size: tuple[int, int], act: Callable[..., Awaitable[None]]) -> None:
    async def run() -> None:
        app = TerminalDashboard(watch, update_interval=0.2)
        async with app.run_test(size=size) as pilot:
            await act(app, pilot)

    asyncio.run(run())


def collapsed_demo(after: float = 75.0) -> WatchList:
    started = time.time()
    demo = DemoRun(lambda: started)
    demo._clock = lambda: time.time() + after
    return WatchList([SeenRun("demo", "simulated", demo)])


def test_80x24_shows_light_figures_and_alerts_and_the_charts_at_a_key():
    async def act(app, pilot):
        figures = ("KL divergence", "above 0.01", "0 of 16", "left", "patients/s")
        text = await until(app, pilot, "RED since step", *figures, "to try: Lower", "Quit", "Charts")
        assert max(map(len, text.splitlines())) == 80
        assert "Next run" not in text, "there is no other one"
        await pilot.press("c")
        await until(app, pilot, "Decoder use, nats per set", "RED since step")
        await pilot.press("right")
        await until(app, pilot, "Reconstruction loss, nats per set")
        await pilot.press("left", "c")
        await until(app, pilot, "to try: Lower")
        await pilot.press("q")

    show(collapsed_demo(), (80, 24), act)


def test_a_large_terminal_shows_everything_at_once():
    async def act(app, pilot):
        figures = ("RED since step", "above 0.01", "to try: Lower")
        await until(
            app, pilot, *figures, "KL divergence, nats per set", "Gradient norm, L2, before clipping", "optimizer step"
        )
        assert sum(plot.display for plot in app.query(ChartPlot)) == 9

    show(collapsed_demo(), (160, 50), act)


def test_runs_are_switched_between(recorded):
    watch = watch_of(TrackingConfig(tracking_uri=recorded), ["collapsed", "healthy so far"], 1000)

    async def act(app, pilot):
        await until(app, pilot, "RED since step", "run 1 of 2", "finished", "Next run")
        await pilot.press("n")
        await until(app, pilot, "green up to step", "run 2 of 2", "running")
        await pilot.press("p")
        await until(app, pilot, "run 1 of 2")

    show(watch, (100, 30), act)


def test_the_rescue_of_a_run_joins_the_runs_while_one_looks():
    watch = collapsed_demo()
    demo = watch.runs[0].followed
    poll = demo.poll
    rescue = collapsed_demo(after=20.0).runs[0]
    watch._join = lambda run_id, name: SeenRun(run_id, name, rescue.followed)

    async def act(app, pilot):
        text = await until(app, pilot, "RED since step", "Quit")
        assert "Next run" not in text
        demo.poll = lambda: replace(poll(), tags={names.TAG_RESCUED_BY: "0c" * 16})
        await until(app, pilot, "run 1 of 2", "Continued with a milder objective by run 0c0c", "Next run")
        await pilot.press("n")
        await until(app, pilot, "run 2 of 2", "green up to step")

    show(watch, (100, 30), act)


def test_trouble_with_the_store_is_shown_and_the_dashboard_goes_on():
    watch = collapsed_demo(after=20.0)
    demo = watch.runs[0].followed
    poll = demo.poll

    def away():
        raise InputError("The tracking store http://here cannot be used: connection refused.")

    async def act(app, pilot):
        await until(app, pilot, "green up to step")
        demo.poll = away
        await until(app, pilot, "The tracking store http://here cannot be used", "green up to step")
        demo.poll = poll
        while "cannot be used" in screen(app):
            await pilot.pause(0.1)

    show(watch, (80, 24), act)


def test_a_name_that_looks_like_markup_is_shown_as_it_is():
    watch = collapsed_demo(after=5.0)
    demo = watch.runs[0].followed
    poll = demo.poll

    demo.poll = lambda: replace(poll(), name="[red]run[/nothing]")

    async def act(app, pilot):
        await until(app, pilot, "[red]run[/nothing]")

    show(watch, (80, 24), act)
