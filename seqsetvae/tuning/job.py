"""What a worker needs to know, as text that one process hands to another."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig


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

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        given: dict[str, Any] = json.loads(text)
        space = {key: tuple(value) if isinstance(value, list) else value for key, value in given["space"].items()}
        return cls(
            **given
            | {
                "base": pretrain_config(given["base"]),
                "space": SpaceConfig(**space),
                "tune": TuneConfig(**given["tune"]),
            }
        )


def pretrain_config(groups: dict[str, dict[str, Any]]) -> PretrainConfig:
    """The settings from their groups as plain values."""
    default = PretrainConfig()
    return PretrainConfig(**{one.name: type(getattr(default, one.name))(**groups[one.name]) for one in fields(default)})
