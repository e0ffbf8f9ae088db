"""What a benchmark returns: a table that reads the same in the terminal and on a page of docs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A titled table of figures that were all measured in one run on one machine.

    >>> print(Table("Loader", ("batch", "patients/s"), [(8, 120000)], note="One process.").markdown())
    ### Loader
    <BLANKLINE>
    | batch | patients/s |
    |---|---|
    | 8 | 120000 |
    <BLANKLINE>
    One process.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    note: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in (self.columns, *self.rows)]
        lines.insert(3, "|" + "---|" * len(self.columns))
        return "\n".join([*lines, "", self.note] if self.note else lines)
