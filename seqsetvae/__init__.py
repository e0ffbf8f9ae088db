"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow.

Everything a script needs is a name of this package. What needs more than the standard library is found when it is first used: `import
seqsetvae` alone loads neither torch nor MLflow, and changes nothing but the list of modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from seqsetvae import config
from seqsetvae.config import *  # noqa: F403 (the settings are listed there, and nowhere else)

if TYPE_CHECKING:
    from seqsetvae.analysis.analyze import analyze as analyze
    from seqsetvae.app.composition import finetune as finetune
    from seqsetvae.app.composition import pretrain as pretrain
    from seqsetvae.app.composition import sync as sync
    from seqsetvae.dashboard.monitor import monitor as monitor
    from seqsetvae.data.module import EventDataModule as EventDataModule
    from seqsetvae.data.prepare import prepare as prepare
    from seqsetvae.evaluation.embed import embed as embed
    from seqsetvae.evaluation.evaluate import evaluate as evaluate
    from seqsetvae.evaluation.visualize.run import visualize as visualize
    from seqsetvae.model.vae import SeqSetVAE as SeqSetVAE
    from seqsetvae.posterior import DiagonalGaussian as DiagonalGaussian
    from seqsetvae.training.module import PretrainModule as PretrainModule
    from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor as CollapseMonitor
    from seqsetvae.training.monitor.guides_names import PosteriorCollapseDetector as PosteriorCollapseDetector
    from seqsetvae.training.monitor.guides_names import PosteriorMetricsMonitor as PosteriorMetricsMonitor
    from seqsetvae.training.monitor.plain_loop import LoopMonitor as LoopMonitor
    from seqsetvae.training.pretrained.loading import load as load
    from seqsetvae.tuning.lead import tune as tune

__version__ = "0.2.0"

_HOMES = {
    "CollapseMonitor": "training.monitor.collapse_monitor",
    "DiagonalGaussian": "posterior",
    "EventDataModule": "data.module",
    "LoopMonitor": "training.monitor.plain_loop",
    "PosteriorCollapseDetector": "training.monitor.guides_names",
    "PosteriorMetricsMonitor": "training.monitor.guides_names",
    "PretrainModule": "training.module",
    "SeqSetVAE": "model.vae",
    "analyze": "analysis.analyze",
    "embed": "evaluation.embed",
    "evaluate": "evaluation.evaluate",
    "finetune": "app.composition",
    "load": "training.pretrained.loading",
    "monitor": "dashboard.monitor",
    "prepare": "data.prepare",
    "pretrain": "app.composition",
    "sync": "app.composition",
    "tune": "tuning.lead",
    "visualize": "evaluation.visualize.run",
}
__all__ = config.__all__ + list(_HOMES)

if not TYPE_CHECKING:  # which would take any name for one of the package

    def __getattr__(name: str) -> object:
        """A name of `__all__`, found when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
