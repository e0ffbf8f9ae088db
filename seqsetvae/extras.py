"""What `pip install seqsetvae` leaves out: libraries that one part of the package needs, and the extra that brings them."""

from __future__ import annotations

from importlib.util import find_spec

from seqsetvae.errors import InputError

LIBRARIES = {
    "explain": ("captum",),
    "figures": ("umap",),
    "monitor": ("nicegui", "textual", "textual_plotext"),
    "notify": ("apprise",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "postgres": ("psycopg",),
    "tensorboard": ("tensorboard",),
    "tune": ("optuna",),
}
"""Extra -> the libraries that are imported where it is needed. `serve` is no such: it makes MLflow's own server faster."""


def require(extra: str, purpose: str) -> None:
    """Refuse to begin what would end at an import.

    Args:
        extra: one of :data:`LIBRARIES`.
        purpose: what needs it, in the user's words: a verb or a flag.

    Raises:
        InputError: a library of the extra is not installed.
    """
    missing = [name for name in LIBRARIES[extra] if find_spec(name) is None]
    if missing:
        raise InputError(f"{purpose} needs {', '.join(missing)}: pip install 'seqsetvae[{extra}]'")
