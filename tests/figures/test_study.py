"""Figures, tables and live lines from rows of all kinds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from seqsetvae.analysis.text_table import text_table
from seqsetvae.figures import study as study_figures
from seqsetvae.figures.study_rows import TrialRow
from seqsetvae.tuning.progress import StudyProgress
from seqsetvae.tuning.results import Results, table_rows

BETAS = (0.01, 0.1, 1.0, 20.0, 50.0)
ROWS = [
    TrialRow(0, "complete", True, "", {"max_beta": BETAS[0], "beta_schedule": "linear"}, 15.0, "green", 6.0, 1.0, 9.0, 40, 40),
    TrialRow(1, "complete", False, "", {"max_beta": BETAS[1], "beta_schedule": "cyclical"}, 20.0, "yellow", 0.05, 0.0, 0.0, 40, 40),
    TrialRow(2, "pruned", False, "red", {"max_beta": BETAS[2], "warmup": 0.2}, 25.0, "red", 0.0, 0.0, 0.0, 10, 40),
    TrialRow(3, "pruned", True, "behind", {"max_beta": BETAS[3]}, None, "yellow", 3.0, 1.0, None, 20, 40),
    TrialRow(4, "failed", False, "NaN in $x_$", {"max_beta": BETAS[4]}),
]  # fmt: skip


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_color(png: bytes, color: str) -> bool:
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((picture(png) == wanted).all(axis=-1).any())


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[4:], []], ids=["all kinds", "one", "failed", "none"])
def test_figures_can_be_drawn_of_any_rows(rows):
    winners = [row.number for row in rows if row.candidate]
    for png in (
        study_figures.draw_history(rows, "Study $a_b"),
        study_figures.draw_parallel_coordinates(rows, "Study"),
        study_figures.draw_pareto(rows, winners, "Study", "mutual_information"),
        study_figures.draw_pareto(rows, winners, "Study", "active_units"),
        study_figures.draw_pareto(rows, winners, "Study", "history"),
    ):
        assert picture(png).shape == (1000, 1400, 3)


def test_each_kind_of_trial_is_seen_in_the_history():
    png = study_figures.draw_history(ROWS, "Study")
    colors = {name: color for name, (_, color, _) in study_figures.KINDS.items() if name != "pruned: behind"}  # no NLL
    assert [name for name, color in colors.items() if has_color(png, color)] == list(colors)
    assert not has_color(study_figures.draw_history(ROWS[:1], "Study"), colors["pruned: collapse"])


def test_importance_has_a_bar_for_each_setting():
    assert has_color(study_figures.draw_importance({"max_beta": 0.9, "free_bits": 0.1}, "Study"), "#56B4E9")


def test_the_table_marks_the_winner_and_says_why_others_are_none():
    text = text_table(["trial", "state"], [row[:2] for row in table_rows(Results(ROWS, [0]))])
    assert text.splitlines()[1:3] == ["0 *    complete", "1      complete, infeasible"]
    assert table_rows(Results(ROWS, [0]))[2][9] == "red"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_live_line_for_each_running_trial():
    stream = Terminal()
    progress = StudyProgress(3, stream)
    progress.take({"trial": 1, "event": "start"})
    progress.take({"trial": 0, "event": "start"})
    progress.take({"trial": 0, "step": 10, "total": 40, "level": "yellow", "best": 20.5})
    progress.draw()
    assert stream.getvalue().splitlines() == [
        "0 of 3 trials finished, best so far: none yet",
        "  trial   0  step     10 of 40  yellow  best validation NLL 20.5",
        "  trial   1  starting",
    ]
    progress.take({"trial": 0, "event": "end"})
    progress.say("trial   0  complete")
    progress.draw()
    assert stream.getvalue().count("\x1b[3A\x1b[J") == 1, "the three lines were taken back once"
    assert "trial   0  step" not in stream.getvalue().rpartition("\x1b[J")[2]


def test_without_a_terminal_nothing_is_drawn(capsys):
    stream = io.StringIO()
    progress = StudyProgress(3, stream)
    progress.take({"trial": 1, "event": "start"})
    progress.draw()
    progress.say("trial   1  complete")
    assert (stream.getvalue(), capsys.readouterr().out) == ("", "trial   1  complete\n")
