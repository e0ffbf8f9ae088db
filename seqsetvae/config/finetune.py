"""Settings of what comes after pretraining: registering, finetuning, evaluating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.require import require
from seqsetvae.errors import InputError

TaskKind = Literal["auto", "binary", "multiclass", "multilabel", "regression", "time_to_event"]
HEAD_PARTS = ("posterior", "history", "summaries", "outlook")
"""What a finetuned head may look at."""


@dataclass(frozen=True)
class RegisterConfig:
    """Which run becomes a version of the model `seqsetvae`."""

    run: str
    """Id of the pretraining run. Its checkpoint with the lowest val_recon is taken."""
    force: bool = False
    """Register a run that collapsed, was never measured, or did not come to its end. It never becomes the champion by that."""
    min_active_ratio: float = 0.1
    """The alias `champion` moves only to a version with at least this share of active units."""

    def __post_init__(self) -> None:
        share = self.min_active_ratio
        require(0.0 <= share <= 1.0, "register.min_active_ratio", share, "between 0 and 1")


@dataclass(frozen=True)
class FinetuneConfig:
    """A head for the store's outcomes (label 0 or 1), or a task of yours, on a pretrained model."""

    model: str | None = None
    """The pretrained model, required: models:/seqsetvae@champion, models:/seqsetvae/3, a run id, or the path of a checkpoint."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`. Variables are matched to the model's by name; patients without an outcome
    are left out."""
    labels: str | None = None
    """Table of outcomes (.csv, .csv.gz, .parquet; one column a task, or the MEDS label schema), each with a prediction_time where wanted:
    what came later is not looked at. Default: the store's own outcomes, and whole stays."""
    task: str | None = None
    """Column of --labels, or several with commas between them. Default: that of the MEDS label schema which has values."""
    kind: TaskKind = "auto"
    """What the outcomes are. auto: by the column of the MEDS label schema (categorical_value is multiclass, or multilabel where a patient
    has several at one time); several of 0 and 1 are multilabel, one with a column NAME_hours beside it is time_to_event, and any other is
    binary."""
    outcome_scale: Literal["linear", "log"] = "linear"
    """Of a regression: `log` learns log(1 + outcome), for outcomes of 0 or more with a long tail, such as lengths of stay: smaller
    absolute errors, and intervals that widen with the value and are never below 0."""
    at_hours: float | None = None
    """Hours from a stay's first event at which outcomes without a prediction_time are predicted. Default: at its end."""
    head_input: str = "auto"
    """What the head sees, joined by `+`: `posterior` mean and variance and the state of the `history`, each as last, mean and greatest
    value over time; `summaries` of each variable (last, mean, least, greatest value, spread, change, count, age); the `outlook`, of a model
    with heads on its history: what these say of each variable now and in the longest window to come, four numbers, which few labels learn
    most from. `auto`: one head is trained on each sensible choice, and the validation patients choose; beyond 1,000 variables without
    summaries."""
    unfreeze: Literal["none", "history", "all"] = "none"
    """What of the pretrained model is trained along: nothing, so that its features are computed once; the `history` transformer; or
    `all` but the decoder."""
    backbone_lr: float = 1e-4
    """Learning rate of what is unfrozen, after one epoch of warm-up: below the head's, so that pretraining is not forgotten."""
    event_dropout: float = 0.2
    """With an unfrozen backbone: share of the events that each batch leaves out."""
    ema_decay: float | None = None
    """With an unfrozen backbone: validate and keep an exponential moving average of the weights with this decay at each step; 0.99 looks
    back over about 100 steps. None: the weights as they are."""
    auxiliary: str | None = None
    """With an unfrozen backbone: outcomes that are learned along and then forgotten, such as death_30_days,death_365_days: columns of
    --labels with commas between them, of 0 and 1 or of numbers; without --labels of the `tasks.csv` that `prepare` wrote into the store.
    Cells may be empty."""
    auxiliary_weight: float = 0.5
    """Of their mean loss, beside the 1 of the task's own."""
    n_seeds: int = 1
    """Members that are trained with different seeds; the mean of their logits predicts."""
    hidden: int = 128
    """Width between the two layers of the head. 0: one linear layer, which on a frozen backbone is fitted to its end at each of seven
    strengths of regularization, of which the validation patients choose: best where labels are few."""
    dropout: float = 0.3
    """Dropout before each layer; none where a linear layer is fitted to its end."""
    head_lr: float = 3e-4
    """Learning rate of the head; halved when the monitored score stops to rise."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    loss: Literal["weighted", "focal", "plain"] = "weighted"
    """For the rare outcome: both outcomes get the same total weight; `focal` also plays down patients that are already right."""
    focal_gamma: float = 2.0
    """How much `focal` does so."""
    monitor: Literal["val_auc", "val_auprc"] = "val_auc"
    """Score that scheduler, early stopping, best epoch and champion go by; of numbers it is val_r2, of times val_c_index."""
    max_epochs: int | None = None
    """Passes over the labelled patients. None: 200 over cached features, 10 with an unfrozen backbone."""
    patience: int | None = None
    """Epochs without a better score before the end. None: 30, or 3 with an unfrozen backbone."""
    batch_size: int = 64
    """Patients per batch."""
    seed: int = 0
    """Of the head's weights, the order of patients and dropout; further members count up from it."""
    label_share: float = 1.0
    """Learn from this share of the labelled patients only, drawn by the seed: what are fewer labels worth?"""
    from_scratch: bool = False
    """The same network with new weights instead of the pretrained ones, for comparison. Needs --unfreeze all."""
    allow_collapsed: bool = False
    """Also take a model that was registered by force, or whose run collapsed."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """With an unfrozen backbone. auto: a GPU where there is one."""
    progress_bar: bool = True
    """With an unfrozen backbone."""

    def __post_init__(self) -> None:
        require(self.hidden >= 0, "finetune.hidden", self.hidden, "0 or more")
        for name in ("batch_size", "n_seeds"):
            require(getattr(self, name) >= 1, f"finetune.{name}", getattr(self, name), "at least 1")
        for name in ("max_epochs", "patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"finetune.{name}", value, "at least 1")
        require(0.0 < self.label_share <= 1.0, "finetune.label_share", self.label_share, "above 0 and at most 1")
        for name in ("dropout", "event_dropout"):
            require(0.0 <= getattr(self, name) < 1.0, f"finetune.{name}", getattr(self, name), "at least 0 and below 1")
        ema = self.ema_decay
        require(ema is None or 0.0 < ema < 1.0, "finetune.ema_decay", ema, "above 0 and below 1")
        for name in ("ema_decay", "auxiliary"):
            if getattr(self, name) is not None and self.frozen:
                raise InputError(
                    f"--finetune.{name} is for an unfrozen backbone: give --finetune.unfreeze all or history."
                )
        for name in ("head_lr", "backbone_lr", "auxiliary_weight"):
            require(getattr(self, name) > 0.0, f"finetune.{name}", getattr(self, name), "above 0")
        for name in ("weight_decay", "focal_gamma"):
            require(getattr(self, name) >= 0.0, f"finetune.{name}", getattr(self, name), "0 or more")
        parts = self.head_input.split("+")
        known = set(parts) <= set(HEAD_PARTS) and len(set(parts)) == len(parts)
        require(
            self.head_input == "auto" or known,
            "finetune.head_input",
            self.head_input,
            f"auto, or one or more of {', '.join(HEAD_PARTS)} joined by +",
        )
        if self.frozen and self.hidden == 0 and self.n_seeds > 1:
            raise InputError(
                "--finetune.hidden 0 on a frozen backbone is the same head for every seed: leave --finetune.n_seeds out."
            )
        if self.unfreeze != "none" and self.head_input == "summaries":
            raise InputError(
                "--finetune.head_input summaries does not use the backbone, so there is nothing to unfreeze."
            )
        if self.from_scratch and (self.unfreeze != "all" or self.head_input == "auto"):
            raise InputError(
                "--finetune.from_scratch needs --finetune.unfreeze all, because new weights that stay as they are learn nothing, and a "
                "named --finetune.head_input, because `auto` chooses by the pretrained features."
            )

    @property
    def frozen(self) -> bool:
        """Whether the pretrained model stays as it is."""
        return self.unfreeze == "none"

    @property
    def epochs(self) -> int:
        """At most."""
        return self.max_epochs or (200 if self.frozen else 10)

    @property
    def epochs_of_patience(self) -> int:
        """Without a better score before the end."""
        return self.patience or (30 if self.frozen else 3)


@dataclass(frozen=True)
class EvaluateConfig:
    """Which finetuned models are compared, and on what."""

    model: str = "models:/seqsetvae-mortality@champion"
    """A finetuned model, or several with commas between them, e.g. models:/seqsetvae-mortality/1,models:/seqsetvae-mortality/2."""
    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`."""
    labels: str | None = None
    """Table of outcomes (.csv, .csv.gz, .parquet; one column a task, or the MEDS label schema), each with a prediction_time where wanted:
    what came later is not looked at. Default: the store's own outcomes, and whole stays."""
    task: str | None = None
    """Column of --labels, or several with commas between them. Default: that of the MEDS label schema which has values."""
    kind: TaskKind = "auto"
    """What the outcomes are. auto: by the column of the MEDS label schema (categorical_value is multiclass, or multilabel where a patient
    has several at one time); several of 0 and 1 are multilabel, one with a column NAME_hours beside it is time_to_event, and any other is
    binary."""
    at_hours: float | None = None
    """Hours from a stay's first event at which outcomes without a prediction_time are predicted. Default: at its end."""
    split: Literal["train", "valid", "test", "all"] = "test"
    """Split whose labelled patients are scored; `all`: every patient of the store, of an external cohort for example."""
    leak_audit: bool = False
    """First prove that no answer looks ahead: everything after each prediction time is scrambled, and every answer must be the same to
    the last bit. Else nothing is scored, with exit code 1."""
    baselines: bool = True
    """Also fit logistic regression and gradient boosting on hand-made features of the train split."""
    subgroups: bool = True
    """Also score the subgroups by age, sex and type of ICU, where the store has the variables Age, Gender and ICUType."""
    bootstrap: int = 500
    """Resamples for the 95 % intervals."""
    draws: int = 0
    """Also answer so many times with draws of the posterior by each member, and say how far risks are sure: whether stays of wide intervals
    are judged worse."""
    explain: int = 0
    """Also say of so many stays, those of highest risk by each model, what every event contributes to it: by integrated gradients on the
    values and by deleting the event, held against each other. Needs `seqsetvae[explain]`."""

    def __post_init__(self) -> None:
        require(self.explain >= 0, "evaluate.explain", self.explain, "0 or more")
        require(self.draws >= 0, "evaluate.draws", self.draws, "0 or more")
        require(len(self.models) > 0, "evaluate.model", self.model, "at least one model")
        require(self.bootstrap >= 10, "evaluate.bootstrap", self.bootstrap, "at least 10")

    @property
    def models(self) -> tuple[str, ...]:
        """Each of them."""
        return tuple(name.strip() for name in self.model.split(",") if name.strip())
