"""How a setting out of range is refused."""

from __future__ import annotations

from seqsetvae.errors import InputError


def require(condition: bool, flag: str, value: object, expected: str) -> None:
    """Raise :class:`InputError` that names flag and value, unless the condition holds."""
    if not condition:
        raise InputError(f"--{flag} is {value!r}, but must be {expected}.")
