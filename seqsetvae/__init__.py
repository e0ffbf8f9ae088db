"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`seqsetvae.load`, found when it is first used: `import seqsetvae` alone must not load torch."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("seqsetvae.training.loading").load
