"""Progress of long work: a bar where somebody looks at a terminal, a line a minute in a file, under nohup or in a batch job."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0
LINE = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """A tqdm bar; where its stream is no terminal: whole lines, one a minute, and the last."""

    def __init__(self, *args: Any, file: TextIO | None = None, **kwargs: Any) -> None:
        stream = sys.stderr if file is None else file
        self._in_lines = not stream.isatty()
        self._next_line, self._shown = time.monotonic() + SECONDS_BETWEEN_LINES, 0.0
        if self._in_lines:
            # Without a bar, so that nothing has to be cut off at some width.
            kwargs |= {"bar_format": LINE, "dynamic_ncols": False, "mininterval": 1.0}
        super().__init__(*args, **kwargs | {"file": _Lines(stream) if self._in_lines else stream})

    def display(self, *args: Any, **kwargs: Any) -> None:
        """Called by tqdm whenever something has moved."""
        now, done = time.monotonic(), self.total is not None and self.n >= self.total
        if self._in_lines and (now < self._next_line if not done else self.n == self._shown):
            return
        self._next_line, self._shown = now + SECONDS_BETWEEN_LINES, self.n
        super().display(*args, **kwargs)


class _Lines:
    """A stream on which each status is a line of its own, once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> None:
        text = text.strip()
        if text and text != self._last:
            self._last = text
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        self._stream.flush()
