"""The map of the code leads to files that are there, and the drawing of the house has every room on its floor."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_architecture import FLOORS

ROOT = Path(__file__).parents[2]


def test_each_answer_of_the_map_is_a_file_that_holds_what_to_look_for():
    answers = re.findall(
        r"^\| .* \| `(seqsetvae/\S+)` \| `(.+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    assert len(answers) >= 25
    assert [(file, word) for file, word in answers if not re.search(rf"{word}\b", (ROOT / file).read_text())] == []


def test_the_drawing_has_every_room_on_its_floor():
    drawn = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (\d) \| `seqsetvae/(\w+)(/|\.py)` \|", drawn, re.MULTILINE)
    assert {room: int(floor) for floor, room, _ in rows} == FLOORS
    assert [int(floor) for floor, *_ in rows] == sorted((int(floor) for floor, *_ in rows), reverse=True)


def test_the_drawing_names_every_folder_and_nothing_that_is_not_there():
    named = set(re.findall(r"^\|.*?`(seqsetvae/\S+)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE))
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "seqsetvae").rglob("__init__.py")} - {
        "seqsetvae/"
    }
    assert folders <= named
    assert [room for room in named if not (ROOT / room).exists()] == []
