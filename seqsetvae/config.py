"""Every setting, once: the Python API, the command line, the YAML file and the README's tables are read from these classes.

A field's docstring is its `--help`. Contradictions raise :class:`~seqsetvae.errors.InputError` at construction and name the flag.
`None` means "decided at start from the hardware, the data or the length of the run, and printed".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Literal

from seqsetvae.errors import InputError


def _require(condition: bool, flag: str, value: object, expected: str) -> None:
    if not condition:
        raise InputError(f"--{flag} is {value!r}, but must be {expected}.")


@dataclass(frozen=True)
class DataConfig:
    """What to train on, and how it is cut into batches."""

    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`: 500 real ICU stays that come with the package."""
    batch_size: int = 8
    """Patients per batch."""
    max_events_per_batch: int | None = None
    """Token budget: patients of like length are batched together until this many events, so that memory is the same for every
    batch. Replaces batch_size."""
    max_sequence_length: int | None = None
    """Longest stay in events. Later sets of a longer stay are left out, always whole sets. None: no limit."""
    use_dynamic_padding: bool = True
    """Lay the history out for the longest patient of each batch. False: always for the longest of the store, for constant
    shapes."""
    num_workers: int | None = None
    """Loader processes. 0 loads in the training process, which is usually fastest: a batch is one memory-mapped gather."""
    pin_memory: bool | None = None
    """Page-locked host memory for faster copies to a GPU. None: only when training on one."""
    persistent_workers: bool = True
    """Keep loader processes alive between epochs."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, "data.batch_size", self.batch_size, "at least 1")
        for name in ("max_events_per_batch", "max_sequence_length"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"data.{name}", value, "at least 1, or null for no limit")
        _require(self.num_workers is None or self.num_workers >= 0, "data.num_workers", self.num_workers, "0 or more")


@dataclass(frozen=True)
class ModelConfig:
    """Widths and depths of SeqSetVAE. The defaults are the source project's own."""

    variable_embedding: Literal["auto", "learned", "cached"] = "auto"
    """How a variable becomes a vector: `learned` trains a table; `cached` takes the store's frozen embeddings (the guides' cached.csv,
    768 wide) through a trained projection; `auto` uses `cached` where the store has them."""
    width: int = 256
    """D: width of events, sets and history (the guides' reduced dimension)."""
    latent_dim: int = 256
    """Z: dimensions of the posterior of one set."""
    levels: int = 2
    """Layers of set attention inside the set encoder."""
    heads: int = 8
    """Attention heads of the set encoder and of the history; must divide the width into even parts."""
    ff_dim: int = 512
    """Width of the feed-forward layers."""
    history_layers: int = 4
    """Layers of the causal transformer over sets."""
    dropout: float = 0.0
    """Dropout in the history and the set encoder."""
    scale_floor: float = 0.05
    """Smallest standard deviation of a decoded (scaled) value. It bounds the likelihood: a constant variable, such as MechVent,
    cannot drive the ELBO to infinity."""

    def __post_init__(self) -> None:
        for name in ("width", "latent_dim", "levels", "heads", "ff_dim", "history_layers"):
            _require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
        head_width, rest = divmod(self.width, self.heads)
        _require(
            rest == 0 and head_width % 2 == 0,
            "model.heads",
            self.heads,
            f"a divisor of --model.width ({self.width}) that leaves an even number per head",
        )
        _require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "at least 0 and below 1")
        _require(self.scale_floor > 0.0, "model.scale_floor", self.scale_floor, "above 0")


