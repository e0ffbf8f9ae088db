"""The map of the code leads to files that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_answer_of_the_map_is_a_file():
    answers = re.findall(r"^\| .* \| `(seqsetvae/\S+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert len(answers) >= 25
    assert [answer for answer in answers if not (ROOT / answer).is_file()] == []
