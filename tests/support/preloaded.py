"""Imported once by the server from which commands are forked: what a training needs, and no more, so that no thread and no file is open."""

import lightning.pytorch  # noqa: F401
import mlflow.artifacts
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

import seqsetvae.training.fit
import seqsetvae.training.pretrained.registration  # noqa: F401
