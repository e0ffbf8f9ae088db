"""The notebooks run from top to bottom on the demo data, show what they promise, and are kept without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks_and_their_page_names_each():
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 5
    assert [path.name for path in NOTEBOOKS if f"notebooks/{path.name}" not in page] == []


def test_the_number_of_certified_runs_is_that_of_the_report():
    report = (ROOT / "docs" / "collapse-report.md").read_text(encoding="utf-8")
    [certified] = re.findall(r"^\| every run ends as it was built to \| \d+ of (\d+) runs", report, re.MULTILINE)
    pages = [*NOTEBOOKS, *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    said = {path.name: re.findall(r"some (\d+) runs", path.read_text(encoding="utf-8")) for path in pages}
    told = {name: numbers for name, numbers in said.items() if numbers}
    assert {"04_collapse_explained.ipynb", "collapse.md"} <= told.keys()
    assert {number for numbers in told.values() for number in numbers} == {certified}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_kept(path):
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert "assert " in code[-1].source, "the last cell checks a known truth"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [NOTEBOOKS[0], *(pytest.param(path, marks=pytest.mark.nightly) for path in NOTEBOOKS[1:])],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_leaves_the_working_directory_alone(path, tmp_path, monkeypatch):
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    here.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(path)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "something to look at"
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stderr")
    # Only for a want of ipywidgets, which the extra `notebooks` brings and a test has no use for.
    assert [line for line in said.splitlines() if "Warning" in line and "IProgress not found" not in line] == []
    assert list(here.iterdir()) == []
    assert str(scratch) not in json.dumps(read(path)), "the file itself was not touched"
