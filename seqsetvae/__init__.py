"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow."""

import os

__version__ = "0.1.0"

# Read by GNU OpenMP when PyTorch is loaded: turns that a thread waits for the others before it sleeps. By default it is 300,000, longer
# than a thread that something else has pushed off its core is away: with one other busy process on two cores a training step of
# batch 8 then takes 3.4x its time, with this 2.4x; on a quiet machine it costs less than 2 %.
os.environ.setdefault("GOMP_SPINCOUNT", "2500")

_FROM = {"load": "seqsetvae.training.pretrained.loading", "pretrain": "seqsetvae.training.fit"}


def __getattr__(name: str) -> object:
    """`seqsetvae.load` and `seqsetvae.pretrain`, found when first used: `import seqsetvae` alone must not load torch."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FROM[name]), name)
