"""The script for a model of one's own says what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.commands import run_script

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own-model.md"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beta", "said"), [("10.0", "RED"), pytest.param("0.1", "GREEN None", marks=pytest.mark.nightly)]
)
def test_the_script_of_the_page_ends_as_it_says(tmp_path: Path, beta: str, said: str) -> None:
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert "OwnVAE(beta=10.0)" in block[1]
    (tmp_path / "own.py").write_text(block[1].replace("beta=10.0", f"beta={beta}"))
    done = run_script("own.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(said)
    assert (tmp_path / "collapse_logs" / "final_statistics.txt").is_file()
