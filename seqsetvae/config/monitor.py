"""Settings of the collapse monitor."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Literal

from seqsetvae.config.require import require


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
    schedule. `source`: the guides' four rules word for word, which stay silent on a complete collapse (docs/collapse-report.md)."""
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
    """Information that reaches the decoder (a lower bound in nats per set, by latents exchanged between patients); below this the
    decoder ignores them."""
    decoder_use_every: int = 5
    """Measure decoder use at every so many updates, and at each while the posterior looks collapsed: it takes eight
    passes of the decoder for some sets."""
    var_threshold: float | None = None
    """Rules `source` only: mean posterior variance below this is out of range. None: the preset's (0.1; fast 0.05)."""
    pool_sets: int = 1024
    """Posteriors of the last steps that are pooled for an update: at least 1000, or the mutual information cannot be seen."""
    grace_steps: int | None = None
    """Optimizer steps in which a posterior that was never alive is not yet called collapsed. None: until the beta warm-up has ended,
    and at least a tenth of the run and 100 steps; at most 5000."""
    grace_hours: float = 1.5
    """Hours of training after which the grace period has ended, if 100 steps were taken: the next check may then be red."""
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
            require(value is None or value >= 1, f"monitor.{name}", value, "at least 1")
        for name in ("kl_threshold", "var_threshold"):
            value = getattr(self, name)
            require(value is None or 0.0 < value < inf, f"monitor.{name}", value, "a number above 0")
        share = self.active_units_threshold
        require(share is None or 0.0 < share <= 1.0, "monitor.active_units_threshold", share, "above 0 and at most 1")
        for name in ("mutual_information_threshold", "decoder_use_threshold"):
            require(0.0 < getattr(self, name) < inf, f"monitor.{name}", getattr(self, name), "a number above 0")
        require(self.pool_sets >= 1000, "monitor.pool_sets", self.pool_sets, "at least 1000")
        ceiling = log(self.pool_sets)
        require(
            self.mutual_information_threshold < ceiling,
            "monitor.mutual_information_threshold",
            self.mutual_information_threshold,
            f"below ln {self.pool_sets} = {ceiling:.1f} nats, the most that {self.pool_sets} pooled sets can show",
        )
        require(self.max_rescues >= 0, "monitor.max_rescues", self.max_rescues, "0 or more")
        grace = self.grace_steps
        require(grace is None or grace >= 0, "monitor.grace_steps", grace, "0 or more")
        require(self.grace_hours > 0.0, "monitor.grace_hours", self.grace_hours, "a number above 0")
