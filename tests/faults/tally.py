"""How often each kind of fault was tried, and how often it held: a table for the documentation, made from what the tests saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

BEGIN, END = "<!-- faults: written by make faults -->", "<!-- end of faults -->"


class Tally:
    """Of one test session."""

    def __init__(self) -> None:
        self.tried: dict[str, int] = defaultdict(int)
        self.held: dict[str, int] = defaultdict(int)

    def add(self, kind: str, held: bool) -> None:
        """One fault of a kind."""
        self.tried[kind] += 1
        self.held[kind] += held

    def plain(self) -> dict[str, list[int]]:
        """Kind -> how often tried and held, as one process tells another."""
        return {kind: [tried, self.held[kind]] for kind, tried in self.tried.items()}

    def join(self, plain: Mapping[str, Sequence[int]]) -> None:
        """Add what another process has tried."""
        for kind, (tried, held) in plain.items():
            self.tried[kind] += tried
            self.held[kind] += held

    def table(self) -> str:
        """In Markdown.

        >>> tally = Tally()
        >>> tally.add("SIGKILL, a random moment", True)
        >>> print(tally.table())
        | Kind of fault | Tried | Held |
        |---|---|---|
        | SIGKILL, a random moment | 1 | 1 |
        """
        rows = [f"| {kind} | {tried} | {self.held[kind]} |" for kind, tried in sorted(self.tried.items())]
        return "\n".join(["| Kind of fault | Tried | Held |", "|---|---|---|", *rows])

    def write(self, page: Path) -> None:
        """Into the page, in place of the table that stands there."""
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n\n{self.table()}\n\n{END}{after}")
