"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow.

Everything a script needs is a name of this package, found when it is first used: `import seqsetvae` alone loads neither torch nor MLflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqsetvae.app.composition import finetune, pretrain
    from seqsetvae.config import (
        DataConfig,
        EmbedConfig,
        EvaluateConfig,
        FinetuneConfig,
        ModelConfig,
        MonitorConfig,
        ObjectiveConfig,
        OptimizerConfig,
        PretrainConfig,
        RegisterConfig,
        SpaceConfig,
        TrackingConfig,
        TrainerConfig,
        TuneConfig,
        VisualizeConfig,
    )
    from seqsetvae.data.module import EventDataModule
    from seqsetvae.data.prepare import prepare
    from seqsetvae.evaluation.evaluate import evaluate
    from seqsetvae.model.vae import SeqSetVAE
    from seqsetvae.posterior import DiagonalGaussian
    from seqsetvae.training.module import PretrainModule
    from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
    from seqsetvae.training.pretrained.loading import load
    from seqsetvae.tuning.lead import tune

__version__ = "0.1.0"

__all__ = [
    "CollapseMonitor",
    "DataConfig",
    "DiagonalGaussian",
    "EmbedConfig",
    "EvaluateConfig",
    "EventDataModule",
    "FinetuneConfig",
    "ModelConfig",
    "MonitorConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "PretrainModule",
    "RegisterConfig",
    "SeqSetVAE",
    "SpaceConfig",
    "TrackingConfig",
    "TrainerConfig",
    "TuneConfig",
    "VisualizeConfig",
    "evaluate",
    "finetune",
    "load",
    "prepare",
    "pretrain",
    "tune",
]

_HOMES = {
    "CollapseMonitor": "seqsetvae.training.monitor.collapse_monitor",
    "DiagonalGaussian": "seqsetvae.posterior",
    "EventDataModule": "seqsetvae.data.module",
    "PretrainModule": "seqsetvae.training.module",
    "SeqSetVAE": "seqsetvae.model.vae",
    "evaluate": "seqsetvae.evaluation.evaluate",
    "finetune": "seqsetvae.app.composition",
    "load": "seqsetvae.training.pretrained.loading",
    "prepare": "seqsetvae.data.prepare",
    "pretrain": "seqsetvae.app.composition",
    "tune": "seqsetvae.tuning.lead",
}
"""Where the names are that are no settings."""


def __getattr__(name: str) -> object:
    """A name of `__all__`, found when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "seqsetvae.config")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
