"""What a worker needs to know, as text that one process hands to another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.config.settings_io import read_settings

LONGEST_NAME = 200
"""Bytes of a folder's name; file systems allow 255."""


@dataclass(frozen=True)
class Job:
    """A study and everything that its trials have in common."""

    base: PretrainConfig
    space: SpaceConfig
    tune: TuneConfig
    storage: str
    """Resolved address."""
    study: str
    parent_run_id: str
    total_steps: int
    """Optimizer steps of a trial that is not ended early."""

    @property
    def folder(self) -> Path:
        """For the logs of the workers: below the work folder, whatever the study is called."""
        return Path(self.base.tracking.work_dir).absolute() / "tune" / folder_name(self.study)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        given: dict[str, Any] = json.loads(text)
        return cls(
            **given
            | {
                "base": pretrain_config(given["base"]),
                "space": read_settings(SpaceConfig, given["space"], "the job"),
                "tune": read_settings(TuneConfig, given["tune"], "the job"),
            }
        )


def folder_name(name: str) -> str:
    """A name as that of one folder: letters that mean something in a path are escaped, a long one is cut and told apart by a hash.

    >>> folder_name("beta 0.1, Zürich"), folder_name("../../icu/x"), folder_name("..")
    ('beta 0.1, Zürich', '..%2F..%2Ficu%2Fx', '%2E%2E')
    """
    escaped = name.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C").replace("\0", "%00")
    if escaped in (".", ".."):
        return escaped.replace(".", "%2E")
    if len(escaped.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
        return escaped
    return f"{escaped[: LONGEST_NAME // 8]}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def pretrain_config(groups: dict[str, dict[str, Any]]) -> PretrainConfig:
    """The settings from their groups as plain values."""
    default = PretrainConfig()
    return PretrainConfig(
        **{
            one.name: read_settings(type(getattr(default, one.name)), groups[one.name], "the job")
            for one in fields(default)
        }
    )
