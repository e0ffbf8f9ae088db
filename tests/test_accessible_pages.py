"""The monitor's page and the report in a real browser, asked by axe-core: WCAG 2.1 AA, the keyboard, a telephone's width."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.analysis.analyze import analyze
from seqsetvae.config import TrackingConfig
from tests.dashboard.browser import browse
from tests.dashboard.conftest import recorded, write_study, write_trial  # noqa: F401
from tests.dashboard.test_web import page
from tests.support.accessible import beyond_the_window, press, reached_by_tab, resize, violations

ALL = "[...document.querySelectorAll('%s')]"
"""Elements of a page, for a script."""


@pytest.fixture(scope="module")
def report(recorded: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("report")
    analyze(TrackingConfig(tracking_uri=recorded), ["collapsed", "healthy so far"], str(folder))
    return folder / "report.html"


@pytest.mark.slow
def test_the_report(report):
    with browse(report.as_uri()) as browser:
        browser.wait_for("2 runs compared")
        for width in (1400, 1000, 400):
            resize(browser, width)
            assert violations(browser) == []
            assert beyond_the_window(browser) <= 0
            beyond = browser.run(f"Math.max(...{ALL % '.picture'}.map(one => one.scrollWidth - one.clientWidth))")
            assert (beyond > 0) == (width == 400), "a figure is moved sideways on a telephone, and nowhere else"
        drawn = browser.run("Math.min(...[...document.images].map(one => one.getBoundingClientRect().width))")
        assert drawn > 800, "on a telephone a figure of 1,400 pixels is still large enough to be read"
        why = browser.run("Math.min(...[...document.querySelectorAll('td.why')].map(one => one.offsetWidth))")
        assert why > 250, "and a reason is no column of single words"
        reached = reached_by_tab(browser)
        assert reached.count("a") == 2, "each run of the overview"
        assert reached.count("summary") == 2, "the settings of each run"
        assert "div" in reached, "a table that is wider than the telephone can be scrolled by its keys"


@pytest.mark.slow
def test_the_page_of_the_monitor(recorded):  # noqa: F811
    with page(recorded, "collapsed", "healthy so far") as url, browse(url) as browser:
        browser.wait_for("threshold 0.01")
        for width in (1400, 1000, 400):
            resize(browser, width)
            assert violations(browser) == []
            assert beyond_the_window(browser) <= 0
            assert browser.run(f"Math.max(...{ALL % '.card'}.map(one => one.scrollWidth - one.clientWidth))") <= 0
            assert browser.run(f"{ALL % '.flag'}.every(one => one.getClientRects().length === 1)"), "no flag is broken"
            run, bar = (browser.run(f"document.querySelector('{one}').offsetWidth") for one in (".run", ".bar div"))
            assert bar > 0.9 * run, "all of the steps are all of the width"
        assert "input" in reached_by_tab(browser, until="input"), "the list of runs"
        for key in ("ArrowDown", "ArrowDown", "Enter"):
            press(browser, key)
        browser.wait_for("green up to step 1,500: no alert")


@pytest.mark.slow
def test_the_page_of_a_study(tmp_path, new_store):
    uri = new_store(tmp_path)
    trials = write_study(uri)
    with page(uri, "my_study") as url, browse(url) as browser:
        browser.wait_for("Trials, the best first")
        cells = f"{ALL % '.trials tr'}.map(row => [...row.cells].map(cell => cell.innerText))"
        head, *rows = browser.run(cells)
        assert head[:5] == ["trial", "state", "light", "step", "validation NLL"]
        assert [(row[0].split()[0], row[1], row[2].split()[1], row[4]) for row in rows] == [
            ("1", "running", "green", "15.50"),
            ("0", "pruned", "red", "17.00"),
            ("2", "running", "green", "-"),
        ]
        assert "trial 2" in browser.run("document.querySelector('.run h1').innerText"), "the newest one"
        ends = "[...document.querySelectorAll('.trials tr')].map(row => row.cells[4].getBoundingClientRect().right)"
        for width in (1400, 1000, 400):
            resize(browser, width)
            assert violations(browser) == []
            assert beyond_the_window(browser) <= 0
            assert len(set(browser.run(ends))) == 1, "every number stands below its heading"
        study = MlflowClient(uri).get_run(trials[0]).data.tags["mlflow.parentRunId"]
        begun = write_trial(uri, study, 3, 500)
        # In the table, as soon as the store was looked through again.
        browser.wait_for(f"3 ({begun[:8]})", seconds=60.0)
