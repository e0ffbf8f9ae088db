"""Every setting, once: the Python API, the command line, the YAML file and the tables of docs are read from these classes.

A field's docstring is its `--help`. Contradictions raise :class:`~seqsetvae.errors.InputError` at construction and name the flag.
`None` means "decided at start from the hardware, the data or the length of the run, and printed".
"""

from __future__ import annotations

from seqsetvae.config.decode import ForecastConfig, ImputeConfig
from seqsetvae.config.embed import EmbedConfig
from seqsetvae.config.export import ExportConfig
from seqsetvae.config.figures import FigureConfig
from seqsetvae.config.finetune import EvaluateConfig, FinetuneConfig, RegisterConfig
from seqsetvae.config.monitor import MonitorConfig
from seqsetvae.config.pretrain import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    TrackingConfig,
    TrainerConfig,
)
from seqsetvae.config.tune import SpaceConfig, TuneConfig
from seqsetvae.config.visualize import VisualizeConfig

__all__ = [
    "DataConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FigureConfig",
    "FinetuneConfig",
    "ForecastConfig",
    "ImputeConfig",
    "ModelConfig",
    "MonitorConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "RegisterConfig",
    "SpaceConfig",
    "TrackingConfig",
    "TrainerConfig",
    "TuneConfig",
    "VisualizeConfig",
]
