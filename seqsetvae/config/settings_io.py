"""Settings as they are written, and from what earlier runs have written: files, checkpoints, exported models and jobs, of whatever version.

A field that is missing is one that was added since, and has its default, which does what the older version did. A field that is not known
is of a newer version, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeVar

from seqsetvae.errors import InputError

SETTINGS_VERSION = 2
"""Of the settings in files and checkpoints. 1, of release 0.1.0, has no number and lacks the fields of later ones."""
Settings = TypeVar("Settings")


def settings_yaml(groups: Mapping[str, object]) -> str:
    """A file of settings as `--config` takes it.

    >>> print(settings_yaml({"data": {"batch_size": 4}}), end="")
    format_version: 2
    data:
      batch_size: 4
    """
    import yaml  # only to write them: a checkpoint is read without

    return str(yaml.safe_dump({"format_version": SETTINGS_VERSION, **groups}, sort_keys=False))


def check_version(found: object, newest: int, where: str) -> int:
    """The version of something that was read; None is 1, from before versions were written.

    Raises:
        InputError: it is none, or newer than this package.

    >>> check_version(None, 2, "last.ckpt"), check_version(2, 2, "last.ckpt")
    (1, 2)
    """
    version = 1 if found is None else found
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{where}: {found!r} is no version of a format. The file was damaged or changed.")
    if version > newest:
        raise InputError(
            f"{where} is of format {version}, but this version of seqsetvae reads up to {newest}. Update it: `pip install -U seqsetvae`."
        )
    return version


def read_settings(kind: type[Settings], values: object, where: str) -> Settings:
    """A settings class, or another dataclass, from plain values.

    Args:
        kind: the class.
        values: by the names of its fields; what is missing has its default.
        where: what they were read from, for a message.

    Raises:
        InputError: a field is not known, or has a value that the class refuses.

    >>> from seqsetvae.config import RegisterConfig
    >>> read_settings(RegisterConfig, {"run": "a"}, "job").force
    False
    >>> read_settings(RegisterConfig, {"run": "a", "forec": True}, "job")
    Traceback (most recent call last):
    seqsetvae.errors.InputError: job: 'forec' is no setting of RegisterConfig. The file was changed, or a newer seqsetvae wrote it.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"{where}: the settings of {kind.__name__} are {type(values).__name__}, not names with values."
        )
    known = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise InputError(
                f"{where}: {name!r} is no setting of {kind.__name__}. The file was changed, or a newer seqsetvae wrote it."
            )
    try:
        # JSON and YAML know lists only.
        return kind(
            **{
                key: tuple(one) if isinstance(one, list) and "tuple[" in known[key] else one
                for key, one in values.items()
            }
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except TypeError as error:
        raise InputError(f"{where}: the settings of {kind.__name__} cannot be used: {error}.") from error
