"""Settings of figures that are written to a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.require import require


@dataclass(frozen=True)
class FigureConfig:
    """How figures are written to disk."""

    format: Literal["png", "svg", "pdf"] = "png"
    """File format of the figures. In SVG and PDF lines and letters stay sharp at any size. report.html holds PNG in any case."""
    dpi: int | None = None
    """Pixels of an inch of a PNG figure; figures are 14 inches wide. None: 100, and 300 with the style paper."""
    style: Literal["screen", "paper"] = "screen"
    """`paper`: without the lines of heading, which a caption says, and without the margins around what is drawn."""

    def __post_init__(self) -> None:
        require(self.dpi is None or 30 <= self.dpi <= 1200, "figure.dpi", self.dpi, "from 30 to 1200")


ON_SCREEN = FigureConfig()
"""As they are drawn where nobody says otherwise."""
