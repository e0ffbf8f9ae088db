"""`CollapseMonitor`: watches the posterior of any LightningModule while it trains.

What it needs from a module, for a VAE of your own:

    class PlainVAE(pl.LightningModule):
        posterior = None

        def training_step(self, batch, batch_idx):
            mu, logvar = self.encoder(batch).chunk(2, dim=1)
            self.posterior = DiagonalGaussian(mu, logvar)  # or a torch distribution, or (q, p); any shape (rows, ..., Z)
            ...

    Trainer(callbacks=[CollapseMonitor(kl_threshold=0.02, log_dir="collapse_logs")]).fit(PlainVAE(), loader)

That is all. What it uses where the module offers it:

    posteriors                                in place of `posterior`, of several layers: {"z1": q1, "z2": (q2, p2)}; the decoder then
                                              gets its latents as such a dict
    groups(batch)                             name -> whether a row is in that subgroup, bool, shape (B,)
    condition(batch)                          what the model is told of each row beside its latents, shape (B, ...)
    reconstruction_loss                       0-d tensor: of the step just taken
    current_beta                              number or 0-d tensor: weight of the KL term in the step just taken
    negative_log_likelihood(z_SZ, batch)      nats per row of the batch, shape (S,): whether the decoder listens. Without it a run is
                                              never green, but unknown: only the decoder can tell
    encode(batch)                             posterior of a batch of the validation split, for the verdict at the end; without it the
                                              last training batches have to do
    beta_outlook                              BetaOutlook: length of the run and planned course of beta

Metrics go to the trainer's loggers, alerts to a :class:`~seqsetvae.training.monitor.alert_outlets.AlertOutlets`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from seqsetvae import names
from seqsetvae.collapse.attribution import lost
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.measured import MeasuredSoFar
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor
from seqsetvae.console import attach
from seqsetvae.errors import InputError
from seqsetvae.training.monitor.alert_outlets import AlertOutlets
from seqsetvae.training.monitor.collapse_outcome import CollapseOutcome, PosteriorNotFinite
from seqsetvae.training.monitor.collapse_report import final_report
from seqsetvae.training.monitor.consequences import Consequences
from seqsetvae.training.monitor.figure_thread import Draw, FigureThread
from seqsetvae.training.monitor.final_sample import validation_sample
from seqsetvae.training.monitor.healthy_checkpoints import HealthyCheckpoints
from seqsetvae.training.monitor.latents import Latents
from seqsetvae.training.monitor.measurement import Measurement
from seqsetvae.training.monitor.observer import Observer
from seqsetvae.training.monitor.offered import HOW, offered_latents, offers_posterior
from seqsetvae.training.monitor.steps import expected_steps, steps_of


class CollapseMonitor(pl.Callback):
    """Measures every `update_frequency` steps, judges, and acts on a confirmed collapse.

    On a GPU a measurement is read one step after it was started, so that no step waits for it.

    Args:
        config: thresholds and frequencies; what is left open is settled when training starts.
        outlets: where alerts go; None: the console, and `log_dir` if given, with figures and the backup of the time before a collapse.
        draw: makes the figures; None: no figures, unless they go to `log_dir`.
        healthy: keeps checkpoints of the time before a collapse; None: nothing is kept, likewise.
        title: of the figures. Tells monitors apart that stand in one trainer, as different folders do.
        name: where several monitors watch one training, each its own: in the names of the metrics, and in the checkpoint.
        attribute: of the module, that has what this one watches; by default `posteriors` or `posterior`.
        on_alert: called with each alert, after it was recorded.
        settings: those of :class:`MonitorConfig`, instead of `config`.

    Raises:
        InputError: a setting cannot be, or `log_dir` cannot be written.
    """

    observer: Observer
    """From the start of the training on."""

    def __init__(
        self,
        config: MonitorConfig | None = None,
        *,
        outlets: AlertOutlets | None = None,
        draw: Draw | None = None,
        healthy: HealthyCheckpoints | None = None,
        title: str = "",
        name: str = "",
        attribute: str = "",
        on_alert: Callable[[Diagnosis], None] | None = None,
        **settings: Any,
    ) -> None:
        if config is not None and settings:
            raise TypeError(f"Give either a MonitorConfig or settings by name: {', '.join(settings)}.")
        self.given = config or MonitorConfig(**settings)
        folder = None if outlets is not None else self.given.log_dir
        # Two detectors of the guides differ in the KL that they warn at, and share their folder.
        threshold = "" if self.given.kl_threshold is None else f", kl_threshold {self.given.kl_threshold:g}"
        self._key = name or ("" if outlets is not None else title or (f"{folder}{threshold}" if folder else ""))
        if folder is not None:
            draw = draw or drawing()
            healthy = healthy or HealthyCheckpoints(Path(folder))
        self.draw, self.title, self.name, self.attribute = draw, title, name, attribute
        self.updates = MeasuredSoFar()
        self._consequences = Consequences(outlets or AlertOutlets(folder, self.given.verbose), healthy, on_alert)
        self._pending: Measurement | None = None
        self._micro_batches: list[tuple[Latents, Any, Any]] = []
        self._final: tuple[CollapseStatistics, Diagnosis] | None = None
        self._last_step = 0
        self._restored: dict[str, Any] = {}
        self._started: tuple[float, int] | None = None
        self._seconds_before = 0.0
        """Of training, in the parts of the run before this one."""
        self._figures: FigureThread | None = None

    # What a script may look at and change while it trains

    @property
    def config(self) -> SettledMonitor:
        """Settled, from the start of the training on."""
        return self.observer.config

    @property
    def watch(self) -> Watch:
        """The detectors, from the start of the training on."""
        return self.observer.watch

    @property
    def primary(self) -> Detector:
        """The detector that acts."""
        return self.watch.primary

    @property
    def check_frequency(self) -> int | None:
        """Optimizer steps between two checks. May be set at any time; None until the training starts, where it was left open."""
        return self.config.check_frequency if hasattr(self, "observer") else self.given.check_frequency

    @check_frequency.setter
    def check_frequency(self, steps: int) -> None:
        self.given = replace(self.given, check_frequency=steps)
        if hasattr(self, "observer"):
            settled = replace(self.config, check_frequency=steps, adaptive=False)
            self.primary.config = settled

    @property
    def outlets(self) -> AlertOutlets:
        """Where alerts go."""
        return self._consequences.outlets

    @property
    def steps_history(self) -> list[int]:
        """The optimizer steps at which it has measured."""
        return [update.step for update in self.updates]

    @property
    def global_step(self) -> int:
        """The optimizer step that it has seen last."""
        return self._last_step

    @property
    def is_red(self) -> bool:
        """Whether the posterior has collapsed, by the newest check."""
        return self.primary.state.level == Level.RED

    @property
    def stopped_at(self) -> int | None:
        """Optimizer step at which the monitor ended the run; None if it did not."""
        return self._consequences.stopped_at

    @property
    def outcome(self) -> CollapseOutcome:
        """Of the run so far."""
        healthy = self._consequences.healthy
        return CollapseOutcome.of(
            self.primary.state,
            self.updates[-1] if len(self.updates) else None,
            self._final,
            self.stopped_at,
            None if healthy is None else healthy.newest,
        )

    @property
    def final(self) -> Diagnosis | None:
        """The verdict on the finished model; None before the end, and of a run that the monitor has ended."""
        return None if self._final is None else self._final[1]

    # Lightning's hooks

    @property
    def state_key(self) -> str:
        """Under which a checkpoint holds its state: of several monitors in one trainer each has its own."""
        return f"{super().state_key}[{self._key}]" if self._key else super().state_key

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Of several that were given one folder, each but the first has its own below that, and its own names of metrics.
        folder = self.given.log_dir
        if folder is None or self.outlets.knows_flags:
            return
        monitors = [one for one in trainer.callbacks if isinstance(one, CollapseMonitor)]  # type: ignore[attr-defined]
        place = [one for one in monitors if one.given.log_dir == folder].index(self)
        if place:
            self.name = self.name or f"monitor_{place + 1}"
            own = Path(folder) / self.name
            self._consequences.outlets = AlertOutlets(str(own), self.given.verbose)
            self._consequences.healthy = HealthyCheckpoints(own)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not offers_posterior(pl_module, self.attribute):
            raise InputError(
                f"{type(pl_module).__name__} offers no {self.attribute or 'posterior'} to watch. {HOW} (and `posterior = None` in the "
                "class); or leave the monitor out (--monitor.disable_metrics_monitoring)."
            )
        attach()
        earlier: Observer | None = getattr(self, "observer", None)
        if earlier is not None and not self._restored and trainer.global_step == 0:
            # A second fit, from the start: nothing of the first one counts.
            earlier, self.updates, self._pending = None, MeasuredSoFar(), None
            self._consequences.forget()
        self._final = None
        outlook = getattr(pl_module, "beta_outlook", None) or BetaOutlook(expected_steps(trainer))
        config = settle_monitor(self.given, outlook.total_steps, outlook.warmup_steps)
        if earlier is not None and not self._restored:
            self._restored = earlier.state_dict()
        self.observer = Observer(config, outlook, self.updates)
        self._figures = FigureThread(self.draw, self.outlets, config, self.title) if self.draw else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = (time.perf_counter(), steps_of(trainer))
        self._last_step = steps_of(trainer)
        batches = trainer.num_training_batches
        self.observer.pool.spread(trainer.world_size, int(batches) if math.isfinite(batches) else None)
        if self._restored:
            self.observer.load_state_dict(self._restored, pl_module.device)
        healthy = self._consequences.healthy
        if not self._restored:
            self.outlets.begin()
        elif healthy is not None and trainer.is_global_zero:
            healthy.sweep(trainer.global_step)
        if self._figures is not None:
            for step in self._restored.get("figures", ()):
                self._figures.draw([update for update in self.updates if update.step <= step], step)
        self._restored = {}
        self._consequences.goes_on(trainer, self.config.on_collapse)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        recon = getattr(pl_module, "reconstruction_loss", None)
        recon = recon.detach() if isinstance(recon, Tensor) else recon
        self._micro_batches.append((offered_latents(pl_module, batch, self.attribute), recon, batch))
        step = steps_of(trainer)
        if step == self._last_step:
            return  # a micro-batch of an optimizer step that is not yet complete: a run that fails now gets it again
        self._last_step = step
        for micro_batch in self._micro_batches:
            self.observer.keep(*micro_batch)
        self._micro_batches = []
        self._judge_pending(trainer)
        if self.observer.due(step):
            beta = getattr(pl_module, "current_beta", None)
            precision = trainer.precision_plugin.forward_context
            self._pending = self.observer.measure(step, beta, decoder_of(pl_module), precision)
            if self._pending.arrived is None:  # nothing is under way: the figures are on the host
                self._judge_pending(trainer)
        self._consequences.act(
            trainer, self.primary
        )  # last: it may write a checkpoint, from which a run goes on behind this step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._judge_pending(trainer)
        self._consequences.act(trainer, self.primary)
        if self.stopped_at is None and self.config.rules == "principled" and len(self.updates):
            self._judge_finished(trainer, pl_module)
        if self._figures is not None:
            self._figures.draw(self.updates, steps_of(trainer))
        self._report(trainer, "stopped: posterior collapse" if self.stopped_at is not None else "finished")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._started is not None:  # before that there is nothing to report, and the exception must not be hidden
            self._report(trainer, f"stopped: {type(exception).__name__}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._figures is not None:
            self._figures.close()

    def state_dict(self) -> dict[str, Any]:
        if not hasattr(self, "observer"):
            return self._restored
        healthy = self._consequences.healthy
        return {
            **self.observer.state_dict(),
            "record": self.outlets.state_dict(),
            "seconds": self._seconds,
            "healthy": None if healthy is None else healthy.state_dict(),
            "stopped_at": self.stopped_at,
            "figures": [] if self._figures is None else list(self._figures.waiting),
            "pending": None if self._pending is None else self._pending.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        if not state_dict:
            return  # of a trainer that had not trained yet
        self.updates.load_state_dict(state_dict["history"])
        self.outlets.load_state_dict(state_dict["record"])
        healthy = self._consequences.healthy
        if healthy is not None and state_dict["healthy"] is not None:
            healthy.load_state_dict(state_dict["healthy"])
        self._consequences.stopped_at = state_dict.get("stopped_at")
        self._seconds_before = state_dict.get("seconds", 0.0)
        if pending := state_dict.get("pending"):
            self._pending = Measurement.from_state(pending)

    # One update

    @property
    def _seconds(self) -> float:
        """Of training so far."""
        return self._seconds_before + (time.perf_counter() - self._started[0] if self._started else 0.0)

    def _judge_pending(self, trainer: pl.Trainer) -> None:
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        before = self.updates[-1].step if len(self.updates) else 0
        # Every process judges the figures of the first: a last digit must not make them disagree on whether to stop.
        judged = self.observer.judge(pending, self._seconds / 3600.0, trainer.strategy.broadcast)
        self._consequences.tell(judged.checks, self.primary)
        step = judged.whole.step
        self._log(trainer, judged.metrics(), step)
        if not judged.whole.finite:
            self._consequences.act(trainer, self.primary)
            raise PosteriorNotFinite(step)
        every = self.config.plot_frequency
        if self._figures is not None and step // every > before // every:  # the first update behind a multiple of it
            self._figures.draw(self.updates, step)

    def _log(self, trainer: pl.Trainer, metrics: dict[str, float], step: int) -> None:
        if self.name:
            metrics = {key.replace("/", f"/{self.name}/", 1): value for key, value in metrics.items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)

    def _judge_finished(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """On the validation split, where that can be done."""
        step = steps_of(trainer)
        with trainer.precision_plugin.forward_context():
            sample = validation_sample(trainer, module, self.config.pool_sets)
            check, last = self.observer.judge_finished(step, decoder_of(module), sample, trainer.strategy.broadcast)
        self._final = (last, check.diagnosis)
        self._consequences.tell([check], self.primary)
        figures = {name.replace("collapse/", names.COLLAPSE_FINAL): value for name, value in last.metrics().items()}
        self._log(trainer, {**figures, names.COLLAPSE_FINAL_LEVEL: int(check.diagnosis.level)}, step)

    def _report(self, trainer: pl.Trainer, outcome: str) -> None:
        assert self._started is not None
        started, first_step = self._started
        ended = self.outcome
        self.outlets.report(
            final_report(
                replace(self.primary.state, first_red_step=ended.first_red_step, level=int(ended.level)),
                self.config,
                self.updates[-1] if len(self.updates) else None,
                planned_steps=self.primary.outlook.total_steps - first_step,
                done_steps=steps_of(trainer) - first_step,
                seconds=time.perf_counter() - started,
                backup=self._consequences.backup,
                log_file=self.outlets.log_file,
                outcome=outcome,
                lost=lost(self.updates, self.config.grace_steps),
            )
        )


def decoder_of(module: pl.LightningModule) -> pl.LightningModule | None:
    """The module where its decoder can be asked; else None."""
    return module if hasattr(module, "negative_log_likelihood") else None


def drawing() -> Draw | None:
    """What draws into a folder; None where Matplotlib, which a monitor without a folder goes without, is not installed."""
    if find_spec("matplotlib") is None:
        return None

    def draw(*what: Any) -> dict[str, bytes]:
        from seqsetvae.figures.collapse import draw_collapse

        return draw_collapse(*what)

    return draw
