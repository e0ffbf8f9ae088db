"""Every name that training writes to the MLflow store and analysis reads from it: once, with unit and shape.

`training/` and `analysis/` never import each other; this module is their contract.
"""

from __future__ import annotations

# Metrics of pretraining. All losses are means over the sets of a batch (or split), in nats per set.
TRAIN_LOSS = "train_loss"
"""-E log p + beta * free-bits KL, the quantity that is minimized."""
TRAIN_RECON = "train_recon_step"
"""-E log p(set | history): negative log-likelihood of variables and values."""
TRAIN_KL = "train_kl_step"
"""KL(q || N(0, I)), without free bits and without beta."""
VAL_LOSS = "val_loss"
"""-ELBO of the validation split: recon + KL at beta 1 and no free bits, so that runs can be compared."""
VAL_RECON = "val_recon"
VAL_KL = "val_kl"
BETA = "beta"
LEARNING_RATE = "lr"
GRADIENT_NORM = "grad_norm"
"""L2 norm over all parameters before clipping."""
PATIENTS_PER_SECOND = "patients_per_second"
EPOCH = "epoch"

# Tags of a run.
TAG_KIND = "seqsetvae.kind"
"""pretrain | finetune | tune | evaluate."""
TAG_HOST = "seqsetvae.host"
TAG_PID = "seqsetvae.pid"
TAG_PROCESS_START = "seqsetvae.process_start"
"""Seconds since the epoch: with host and pid it identifies the process that owns a run, also after a pid was used again."""
TAG_DATA_HASH = "seqsetvae.data_hash"
TAG_ENDED_BY = "seqsetvae.ended_by"
"""Why the run ended as it did: finished, a signal's name, an exception's name, or "process vanished"."""

# Artifacts of a run.
ARTIFACT_CONFIG = "config.yaml"
ARTIFACT_CHECKPOINTS = "checkpoints"
