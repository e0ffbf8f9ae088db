"""SeqSetVAE: pretraining on sequences of sets of medical events, watched for posterior collapse and tracked in MLflow."""

__version__ = "0.1.0"
