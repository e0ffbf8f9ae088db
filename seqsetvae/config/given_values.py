"""What no setting may be, whatever it is called: checked once for all flags of all verbs, and for every file of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import yaml

from seqsetvae.config.settings_io import SETTINGS_VERSION, check_version
from seqsetvae.errors import InputError

LARGEST_FILE = 1_000_000
"""Bytes of a file of settings; a run's own config.yaml has two thousand."""
LARGEST_WHOLE = 2**53
"""Whole numbers above it are not told apart by stores and figures, which keep them as floats."""
LONGEST_TEXT = 4096
"""Letters of an address or a path."""
LONGEST_NAME = 255
"""Bytes of the name of a file or folder."""


def check_values(values: Iterable[tuple[str, object]]) -> None:
    """Refuse numbers that are NaN, infinite or too large, negative seeds, and texts that are no path or name.

    Args:
        values: by the flag they belong to, without its dashes.

    Raises:
        InputError: names the flag.
    """
    for flag, value in values:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if fault := _fault(flag, one):
                shown = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:40]}…"
                raise InputError(f"--{flag} is {shown}, but must be {fault}.")


def _fault(flag: str, value: object) -> str:
    """What a value has to be and is not; empty where nothing is wrong."""
    if isinstance(value, (str, Path)):
        return _fault_of_text(str(value))
    faults = {
        "a finite number": isinstance(value, float) and not math.isfinite(value),
        "at most 2^53": isinstance(value, int) and abs(value) > LARGEST_WHOLE,
        "0 or more": flag.endswith("seed") and isinstance(value, int) and value < 0,
    }
    return next((expected for expected, holds in faults.items() if holds), "")


def _fault_of_text(text: str) -> str:
    """Of an address, a name or a path; each has to be one that a store can record."""
    try:
        bytes_of_names = [len(name.encode()) for name in text.split("/")]
    except UnicodeEncodeError:
        return "UTF-8 text"
    faults = {
        "something; leave it out for its default": not text,
        f"at most {LONGEST_TEXT} letters long": len(text) > LONGEST_TEXT,
        "free of the letter NUL": "\0" in text,
        # What has blanks may be a command, and what has a scheme a token; both are no paths.
        f"a path whose parts have at most {LONGEST_NAME} bytes": max(bytes_of_names) > LONGEST_NAME
        and not ("://" in text or " " in text),
    }
    return next((expected for expected, holds in faults.items() if holds), "")


def check_settings_file(path: Path) -> None:
    """Refuse what is no YAML file of settings before anything reads it. A file that does not exist is left to the parser.

    Raises:
        InputError: it is no plain file, too large, no text, no YAML, or no groups of names with values.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(
            f"--config {path}: not a file of settings, but a {'folder' if path.is_dir() else 'pipe or device'}."
        )
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise InputError(f"--config {path}: {size:,} bytes long; a file of settings has less than {LARGEST_FILE:,}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"--config {path}: byte {error.start} is no UTF-8 text. Settings are written in YAML."
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError, OSError) as error:
        raise InputError(f"--config {path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"--config {path}: holds {_kind(content)}, but settings are names with values, such as `data: {{batch_size: 4}}`."
        )
    check_version(content.get("format_version"), SETTINGS_VERSION, f"--config {path}")
    for name, group in content.items():
        if not isinstance(name, str):
            raise InputError(f"--config {path}: {name!r} is no name of a setting.")
        if isinstance(group, list):
            raise InputError(f"--config {path}: {name!r} is a list, but holds settings: names with values.")


def _kind(content: object) -> str:
    return {"NoneType": "nothing", "list": "a list", "str": "a text"}.get(type(content).__name__, "a single value")
