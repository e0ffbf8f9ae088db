"""What a monitored run came to."""

from __future__ import annotations

from dataclasses import dataclass

from seqsetvae.collapse.detector import DetectorState
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.errors import RunFailure
from seqsetvae.training.monitor.healthy_checkpoints import Healthy


@dataclass(frozen=True)
class CollapseOutcome:
    """What a monitored run came to."""

    level: Level
    """At the end."""
    worst: Level
    first_red_step: int | None
    stopped_at: int | None
    """Optimizer step at which the monitor ended the run; None if it did not."""
    last: CollapseStatistics | None
    """None where the run was too short for one update."""
    healthy: Healthy | None
    """The newest checkpoint of a healthy check; None if there was none. An earlier state would not do for a new start: the optimizer's
    averages remember the gradients of the objective that the run collapsed under, and hold the encoder still."""

    @classmethod
    def of(
        cls,
        state: DetectorState,
        last: CollapseStatistics | None,
        final: tuple[CollapseStatistics, Diagnosis] | None,
        stopped_at: int | None,
        newest: Healthy | None,
    ) -> CollapseOutcome:
        """From what the detector that acts remembers, the last update, the verdict at the end if there was one, and the ring."""
        level, worst, red = Level(state.level), Level(state.worst), state.first_red_step
        if final is not None:
            last, level = final[0], final[1].level
            worst = max(worst, level)
            red = last.step if level == Level.RED and red is None else red
        healthy = newest if newest is not None and newest.healthy else None
        return cls(level, worst, red, stopped_at, last, healthy)

    def __repr__(self) -> str:
        return f"<CollapseOutcome {self.level.word}, at worst {self.worst.word}; last {self.last}>"

    @property
    def verdict(self) -> str:
        """One line for people."""
        if self.last is None:
            return "Collapse: not measured, the run was too short."
        heard = self.last.decoder_information
        used = ", whether the decoder uses them was not measured" if self.last.heard is None else ""
        if heard is not None:
            used = f", of which {heard:z.2f} +- {self.last.decoder_information_error or 0.0:.2f} nats reach the decoder"
        return (
            f"Collapse: {self.level.word}"
            + (f" (first red at step {self.first_red_step})" if self.first_red_step is not None else "")
            + f"; KL {self.last.kl:.3g} nats per set, mutual information {self.last.mutual_information:.2f} of at most "
            f"{self.last.mutual_information_ceiling:.2f} nats, active units {self.last.active_units} of "
            f"{self.last.latent_dim}{used}"
        )

    def wants_rescue(self, config: MonitorConfig) -> bool:
        """Whether the run was ended in order to be continued."""
        return self.stopped_at is not None and config.on_collapse == "rescue" and config.max_rescues > 0


class PosteriorNotFinite(RunFailure):
    """The encoder gives NaN or inf. `error_*.ckpt` has the state as it is; `healthy_*.ckpt` that of the last healthy check."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"A posterior holds NaN or inf at step {step}: the run was stopped. Continue from a healthy_*.ckpt of the run with a lower "
            "--optimizer.lr or --trainer.gradient_clip_val, and look for extreme values in the data."
        )
