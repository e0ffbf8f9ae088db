"""Checkpoints as they are read: without unpickling code, without Lightning, and enough by themselves to rebuild the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor

from seqsetvae.config import ModelConfig, PretrainConfig
from seqsetvae.config.settings_io import SETTINGS_VERSION, check_version, read_settings
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.weights import require_finite

RECIPE = "seqsetvae"
"""Key in a checkpoint under which lies what is needed to rebuild the model and to continue the run."""
FIRST_FIELDS = ("config", "variables", "center", "spread", "total_steps", "run_id")
"""Of a :class:`Recipe`, in every version."""
LAST = "last.ckpt"
"""The only checkpoint whose name does not tell its step."""


def read_tensors(path: Path) -> Any:
    """What PyTorch saved, onto the CPU; the checksums that every part of such a file carries are compared first.

    Raises:
        InputError: there is no such file, it is empty or damaged, or it holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: writing it was cut off. Take another checkpoint of the run.")
    try:
        with ZipFile(path) as parts:  # PyTorch writes a CRC-32 of each part, but does not look at it when it reads
            damaged = parts.testzip()
    except Exception as error:  # what a file of any content comes to
        raise InputError(_unreadable(path, error)) from error
    if damaged is not None:
        raise InputError(f"{path} was damaged: the checksum of {damaged} differs. Take another checkpoint of the run.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{path} cannot be read as a checkpoint of tensors and plain values: it is damaged, or holds pickled code, which is never run. "
        f"({first})"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project onto the CPU.

    Raises:
        InputError: there is no such file, it is damaged, or it holds anything but tensors and plain values, or weights that are NaN
            or inf.
    """
    checkpoint = read_tensors(path)
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
    low: list[float | None] = field(default_factory=list)
    """0.1 percentiles of the variables in the train split, None where unknown; empty in a checkpoint of an earlier version."""
    high: list[float | None] = field(default_factory=list)
    """99.9 percentiles."""
    bare: list[bool] = field(default_factory=list)
    """Whether events of each variable may come without a number."""
    set_window: float = 1.0
    """Minutes of the clock whose events are one set."""
    format_version: int = SETTINGS_VERSION

    def __repr__(self) -> str:
        return f"<Recipe of run {self.run_id}: {len(self.variables)} variables, {self.total_steps} steps>"

    @classmethod
    def of(cls, config: PretrainConfig, vocabulary: Vocabulary, total_steps: int, run_id: str) -> Recipe:
        return cls(
            dataclasses.asdict(config),
            list(vocabulary.names),
            vocabulary.center_V.tolist(),
            vocabulary.spread_V.tolist(),
            total_steps,
            run_id,
            *(trusted_percentiles(vocabulary)),
            [] if vocabulary.bare_V is None else vocabulary.bare_V.tolist(),
            vocabulary.set_window,
        )

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any], where: str = "the checkpoint") -> Recipe:
        """Of a checkpoint. Raises :class:`InputError` as :meth:`parse`."""
        return cls.parse(checkpoint[RECIPE], where)

    @classmethod
    def parse(cls, values: object, where: str) -> Recipe:
        """From plain values, as this or an earlier version has written them.

        Raises:
            InputError: a newer version has, or they are none.
        """
        if not isinstance(values, Mapping):
            raise InputError(
                f"{where}: what it says about its model is {type(values).__name__}, not names with values."
            )
        check_version(values.get("format_version"), SETTINGS_VERSION, where)
        missing = [name for name in FIRST_FIELDS if name not in values]
        if missing:
            raise InputError(f"{where}: {', '.join(missing)} is missing. The file was damaged or changed.")
        return read_settings(cls, {**values, "format_version": SETTINGS_VERSION}, where)

    def model(self, where: str) -> ModelConfig:
        """Settings of the model. Raises :class:`InputError` for ones that this version does not know."""
        return read_settings(ModelConfig, self.config.get("model"), where)


FEWEST_VALUES = 30
"""Of a variable in the train split, below which its percentiles say nothing."""


def trusted_percentiles(vocabulary: Vocabulary) -> tuple[list[float | None], list[float | None]]:
    """The 0.1 and 99.9 percentiles of each variable, None where too few values made them."""
    statistics = vocabulary.statistics
    enough = (statistics.count_V >= FEWEST_VALUES).tolist()
    low, high = (
        [x if there else None for x, there in zip(x_V.tolist(), enough, strict=True)]
        for x_V in (statistics.low_V, statistics.high_V)
    )
    return low, high


def load_model(path: Path) -> tuple[SeqSetVAE, Recipe]:
    """Rebuild the model of a checkpoint, in evaluation mode on the CPU, with what is needed to feed it."""
    checkpoint = read_checkpoint(path)
    recipe = Recipe.read(checkpoint, str(path))
    prefix = "vae."
    weights = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    frozen_VE = weights.get("set_encoder.embed.frozen_VE")
    vae = SeqSetVAE(recipe.model(str(path)), len(recipe.variables), frozen_VE)
    load_weights(vae, weights, str(path))
    return vae.eval(), recipe


def load_weights(vae: SeqSetVAE, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a model. Raises :class:`InputError` if they are not those of its settings."""
    try:
        vae.load_state_dict(dict(weights))
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise InputError(f"{where}: the weights do not fit the model's settings: {last}") from error
