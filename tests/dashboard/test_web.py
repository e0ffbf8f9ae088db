"""The dashboard as a web page, in a real browser: what can be read on it, other runs, and that nothing comes from outside."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from seqsetvae import palette
from seqsetvae.dashboard.demo import simulated
from seqsetvae.dashboard.echart import options
from tests.dashboard.browser import browse
from tests.dashboard.test_view import demo_at
from tests.support.mlflow_server import free_port


@contextmanager
def page(uri: str, *runs: str) -> Iterator[str]:
    """Address of a page that shows these runs."""
    port = free_port()
    command = [sys.executable, "-m", "seqsetvae", "monitor", "--web", "--port", str(port), "--update_interval", "0.5"]
    # NiceGUI behaves differently where it believes to be a test.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    process = subprocess.Popen(
        [*command, "--tracking_uri", uri, "--run", *runs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, line + process.stdout.read()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
        assert "Traceback" not in said, said


@pytest.mark.slow
def test_in_a_real_browser(recorded):
    with page(recorded, "collapsed", "healthy so far") as url, browse(url) as browser:
        browser.wait_for("RED since step 2,600: posterior collapse")
        text = browser.wait_for("threshold 0.01")  # in the charts, which are drawn last
        for said in (
            "collapsed (",
            "finished; last point",
            "step 4,000 of 4,000 (100%)",
            "! KL divergence",
            "above 1.6 of 16",
            "step 2,300 yellow",
            "to try: Lower --objective.max_beta",
            "ceiling ln 1,024 = 6.93",
        ):
            assert said in text
        picture = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
        assert picture.width == 1500
        colors = {color: count for count, color in picture.getcolors(picture.width * picture.height)}
        for color, most in ((palette.VERMILION, 10_000), (palette.BLUE, 500)):  # the light, and the curves with the bar
            assert colors[tuple(bytes.fromhex(color[1:]))] > most
        browser.click("document.querySelector('.q-select')")
        browser.click("[...document.querySelectorAll('.q-item')].find(one => one.innerText.includes('healthy'))")
        text = browser.wait_for("green up to step 1,500: no alert")
        assert "No alerts." in text
        assert {urlsplit(address).netloc for address in browser.requested if address.startswith("http")} == {
            urlsplit(url).netloc
        }
        assert browser.errors == []
        with pytest.raises(HTTPError, match="400"):
            urlopen(Request(url, headers={"Host": "rebound.example"}), timeout=10)


def test_a_chart_as_the_browser_gets_it():
    charts = {chart.title: options(chart) for chart in demo_at(95).charts}
    kl = charts["KL divergence"]
    [series] = kl["series"]
    assert kl["yAxis"]["type"] == "log"
    assert series["data"][3] == [200, pytest.approx(simulated(200).kl, rel=1e-4)]
    assert [(line["yAxis"], line["label"]["formatter"]) for line in series["markLine"]["data"]] == [
        (0.01, "threshold 0.01")
    ]
    assert kl["yAxis"]["min"] < 0.01 < kl["yAxis"]["max"], "the threshold lies within the axis"
    assert charts["Active units"]["yAxis"]["type"] == "value"
    for axis in (chart["yAxis"] for chart in charts.values()):
        assert axis["axisLabel"]["showMaxLabel"] in (False, axis["max"] == 1.0), "no bound with sixteen digits"
    assert len(charts["Posterior variance"]["series"]) == 2
    assert charts["Active units"]["yAxis"]["interval"] == 0.25, "no 0.9 right below 1"
    least = charts["Mutual information"]["yAxis"]["axisLabel"][":formatter"]
    assert "'≤ '" in least, "a curve that leaves the axis below is not drawn as if it ended there"