@dataclass(frozen=True)
class ObjectiveConfig:
    """The ELBO and how its KL term is weighted over the run."""

    beta: float | None = None
    """Constant weight of the KL term: short for --objective.beta_schedule constant --objective.max_beta BETA."""
    beta_schedule: Literal["constant", "linear", "cyclical", "controller"] = "linear"
    """`constant`; `linear` warm-up from 0 to max_beta (Bowman 2016); `cyclical` (Fu 2019); `controller`: PI control that holds the KL
    at kl_target (ControlVAE, Shao 2020)."""
    max_beta: float = 0.1
    """Weight of the KL term after warm-up; upper bound of the controller."""
    warmup_beta: bool = True
    """False: no warm-up, beta is max_beta from the first step."""
    kl_annealing: bool = True
    """The guides' second word for warmup_beta: False for either turns the warm-up off."""
    beta_warmup_steps: int | None = None
    """Optimizer steps of the linear warm-up. None: a fifth of the run. Longer than the run is refused."""
    beta_cycles: int = 4
    """Cycles of the cyclical schedule."""
    beta_ramp: float = 0.5
    """Share of each cycle in which beta rises; it stays at max_beta for the rest."""
    free_bits: float = 0.0
    """Nats per latent dimension that cost nothing: sum_d max(free_bits, KL_d), KL_d averaged over the sets of the batch
    (Kingma 2016)."""
    kl_target: float = 10.0
    """Set point of the controller, nats per set."""

    def __post_init__(self) -> None:
        if self.beta is not None:
            _require(self.beta >= 0.0, "objective.beta", self.beta, "0 or more")
        _require(self.max_beta >= 0.0, "objective.max_beta", self.max_beta, "0 or more")
        _require(self.free_bits >= 0.0, "objective.free_bits", self.free_bits, "0 or more")
        _require(
            self.beta_warmup_steps is None or self.beta_warmup_steps >= 0,
            "objective.beta_warmup_steps",
            self.beta_warmup_steps,
            "0 or more",
        )
        _require(self.beta_cycles >= 1, "objective.beta_cycles", self.beta_cycles, "at least 1")
        _require(0.0 < self.beta_ramp <= 1.0, "objective.beta_ramp", self.beta_ramp, "above 0 and at most 1")
        _require(self.kl_target > 0.0, "objective.kl_target", self.kl_target, "above 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate."""

    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices only."""
    lr_schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Course of the learning rate after its warm-up, down to a tenth of lr at the end of the run; or constant."""
    lr_warmup_steps: int | None = None
    """Optimizer steps of linear learning-rate warm-up. None: a twentieth of the run, at most 1000."""

    def __post_init__(self) -> None:
        _require(self.lr > 0.0, "optimizer.lr", self.lr, "above 0")
        _require(self.weight_decay >= 0.0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        _require(
            self.lr_warmup_steps is None or self.lr_warmup_steps >= 0,
            "optimizer.lr_warmup_steps",
            self.lr_warmup_steps,
            "0 or more",
        )


@dataclass(frozen=True)
class TrainerConfig:
    """Length of the run, hardware, precision, validation, checkpoints."""

    max_epochs: int = 10
    """Passes over the train split."""
    max_steps: int | None = None
    """Optimizer steps after which the run ends, whatever max_epochs says."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: a GPU where there is one."""
    devices: int = 1
    """Processes with one device each (DDP)."""
    precision: Literal["auto", "32", "16-mixed", "bf16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU that has it, 16-mixed on an older GPU, 32 on a CPU."""
    gradient_accumulation_steps: int = 1
    """Batches per optimizer step."""
    gradient_clip_val: float = 1.0
    """Largest L2 norm of the gradient; 0 switches clipping off."""
    compile_model: bool = False
    """torch.compile the model: a slow first step, faster ones after it."""
    val_check_interval: int | float = 1.0
    """Validate this often: a share of an epoch (0.25), or a number of batches (500)."""
    limit_val_batches: int | float = 1.0
    """Validate on this share (0.1) or number (20) of the validation batches."""
    checkpoint_every_n_steps: int | None = None
    """Write `last.ckpt` every so many optimizer steps, besides after each validation. For epochs that take hours."""
    save_top_k: int = 2
    """How many `best_*` checkpoints to keep, by val_loss."""
    resume_from_checkpoint: str | None = None
    """A checkpoint, or `last.ckpt` for the newest of this working directory. Continues the same MLflow run, optimizer, beta
    schedule, batch order and random state."""
    seed: int = 0
    """Seed of weights, batch order and posterior samples."""
    log_every_n_steps: int = 10
    """Write training metrics every so many optimizer steps."""
    progress_bar: bool = True
    """Show loss, recon, KL, beta, patients/s and the time left."""

    def __post_init__(self) -> None:
        for name in ("max_epochs", "devices", "gradient_accumulation_steps", "log_every_n_steps"):
            _require(getattr(self, name) >= 1, f"trainer.{name}", getattr(self, name), "at least 1")
        for name in ("max_steps", "checkpoint_every_n_steps"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"trainer.{name}", value, "at least 1, or null")
        _require(self.gradient_clip_val >= 0.0, "trainer.gradient_clip_val", self.gradient_clip_val, "0 or more")
        for name in ("val_check_interval", "limit_val_batches"):
            value = getattr(self, name)
            _require(
                value > 0 and (isinstance(value, int) or value <= 1.0),
                f"trainer.{name}",
                value,
                "a share above 0 and at most 1.0, or a whole number of batches",
            )
        _require(self.save_top_k >= 0, "trainer.save_top_k", self.save_top_k, "0 or more")


@dataclass(frozen=True)
class TrackingConfig:
    """Where the run is recorded."""

    tracking_uri: str | None = None
    """MLflow store. None: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the working directory."""
    experiment: str | None = None
    """MLflow experiment. None: MLFLOW_EXPERIMENT_NAME, else `seqsetvae`."""
    run_name: str | None = None
    """Name of the run in the MLflow UI. None: made from the kind of run and its main settings."""
    work_dir: str = "outputs"
    """Local folder for what the store has not received yet (`spool/`) and for checkpoints when the store is remote."""
    log_system_metrics: bool = True
    """Record CPU, memory, disk, network and GPU use."""
    register_model: bool = True
    """Register the model of a run that ends healthy, as a version of `seqsetvae`. Trials of a study are never registered."""


@dataclass(frozen=True)
class MonitorConfig:
    """Watching for posterior collapse. On in every run; the guides' names, the guides' presets, and better rules."""

    disable_metrics_monitoring: bool = False
    """Watch nothing."""
    preset: Literal["standard", "optimized"] = "standard"
    """`optimized` looks and draws less often, in the guides' words for the least overhead."""
    fast_detection: bool = False
    """The fast variant of the preset: looks more often and, with `standard`, takes the guides' stricter thresholds and shorter
    window."""
    rules: Literal["principled", "source"] = "principled"
    """`principled`: KL, Burda's active units, mutual information and decoder use, with a grace period and knowledge of the beta
    schedule. `source`: the guides' four rules word for word, which stay silent on a complete collapse (docs/collapse.md)."""
    update_frequency: int | None = None
    """Record collapse metrics every so many optimizer steps. None: the preset's (50; fast 20), or more often in a short run."""
    check_frequency: int | None = None
    """Apply the rules every so many optimizer steps. None: as update_frequency."""
    plot_frequency: int | None = None
    """Draw all metrics every so many optimizer steps. None: the preset's (500; fast 200), or more often in a short run."""
    adaptive: bool = False
    """Check every 100 steps below step 1000, every 50 below step 5000, then every 20, whatever check_frequency says."""
    window_size: int | None = None
    """Updates that the slope of the reconstruction loss looks back on. None: the preset's (100; fast 50)."""
    kl_threshold: float | None = None
    """KL below this is out of range, nats per set. None: the preset's (0.01; fast 0.005)."""
    active_units_threshold: float | None = None
    """Share of active latent dimensions below this is out of range. None: the preset's (0.1; fast 0.15)."""
    mutual_information_threshold: float = 0.1
    """Mutual information between set and latent below this is out of range, nats."""
    decoder_use_threshold: float = 0.01
    """Rise in negative log-likelihood when latents are exchanged between patients; below this the decoder ignores them. Nats per
    set."""
    decoder_use_every: int = 10
    """Measure decoder use at every so many updates, and at each while the posterior looks collapsed: it takes two passes of the
    decoder."""
    var_threshold: float | None = None
    """Rules `source` only: mean posterior variance below this is out of range. None: the preset's (0.1; fast 0.05)."""
    pool_sets: int = 1024
    """Posteriors of the last steps that are pooled for an update: at least 1000, or the mutual information cannot be seen."""
    grace_steps: int | None = None
    """Optimizer steps in which a posterior that was never alive is not yet called collapsed. None: until the beta warm-up has ended,
    and at least a tenth of the run and 100 steps."""
    confirm_checks: int = 3
    """Consecutive checks that confirm a collapse, or a recovery from it."""
    early_warning: bool = False
    """A second detector beside the first: twice the KL threshold, checks every 20 steps, warns at most orange, never acts."""
    on_collapse: Literal["warn", "stop", "rescue"] = "stop"
    """What a confirmed collapse leads to: `warn` goes on; `stop` ends the run after early_stop_patience; `rescue` goes back to the last
    healthy checkpoint and continues as a child run with a milder objective."""
    early_stop_patience: int | None = None
    """Consecutive red checks before `stop` or `rescue`. None: the preset's (200; fast 100), at most a twentieth of the run's
    checks."""
    auto_save_on_collapse: bool = True
    """Keep the last checkpoint from before the collapse."""
    max_rescues: int = 2
    """Rescues of one run; a collapse after the last one stops it."""
    rescue_by: Literal["auto", "lower_beta", "free_bits", "controller"] = "auto"
    """The milder objective: a lower max_beta, free bits, or a controller that holds the KL. `auto`: first half the beta at which the run
    was last healthy, then the controller; the controller at once where it never was."""
    notify: str | None = None
    """Where to send alerts: an Apprise URL (https://github.com/caronc/apprise), e.g. a webhook, mailto:// or slack://. Better kept in
    the environment variable SEQSETVAE_NOTIFY. Never recorded with the run."""
    verbose: bool = True
    """Print every alert; False: red ones only."""
    log_dir: str | None = None
    """Also write log, figures, backup and final statistics to this folder; they are always among the run's artifacts."""

    def __post_init__(self) -> None:
        for name in (
            "update_frequency",
            "check_frequency",
            "plot_frequency",
            "window_size",
            "early_stop_patience",
            "decoder_use_every",
            "confirm_checks",
        ):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"monitor.{name}", value, "at least 1")
        for name in ("kl_threshold", "var_threshold"):
            value = getattr(self, name)
            _require(value is None or 0.0 < value < inf, f"monitor.{name}", value, "a number above 0")
        share = self.active_units_threshold
        _require(share is None or 0.0 < share <= 1.0, "monitor.active_units_threshold", share, "above 0 and at most 1")
        for name in ("mutual_information_threshold", "decoder_use_threshold"):
            _require(0.0 < getattr(self, name) < inf, f"monitor.{name}", getattr(self, name), "a number above 0")
        _require(self.pool_sets >= 1000, "monitor.pool_sets", self.pool_sets, "at least 1000")
        ceiling = log(self.pool_sets)
        _require(
            self.mutual_information_threshold < ceiling,
            "monitor.mutual_information_threshold",
            self.mutual_information_threshold,
            f"below ln {self.pool_sets} = {ceiling:.1f} nats, the most that {self.pool_sets} pooled sets can show",
        )
        _require(self.max_rescues >= 0, "monitor.max_rescues", self.max_rescues, "0 or more")
        grace = self.grace_steps
        _require(grace is None or grace >= 0, "monitor.grace_steps", grace, "0 or more")


@dataclass(frozen=True)
class PretrainConfig:
    """All settings of a pretraining run, as logged with it and as read back by `--config`."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    trainer: TrainerConfig = TrainerConfig()
    monitor: MonitorConfig = MonitorConfig()
    tracking: TrackingConfig = TrackingConfig()


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
        _require(0.0 <= share <= 1.0, "register.min_active_ratio", share, "between 0 and 1")


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
            _require(getattr(self, name) >= 1, f"finetune.{name}", getattr(self, name), "at least 1")
        _require(0.0 <= self.dropout < 1.0, "finetune.dropout", self.dropout, "at least 0 and below 1")
        _require(self.head_lr > 0.0, "finetune.head_lr", self.head_lr, "above 0")
        for name in ("weight_decay", "focal_gamma"):
            _require(getattr(self, name) >= 0.0, f"finetune.{name}", getattr(self, name), "0 or more")


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
        _require(len(self.models) > 0, "evaluate.model", self.model, "at least one model")
        _require(self.bootstrap >= 10, "evaluate.bootstrap", self.bootstrap, "at least 10")

    @property
    def models(self) -> tuple[str, ...]:
        """Each of them."""
        return tuple(name.strip() for name in self.model.split(",") if name.strip())


@dataclass(frozen=True)
class SpaceConfig:
    """What `tune` searches. A range that is null is not searched: its setting stays as it is given."""

    max_beta_range: tuple[float, float] | None = (0.01, 50.0)
    """Lowest and highest max_beta, drawn evenly on the logarithm."""
    free_bits_range: tuple[float, float] | None = (0.0, 0.1)
    """Lowest and highest free_bits, nats per latent dimension."""
    warmup_range: tuple[float, float] | None = (0.0, 0.3)
    """Shortest and longest linear beta warm-up, as a share of the trial's steps: never longer than the trial."""
    schedules: tuple[Literal["constant", "linear", "cyclical", "controller"], ...] | None = None
    """Beta schedules to choose from, e.g. `[linear, cyclical]`."""
    lr_range: tuple[float, float] | None = None
    """Lowest and highest learning rate, drawn evenly on the logarithm."""
    latent_dims: tuple[int, ...] | None = None
    """Latent sizes to choose from, e.g. `[32, 64, 128]`."""

    def __post_init__(self) -> None:
        for name, floor, above in (
            ("max_beta_range", 0.0, True),
            ("free_bits_range", 0.0, False),
            ("warmup_range", 0.0, False),
            ("lr_range", 0.0, True),
        ):
            given: tuple[float, float] | None = getattr(self, name)
            if given is None:
                continue
            low, high = given
            _require(low <= high < inf, f"space.{name}", given, "a lower and an upper bound, in this order")
            _require(
                low > floor if above else low >= floor, f"space.{name}", given, "above 0" if above else "0 or more"
            )
        _require(
            self.warmup_range is None or self.warmup_range[1] <= 1.0,
            "space.warmup_range",
            self.warmup_range,
            "shares of the trial's steps, at most 1: beta would never reach max_beta",
        )
        for name in ("schedules", "latent_dims"):
            choices = getattr(self, name)
            _require(choices is None or len(choices) > 0, f"space.{name}", choices, "at least one choice, or null")
        _require(
            self.latent_dims is None or min(self.latent_dims) >= 1,
            "space.latent_dims",
            self.latent_dims,
            "sizes of 1 or more",
        )
        _require(
            any(getattr(self, name) is not None for name in self.__dataclass_fields__),
            "space.max_beta_range",
            self.max_beta_range,
            "a range where nothing else is searched",
        )


@dataclass(frozen=True)
class TuneConfig:
    """How `tune` searches: what counts as good, what is pruned, and who works on it."""

    study: str | None = None
    """Name of the study in its storage. One that exists is continued. None: a new one, named after the time."""
    storage: str | None = None
    """Where workers meet: `sqlite:///FILE` or `journal:///FILE` on one machine, `postgresql://...` across machines. None: the
    environment variable SEQSETVAE_STORAGE (better for an address with a password), else sqlite:///tune.db."""
    n_trials: int = 24
    """Trials of the study, those of earlier commands included."""
    n_workers: int = 1
    """Processes on this machine; they share its threads, and its GPUs by turns."""
    join: bool = False
    """Only help: run trials of a study that a command on another machine leads, until it is finished."""
    goal: Literal["constrained", "pareto"] = "constrained"
    """`constrained`: the lowest validation NLL among trials whose latents are in use. `pareto`: the front of validation NLL against
    `against`."""
    against: Literal["mutual_information", "active_units"] = "mutual_information"
    """The second objective of `pareto`, maximized."""
    prune_collapsed: bool = True
    """End a trial as soon as its collapse is confirmed."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Ends trials whose validation NLL falls behind, but none before its own beta warm-up has ended. Not with `pareto`, where there is
    no single order."""
    sampler_seed: int = 0
    """Seed of what is tried. With one worker the same command tries the same settings."""
    max_retries: int = 2
    """How often a trial is tried again whose process has vanished."""
    heartbeat_seconds: int = 30
    """A worker gives a sign of life this often (sqlite and PostgreSQL); after twice this without one its trial is tried again."""

    def __post_init__(self) -> None:
        for name in ("n_trials", "n_workers", "heartbeat_seconds"):
            _require(getattr(self, name) >= 1, f"tune.{name}", getattr(self, name), "at least 1")
        _require(self.max_retries >= 0, "tune.max_retries", self.max_retries, "0 or more")
        _require(not (self.join and self.study is None), "tune.join", self.join, "given together with --tune.study")
