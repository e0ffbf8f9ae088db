"""What a benchmark has measured is kept, and the site's page shows the same figures as the terminal."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.run import run_benchmarks
from seqsetvae.errors import InputError, RunFailure

ROOT = Path(__file__).parents[2]


def generated():
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_tables_that_were_printed(tmp_path, capsys, monkeypatch):
    run_benchmarks(only="loader", quick=True, write=str(tmp_path))
    printed = capsys.readouterr().out
    pages = generated()
    monkeypatch.setattr(pages, "BENCHMARKS", tmp_path)
    page = "\n".join(pages.benchmarks())
    table = printed[printed.index("### Loader alone") :].strip()
    assert table.count("x |") == 2, "two batch sizes, each with a ratio"
    assert table in page
    assert "The loader alone, against a collate function" in page
    assert "`seqsetvae bench --only loader --quick true` on 20" in page


def test_a_folder_that_is_not_there_is_refused_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(InputError, match="there is no folder"):
        run_benchmarks(only="loader", quick=True, write=str(tmp_path / "nowhere"))
    assert capsys.readouterr().out == ""


def test_all_of_them_run_apart_and_one_that_fails_stops_no_other(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(run, "NAMES", ("no_such_benchmark", "loader"))
    with pytest.raises(RunFailure, match=r"have failed.*: no_such_benchmark\."):
        run_benchmarks(quick=True, write=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["loader.json"]
    assert "### Loader alone" in capfd.readouterr().out


def test_every_kept_figure_is_of_a_benchmark():
    kept = {path.stem for path in (ROOT / "docs" / "benchmarks").glob("*.json")}
    assert kept <= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert kept, "`make bench` has been run"
