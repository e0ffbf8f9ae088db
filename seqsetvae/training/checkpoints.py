"""Checkpoints as they are read: without unpickling code, without Lightning, and enough by themselves to rebuild the model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqsetvae.config import ModelConfig, PretrainConfig
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.weights import require_finite

RECIPE = "seqsetvae"
"""Key in a checkpoint under which lies what is needed to rebuild the model and to continue the run."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project onto the CPU.

    Raises:
        InputError: there is no such file, it is damaged, or it holds anything but tensors and plain values, or weights that are NaN
            or inf.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint of tensors and plain values: it is damaged, or holds pickled code, which is "
            f"never run. ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(checkpoint, dict) or RECIPE not in checkpoint:
        raise InputError(f"{path} is a PyTorch file, but not a checkpoint of seqsetvae.")
    require_finite(checkpoint.get("state_dict", {}), path)
    return checkpoint


@dataclass(frozen=True)
class Recipe:
    """What a checkpoint holds besides weights and the state of the training."""

    config: dict[str, Any]
    variables: list[str]
    center: list[float]
    spread: list[float]
    total_steps: int
    run_id: str

    @classmethod
    def of(cls, config: PretrainConfig, vocabulary: Vocabulary, total_steps: int, run_id: str) -> Recipe:
        return cls(
            dataclasses.asdict(config),
            list(vocabulary.names),
            vocabulary.center_V.tolist(),
            vocabulary.spread_V.tolist(),
            total_steps,
            run_id,
        )

    @classmethod
    def read(cls, checkpoint: dict[str, Any]) -> Recipe:
        return cls(**checkpoint[RECIPE])


def load_model(path: Path) -> tuple[SeqSetVAE, Recipe]:
    """Rebuild the model of a checkpoint, in evaluation mode on the CPU, with what is needed to feed it."""
    checkpoint = read_checkpoint(path)
    recipe = Recipe.read(checkpoint)
    prefix = "vae."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    frozen_VE = weights.get("set_encoder.embed.frozen_VE")
    vae = SeqSetVAE(ModelConfig(**recipe.config["model"]), len(recipe.variables), frozen_VE)
    vae.load_state_dict(weights)
    return vae.eval(), recipe
