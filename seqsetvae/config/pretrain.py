"""Settings of a pretraining run, but for those of the monitor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seqsetvae.config.monitor import MonitorConfig
from seqsetvae.config.require import require, require_name
from seqsetvae.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    """What to train on, and how it is cut into batches."""

    store: str = "demo"
    """Folder that `seqsetvae prepare` wrote, or `demo`: 500 real ICU stays that come with the package."""
    batch_size: int | None = None
    """Patients per batch. None: 8; on a GPU, which small batches leave idle, up to 64, as far as an epoch still has 100 batches."""
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
        for name, instead in {
            "batch_size": "null to have it chosen",
            "max_events_per_batch": "null for no limit",
            "max_sequence_length": "null for no limit",
        }.items():
            value = getattr(self, name)
            require(value is None or value >= 1, f"data.{name}", value, f"at least 1, or {instead}")
        require(self.num_workers is None or self.num_workers >= 0, "data.num_workers", self.num_workers, "0 or more")


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
    decoder_code_width: int | None = None
    """K: the decoder reads its numbers for all variables from a code of this width, and works out values for the measured variables
    only. Default: no code up to 500 variables, 64 above, where time and memory would else grow with the vocabulary."""
    longest_period: float | None = None
    """Minutes of the slowest turn of the history's rotary encoding of time. None: 60 days, or the longest stay of the store where that is
    longer, so that gaps of years stay apart."""
    remember: bool = False
    """The history must also give summaries of each variable's past (--objective.remember_weight): finetuning finds more in it."""
    foresee_hours: list[float] = field(default_factory=list)
    """The history must also foresee which variables are measured within so many hours, and their values, e.g. [1,6,24]
    (--objective.foresee_weight). Forecasts of a trained model need it."""
    reads: int = 0
    """Learned reads of each variable over all its events so far that a state keeps beside the history's width: with --model.remember they
    come to hold its last value, mean, extremes and count, and finetuning finds them there. 6 do much; 0: none."""
    prior: Literal["standard", "learned"] = "standard"
    """Of a set's latents: `standard` is N(0, I); `learned` a Gaussian made of the history before the set and the minutes since, so that
    the KL measures what is new in a set alone."""
    fill_in: bool = False
    """A head that says what was not measured, from the state, the variable's own past and what else is new in the set. It learns from
    values that are hidden while training (--objective.hide_values); nothing else learns from it. `seqsetvae impute` asks it."""
    dropout: float = 0.0
    """Dropout in the history and the set encoder."""
    scale_floor: float = 0.05
    """Smallest standard deviation of a decoded (scaled) value. It bounds the likelihood: a constant variable, such as MechVent,
    cannot drive the ELBO to infinity."""

    def __post_init__(self) -> None:
        for name in ("width", "latent_dim", "levels", "heads", "ff_dim", "history_layers"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
        require(self.reads >= 0, "model.reads", self.reads, "0 or more")
        code_width = self.decoder_code_width
        require(code_width is None or code_width >= 1, "model.decoder_code_width", code_width, "at least 1")
        head_width, rest = divmod(self.width, self.heads)
        require(
            rest == 0 and head_width % 2 == 0,
            "model.heads",
            self.heads,
            f"a divisor of --model.width ({self.width}) that leaves an even number per head",
        )
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "at least 0 and below 1")
        longest = self.longest_period
        require(longest is None or longest > 10.0, "model.longest_period", longest, "above 10 minutes, or null")
        require(self.scale_floor > 0.0, "model.scale_floor", self.scale_floor, "above 0")
        require(
            all(hours > 0.0 for hours in self.foresee_hours), "model.foresee_hours", self.foresee_hours, "above 0 each"
        )

    @property
    def has_history_heads(self) -> bool:
        """Whether the history is asked for more than the set just seen."""
        return self.remember or bool(self.foresee_hours)


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
    warmup_beta: bool | None = None
    """False: no warm-up, beta is max_beta from the first step. None: a warm-up, unless --objective.beta is given."""
    kl_annealing: bool | None = None
    """The guides' second word for warmup_beta: False for either turns the warm-up off."""
    beta_warmup_steps: int | None = None
    """Optimizer steps of the linear warm-up. None: a fifth of the run, and at least 80 for each 0.1 of max_beta, or all of a run that is
    too short for that. Longer than the run is refused."""
    beta_warmup_power: float | None = None
    """Of the warm-up's course: 1 rises steadily, 3 slowly at first. None: 1, but 3 where nobody has said how long the warm-up is, and a
    steady rise would be too steep for so short a run."""
    beta_cycles: int = 4
    """Cycles of the cyclical schedule."""
    beta_ramp: float = 0.5
    """Share of each cycle in which beta rises; it stays at max_beta for the rest."""
    free_bits: float = 0.0
    """Nats per latent dimension that cost nothing: sum_d max(free_bits, KL_d), KL_d averaged over the sets of the batch
    (Kingma 2016)."""
    kl_target: float = 10.0
    """Set point of the controller, nats per set."""
    remember_weight: float = 50.0
    """Weight of the mean squared error of the summaries (--model.remember) beside the ELBO's nats per set."""
    foresee_weight: float = 50.0
    """Weight of the forecasts' loss (--model.foresee_hours)."""
    hide_values: float | None = None
    """Chance that a variable of a set is hidden from the encoder while training; the decoder is asked for it all the same. None: 0.2 with
    --model.fill_in, else 0."""
    hide_variables: float = 0.0
    """Chance that a variable of a stay is so hidden for a span of its time, a third of the stay on average."""

    def __post_init__(self) -> None:
        if self.beta is not None:
            require(self.beta >= 0.0, "objective.beta", self.beta, "0 or more")
            asking = [name for name in ("beta_warmup_steps", "warmup_beta", "kl_annealing") if getattr(self, name)]
            if asking:
                given = f"--objective.{asking[0]} {str(getattr(self, asking[0])).lower()}"
                raise InputError(
                    f"--objective.beta {self.beta:g} is a constant weight, but {given} asks for a warm-up. Leave out --objective.beta: the "
                    f"warm-up ends at --objective.max_beta. Or give {' '.join(f'--objective.{name} null' for name in asking)}."
                )
        require(self.max_beta >= 0.0, "objective.max_beta", self.max_beta, "0 or more")
        require(self.free_bits >= 0.0, "objective.free_bits", self.free_bits, "0 or more")
        require(
            self.beta_warmup_steps is None or self.beta_warmup_steps >= 0,
            "objective.beta_warmup_steps",
            self.beta_warmup_steps,
            "0 or more",
        )
        power = self.beta_warmup_power
        require(power is None or power >= 1.0, "objective.beta_warmup_power", power, "at least 1, or null")
        require(self.beta_cycles >= 1, "objective.beta_cycles", self.beta_cycles, "at least 1")
        require(0.0 < self.beta_ramp <= 1.0, "objective.beta_ramp", self.beta_ramp, "above 0 and at most 1")
        require(self.kl_target > 0.0, "objective.kl_target", self.kl_target, "above 0")
        require(self.remember_weight >= 0.0, "objective.remember_weight", self.remember_weight, "0 or more")
        require(self.foresee_weight >= 0.0, "objective.foresee_weight", self.foresee_weight, "0 or more")
        for name in ("hide_values", "hide_variables"):
            chance = getattr(self, name)
            require(chance is None or 0.0 <= chance < 1.0, f"objective.{name}", chance, "at least 0 and below 1")

    @property
    def hides(self) -> bool:
        """Whether the encoder sees a part of each batch only."""
        return bool(self.hide_values) or self.hide_variables > 0.0


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
    """Optimizer steps of linear learning-rate warm-up. None: a twentieth of the run, from 20 to 1000."""

    def __post_init__(self) -> None:
        require(self.lr > 0.0, "optimizer.lr", self.lr, "above 0")
        require(self.weight_decay >= 0.0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        require(
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
    """Processes on each machine, with one device each (DDP). torchrun says it too."""
    num_nodes: int = 1
    """Machines that train together, each with so many devices. torchrun or a scheduler starts the command on each."""
    precision: Literal["auto", "32", "16-mixed", "bf16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU that has it, 16-mixed on an older GPU, 32 on a CPU."""
    packed_attention: bool = True
    """On a GPU in half precision: attention on the sets as they lie, so that no batch pays for its shape. False: on the padded grid, as
    everywhere else."""
    cuda_graphs: bool = True
    """On one GPU with packed attention, without dropout, accumulation, heads on the history, hidden values or a learned prior: steps are
    recorded once for a few shapes and then replayed, so that the GPU does not wait for the host. False: kernel by kernel."""
    gradient_accumulation_steps: int = 1
    """Batches per optimizer step."""
    gradient_clip_val: float = 1.0
    """Largest L2 norm of the gradient; 0 switches clipping off."""
    compile_model: bool = False
    """torch.compile the model: a slow first step, faster ones after it."""
    val_check_interval: int | float = 1.0
    """Validate this often: a share of an epoch (0.25), or a number of batches (500); rounded up to an optimizer step."""
    limit_val_batches: int | float = 1.0
    """Validate on this share (0.1) or number (20) of the validation batches."""
    checkpoint_every_n_steps: int | None = None
    """Write `last.ckpt` every so many optimizer steps, besides after each validation."""
    checkpoint_every_minutes: float | None = 30.0
    """Write `last.ckpt` when the last one is that old, so that a long epoch is not lost. null: never by the clock."""
    save_top_k: int = 2
    """How many `best_*` checkpoints to keep, by val_recon, of validations at which the collapse monitor is not red."""
    resume_from_checkpoint: str | None = None
    """A checkpoint; `last.ckpt` for the newest state of the newest run of the experiment; or `runs:/ID` for that of a run. Continues
    the same MLflow run, optimizer, beta schedule, batch order and random state."""
    seed: int = 0
    """Seed of weights, batch order and posterior samples."""
    log_every_n_steps: int = 10
    """Write training metrics every so many optimizer steps."""
    progress_bar: bool = True
    """Show loss, recon, KL, beta, patients/s and the time left."""

    def __post_init__(self) -> None:
        for name in ("max_epochs", "devices", "num_nodes", "gradient_accumulation_steps", "log_every_n_steps"):
            require(getattr(self, name) >= 1, f"trainer.{name}", getattr(self, name), "at least 1")
        for name in ("max_steps", "checkpoint_every_n_steps"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"trainer.{name}", value, "at least 1, or null")
        minutes = self.checkpoint_every_minutes
        require(minutes is None or minutes > 0.0, "trainer.checkpoint_every_minutes", minutes, "above 0, or null")
        require(self.gradient_clip_val >= 0.0, "trainer.gradient_clip_val", self.gradient_clip_val, "0 or more")
        for name in ("val_check_interval", "limit_val_batches"):
            value = getattr(self, name)
            require(
                value > 0 and (isinstance(value, int) or value <= 1.0),
                f"trainer.{name}",
                value,
                "a share above 0 and at most 1.0, or a whole number of batches",
            )
        require(self.save_top_k >= 0, "trainer.save_top_k", self.save_top_k, "0 or more")


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
    upload_every_minutes: float = 10.0
    """With a remote store: upload new checkpoints during the run, but not more often than this; what is left follows at the end."""
    log_system_metrics: bool = True
    """Record CPU, memory, disk, network and GPU use."""
    register_model: bool = True
    """Register the model of a run that ends healthy, as a version of `seqsetvae`. Trials of a study are never registered."""

    def __post_init__(self) -> None:
        require_name("tracking.experiment", self.experiment)
        require_name("tracking.run_name", self.run_name)
        require(
            self.upload_every_minutes >= 0.0, "tracking.upload_every_minutes", self.upload_every_minutes, "0 or more"
        )


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
