"""How a setting out of range is refused."""

from __future__ import annotations

from seqsetvae.errors import InputError

SHOWN = 40
"""Letters of a name that a message shows."""


def require(condition: bool, flag: str, value: object, expected: str) -> None:
    """Raise :class:`InputError` that names flag and value, unless the condition holds."""
    if not condition:
        raise InputError(f"--{flag} is {value!r}, but must be {expected}.")


def require_name(flag: str, name: str | None, longest: int = 200) -> None:
    """Raise :class:`InputError` that names the flag for a name that stores and pages cannot show: too long, or not printable."""
    if name is None or (len(name) <= longest and name.isprintable()):
        return
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
    if len(name) > longest:
        raise InputError(f"--{flag} is {shown!r}, {len(name):,} letters long, but must have at most {longest}.")
    raise InputError(f"--{flag} is {shown!r}, but must have no line breaks or other letters that cannot be printed.")


def require_one_stay(group: str, patient: str | None, row: int | None) -> None:
    """Raise :class:`InputError` where a stay is named in two ways, or by a row that is none."""
    require(row is None or row >= 0, f"{group}.patient_row", row, "0 or more")
    both = patient is not None and row is not None
    require(not both, f"{group}.patient_row", row, f"left out where --{group}.patient is given")
