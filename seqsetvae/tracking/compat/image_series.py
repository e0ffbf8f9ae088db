"""Figures as the MLflow UI shows them: with a slider over steps, or small in a description."""

from __future__ import annotations

import io
import uuid


def image_series(content: bytes, key: str, step: int, milliseconds: int, unique: str = "") -> dict[str, bytes]:
    """The files, by their path among the run's artifacts, that make one image of a series: the PNG itself, and the copy that the UI shows.

    Args:
        content: a PNG file.
        key: name of the series.
        step: its place in the series.
        milliseconds: time since the epoch.
        unique: tells it from other images of the same key, step and time; made up where it is not given.
    """
    from PIL import Image

    # In its full size: MLflow's own client makes it 256 pixels wide, and the text of a figure cannot be read, however far one enlarges it.
    shown = io.BytesIO()
    Image.open(io.BytesIO(content)).save(shown, "webp")
    # The name that MlflowClient.log_image gives, which the UI parses; fixed here, so that a second delivery overwrites the first.
    stem = f"images/{key.replace('/', '~')}+step+{step}+timestamp+{milliseconds}+{unique or uuid.uuid4()}"
    return {f"{stem}.png": content, f"{stem}+compressed.webp": shown.getvalue()}


THUMBNAIL_WIDTH = 560
"""Pixels that a description has in a window 1,500 wide, with MLflow's assistant open: the UI cuts off what is wider."""


def small(path: str) -> str:
    """Where the narrow copy of a figure lies.

    >>> small("evaluation/curves.png")
    'evaluation/curves_small.png'
    """
    return f"{path.removesuffix('.png')}_small.png"


def thumbnail(content: bytes) -> bytes:
    """A PNG, made small enough for a description if it is not."""
    from PIL import Image

    image = Image.open(io.BytesIO(content))
    if image.width <= THUMBNAIL_WIDTH:
        return content
    small = io.BytesIO()
    height = round(image.height * THUMBNAIL_WIDTH / image.width)
    image.resize((THUMBNAIL_WIDTH, height), Image.Resampling.LANCZOS).save(small, "png", optimize=True)
    return small.getvalue()
