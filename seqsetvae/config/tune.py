"""Settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from seqsetvae.config.require import require, require_name


@dataclass(frozen=True)
class SpaceConfig:
    """What `tune` searches. A range that is null is not searched: its setting stays as it is given."""

    max_beta_range: tuple[float, float] | Literal["auto"] | None = "auto"
    """Lowest and highest max_beta, drawn evenly on the logarithm. `auto`: from 0.01 to where the data let nothing survive any more, as
    `seqsetvae check` tells it."""
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
    priors: tuple[Literal["standard", "learned"], ...] | None = None
    """Priors to choose from, e.g. `[standard, learned]`."""
    remember_weight_range: tuple[float, float] | None = None
    """Lowest and highest remember_weight, drawn evenly on the logarithm; with --model.remember. The validation NLL is the lower the
    less the history is asked for: `--goal pareto --against history` shows the choice."""
    foresee_weight_range: tuple[float, float] | None = None
    """Lowest and highest foresee_weight, as above; with --model.foresee_hours."""
    hide_values_range: tuple[float, float] | None = None
    """Lowest and highest share of hidden values."""

    def __post_init__(self) -> None:
        for name, floor, above in (
            ("max_beta_range", 0.0, True),
            ("free_bits_range", 0.0, False),
            ("warmup_range", 0.0, False),
            ("lr_range", 0.0, True),
            ("remember_weight_range", 0.0, True),
            ("foresee_weight_range", 0.0, True),
            ("hide_values_range", 0.0, False),
        ):
            given: tuple[float, float] | str | None = getattr(self, name)
            if given is None or isinstance(given, str):
                continue
            low, high = given
            require(low <= high < inf, f"space.{name}", given, "a lower and an upper bound, in this order")
            require(low > floor if above else low >= floor, f"space.{name}", given, "above 0" if above else "0 or more")
        require(
            self.warmup_range is None or self.warmup_range[1] <= 1.0,
            "space.warmup_range",
            self.warmup_range,
            "shares of the trial's steps, at most 1: beta would never reach max_beta",
        )
        hidden = self.hide_values_range
        require(hidden is None or hidden[1] < 1.0, "space.hide_values_range", hidden, "shares below 1")
        for name in ("schedules", "latent_dims", "priors"):
            choices = getattr(self, name)
            require(choices is None or len(choices) > 0, f"space.{name}", choices, "at least one choice, or null")
        require(
            self.latent_dims is None or min(self.latent_dims) >= 1,
            "space.latent_dims",
            self.latent_dims,
            "sizes of 1 or more",
        )
        require(
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
    against: Literal["mutual_information", "active_units", "history"] = "mutual_information"
    """The second objective of `pareto`: information or active units, maximized, or what the history does not remember and foresee on the
    validation split, minimized."""
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
        require_name("tune.study", self.study)
        for name in ("n_trials", "n_workers", "heartbeat_seconds"):
            require(getattr(self, name) >= 1, f"tune.{name}", getattr(self, name), "at least 1")
        require(self.max_retries >= 0, "tune.max_retries", self.max_retries, "0 or more")
        require(not (self.join and self.study is None), "tune.join", self.join, "given together with --tune.study")
