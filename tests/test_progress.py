"""Progress in a file: whole lines, few of them; on a terminal: a bar."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time

from seqsetvae import progress
from seqsetvae.progress import ProgressBar


def test_in_a_file_progress_is_a_line_now_and_then_and_the_last(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.2)
    stream = io.StringIO()
    with ProgressBar(total=60, desc="prepare", unit="subject", file=stream, mininterval=0.0) as bar:
        for _ in range(60):
            time.sleep(0.01)
            bar.set_postfix({f"a figure of many ({number})": 1.0 for number in range(12)})
            bar.update()
    text = stream.getvalue()
    assert "\r" not in text
    lines = text.splitlines()
    assert 2 <= len(lines) <= 6
    assert all(line.startswith("prepare:") for line in lines)
    assert "60/60" in lines[-1]
    assert lines[-1].endswith("a figure of many (11)=1]"), "nothing is cut off"


def test_on_a_terminal_it_is_a_bar_that_moves():
    leader, follower = pty.openpty()
    code = "from seqsetvae.progress import ProgressBar\nfor _ in ProgressBar(range(3), desc='prepare'): pass"
    subprocess.run([sys.executable, "-c", code], stderr=follower, check=True)
    assert b"\r" in os.read(leader, 10_000)
