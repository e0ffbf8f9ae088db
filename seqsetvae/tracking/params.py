"""Settings as MLflow params: nested groups flattened with `/`, every value a text that MLflow accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from seqsetvae import names
from seqsetvae.tracking.connection.address import without_password

LONGEST_VALUE = 6000
"""Characters; MLflow refuses longer ones."""


def flatten(params: Mapping[str, Any], whole: str = names.ARTIFACT_CONFIG) -> dict[str, str]:
    """Text of every leaf, by its path, without passwords in addresses; `whole` is the artifact that has what is too long for MLflow.

    >>> flatten({"model": {"width": 256, "heads": 8}, "seed": None})
    {'model/width': '256', 'model/heads': '8', 'seed': 'None'}
    """
    flat: dict[str, str] = {}
    for key, given in params.items():
        value = asdict(given) if is_dataclass(given) and not isinstance(given, type) else given
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}/{inner}": text for inner, text in flatten(value, whole).items()}
        else:
            flat[str(key)] = shorten(without_password(str(value)), whole)
    return flat


def shorten(text: str, whole: str = names.ARTIFACT_CONFIG) -> str:
    """The text itself, or its beginning with a note of how long it was.

    >>> shorten("x" * 7000)[-50:]
    'xx... (cut: 7000 characters, whole in config.yaml)'
    """
    if len(text) <= LONGEST_VALUE:
        return text
    note = f"... (cut: {len(text)} characters, whole in {whole})"
    return text[: LONGEST_VALUE - len(note)] + note
