"""The site is built strictly (a link, an anchor or a page that is missing ends it), and its generated pages have all that the code has."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import seqsetvae
from seqsetvae import config, names
from seqsetvae.app.verbs import VERBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    done = subprocess.run(
        [*command, "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def words_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_reference_has_every_verb_setting_and_name(site):
    command_line = words_of(site / "reference" / "command-line.html")
    assert [verb for verb in VERBS if f"usage: seqsetvae {verb}" not in command_line] == []
    for name in config.__all__:
        # The page says of each class what it has, and of each setting its docstring.
        shown = (site / "reference" / "settings.html").read_text()
        if name != "PretrainConfig":  # which has the groups alone
            missing = [
                one.name
                for one in fields(getattr(config, name))
                if f'id="seqsetvae.config.{name}.{one.name}"' not in shown
            ]
            assert missing == []
    python = words_of(site / "reference" / "python.html")
    assert [name for name in {*seqsetvae.__all__} - {*config.__all__} if name not in python] == []
    recorded = words_of(site / "reference" / "names.html")
    assert [name for name in vars(names) if name.isupper() and name not in recorded] == []


@pytest.mark.slow
def test_each_notebook_is_a_tutorial_and_chinese_is_kept(site):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.name in words_of(site / "tutorials" / f"{path.stem}.html")
    assert "后验塌缩" in words_of(site / "zh" / "start.html")


@pytest.mark.slow
def test_the_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert [one for one in loaded if not one.startswith("https://mlflow.org")] == [], page.name


def test_the_readme_is_short_and_leads_to_what_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 150
    led_to = [one for one in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in one]
    assert len(led_to) > 20
    assert [one for one in led_to if not (ROOT / one).exists()] == []
