"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned with spaces.

    >>> print(text_table(("trial", "NLL"), [[0, 12.5], [10, 3.0]]))
    trial  NLL
    0      12.5
    10     3.0
    """
    cells = [list(map(str, row)) for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
