"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow."""

__version__ = "0.1.0"


_FROM = {"load": "seqsetvae.training.pretrained.loading", "pretrain": "seqsetvae.training.fit"}


def __getattr__(name: str) -> object:
    """`seqsetvae.load` and `seqsetvae.pretrain`, found when first used: `import seqsetvae` alone must not load torch."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FROM[name]), name)
