"""Settings of what comes after pretraining: registering, finetuning, evaluating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.require import require


@dataclass(frozen=True)
class RegisterConfig:
    """Which run becomes a version of the model `seqsetvae`."""

    run: str
    """Id of the pretraining run. Its checkpoint with the lowest val_loss is taken."""
    force: bool = False
    """Register a run that collapsed, was never measured, or did not come to its end. It never becomes the champion by that."""
    min_active_ratio: float = 0.1
    """The alias `champion` moves only to a version with at least this share of active units."""

    def __post_init__(self) -> None:
        share = self.min_active_ratio
        require(0.0 <= share <= 1.0, "register.min_active_ratio", share, "between 0 and 1")


@dataclass(frozen=True)
class FinetuneConfig:
    """A classifier of the store's outcomes (label 0 or 1) on a pretrained model whose weights stay as they are."""

    model: str | None = None
    """The pretrained model, required: models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name; patients without an outcome
    are left out."""
    head_input: Literal["auto", "posterior", "history", "both"] = "auto"
    """What the head sees, each as last, mean and greatest value over time: `posterior` mean and variance, the state of the `history`, or
    `both`. `auto`: one head is trained on each, and the validation patients choose."""
    hidden: int = 128
    """Width between the two layers of the head."""
    dropout: float = 0.3
    """Dropout before each layer."""
    head_lr: float = 3e-4
    """Learning rate of the head; halved when the monitored score stops to rise."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    loss: Literal["weighted", "focal", "plain"] = "weighted"
    """For the rare outcome: both outcomes get the same total weight; `focal` also plays down patients that are already right."""
    focal_gamma: float = 2.0
    """How much `focal` does so."""
    monitor: Literal["val_auc", "val_auprc"] = "val_auc"
    """Score that scheduler, early stopping, best epoch and champion go by."""
    max_epochs: int = 200
    """Passes over the cached features."""
    patience: int = 30
    """Epochs without a better score before the end."""
    batch_size: int = 64
    """Patients per batch."""
    seed: int = 0
    """Of the head's weights and the order of patients."""
    allow_collapsed: bool = False
    """Also take a model that was registered by force."""

    def __post_init__(self) -> None:
        for name in ("hidden", "max_epochs", "patience", "batch_size"):
            require(getattr(self, name) >= 1, f"finetune.{name}", getattr(self, name), "at least 1")
        require(0.0 <= self.dropout < 1.0, "finetune.dropout", self.dropout, "at least 0 and below 1")
        require(self.head_lr > 0.0, "finetune.head_lr", self.head_lr, "above 0")
        for name in ("weight_decay", "focal_gamma"):
            require(getattr(self, name) >= 0.0, f"finetune.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True)
class EvaluateConfig:
    """Which finetuned models are compared, and on what."""

    model: str = "models:/seqsetvae-mortality@champion"
    """A finetuned model, or several with commas between them, e.g. models:/seqsetvae-mortality/1,models:/seqsetvae-mortality/2."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`."""
    split: Literal["train", "valid", "test"] = "test"
    """Split whose labelled patients are scored."""
    baselines: bool = True
    """Also fit logistic regression and gradient boosting on hand-made features of the train split."""
    subgroups: bool = True
    """Also score the subgroups by age, sex and type of ICU, where the store has the variables Age, Gender and ICUType."""
    bootstrap: int = 500
    """Resamples for the 95 % intervals."""

    def __post_init__(self) -> None:
        require(len(self.models) > 0, "evaluate.model", self.model, "at least one model")
        require(self.bootstrap >= 10, "evaluate.bootstrap", self.bootstrap, "at least 10")

    @property
    def models(self) -> tuple[str, ...]:
        """Each of them."""
        return tuple(name.strip() for name in self.model.split(",") if name.strip())
