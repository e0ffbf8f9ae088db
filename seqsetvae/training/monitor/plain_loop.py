"""`LoopMonitor`: the same watching in a training loop of one's own, with torch alone.

monitor = LoopMonitor(total_steps=10_000)
for step, x in enumerate(batches, 1):
    q = Normal(*encode(x))
    ...
    diagnosis = monitor.update(step, q, nll=lambda z: 0.5 * (decode(z) - x).square().sum(1))
    if diagnosis and diagnosis.level == Level.RED:
        break
print(monitor.verdict())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from seqsetvae import names
from seqsetvae.collapse.attribution import Lost, lost
from seqsetvae.collapse.detector import BetaOutlook
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.measured import MeasuredSoFar
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.training.monitor.decoder_probe import DecoderProbe
from seqsetvae.training.monitor.numbers import Figures, heard_of, noise_seed, statistics_of
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.monitor.posterior_pool import PosteriorPool

Likelihood = Callable[[Any], Tensor]
"""-ln p(x | z) of the rows of one batch for given latents, nats, shape (B,)."""


class _Decoder:
    """A likelihood stands for the batch that it knows."""

    def negative_log_likelihood(self, z: Any, likelihood: Likelihood) -> Tensor:
        return likelihood(z)


class LoopMonitor:
    """Pools, measures and judges, each step that it is told of. It neither prints, nor writes, nor ends anything.

    Args:
        total_steps: length of the run.
        config: thresholds and frequencies.
        warmup_steps: in which beta rises; the grace period lasts as long.
        beta_at: planned beta at a step.
        model: taken out of training mode while the decoder is asked, and put back.
        log: gets the metrics of each update, with its step.
    """

    def __init__(
        self,
        total_steps: int,
        config: MonitorConfig | None = None,
        *,
        warmup_steps: int = 0,
        beta_at: Callable[[int], float] | None = None,
        model: nn.Module | None = None,
        log: Callable[[Mapping[str, float], int], object] | None = None,
    ) -> None:
        self.config = settle_monitor(config or MonitorConfig(), total_steps, warmup_steps)
        self.watch = Watch(self.config, BetaOutlook(total_steps, warmup_steps, beta_at))
        self.updates = MeasuredSoFar()
        self.alerts: list[Diagnosis] = []
        """Changes of level, oldest first; those of layers and subgroups among them."""
        self._decoder = _Decoder() if model is None else _InModel(model)
        self._log = log
        self._pool, self._probe = PosteriorPool(self.config.pool_sets), DecoderProbe()
        self._heard: Figures = {}
        self._count = 0
        self._asks = False

    def update(
        self,
        step: int,
        posterior: Any,
        *,
        nll: Likelihood | None = None,
        reconstruction_loss: Tensor | None = None,
        beta: float | None = None,
        groups: Mapping[str, Tensor] | None = None,
        condition: Tensor | None = None,
    ) -> Diagnosis | None:
        """Take in the batch of an optimizer step.

        Args:
            step: steps made so far, this one included.
            posterior: of the batch, in any form that :func:`~seqsetvae.training.monitor.offered.as_latents` knows.
            nll: what the decoder makes of the batch with other latents; without it a run is never green, but unknown. It is kept, with
                what it refers to, for a few steps.
            reconstruction_loss: of the batch, 0-d.
            beta: weight of the KL in this step.
            groups: name -> whether each row is in that subgroup.
            condition: what the model is told of each row beside its latents.

        Returns:
            The diagnosis where this step was checked.

        Raises:
            InputError: the posterior cannot be used; with the reason.
        """
        latents = as_latents(posterior, groups, condition)
        self._pool.add(latents, None if reconstruction_loss is None else reconstruction_loss.detach())
        self._asks = nll is not None
        if nll is not None:
            self._probe.keep(nll, latents, self._pool.steps[-1].serial)
        if step % self.config.update_frequency and not self.watch.due(step):
            return None
        asks = self._asks and self.watch.primary.wants_decoder_use(self._count)
        self._count += 1
        whole, parts = self._measure(step, beta, asks, noise_seed(step))
        checks, whole = self.watch.update_parts(whole, parts)
        self.updates.append(whole)
        checks += self.watch.update(whole)
        self.alerts += [one.diagnosis for one in checks if one.is_alert]
        if self._log is not None:
            self._log({**whole.metrics(), names.COLLAPSE_LEVEL: self.watch.primary.state.level}, step)
        mine = [one.diagnosis for one in checks if one.diagnosis.detector == self.watch.primary.name]
        return mine[-1] if mine else None

    def verdict(self) -> Diagnosis:
        """Judge the model as it is now, by the last batches, whatever was said on the way.

        Raises:
            ValueError: there was no batch.
        """
        if not self._pool.steps:
            raise ValueError("Nothing to judge: LoopMonitor.update was never called.")
        step = self.updates[-1].step if len(self.updates) else 0
        beta = self.updates[-1].beta if len(self.updates) else None
        measured = [
            self._measure(step, beta, self._asks, noise_seed(step, place + 1))
            for place in range(self.config.confirm_checks)
        ]
        check, _ = self.watch.verdict([whole for whole, _ in measured], [parts for _, parts in measured])
        return check.diagnosis

    @property
    def level(self) -> Level:
        """At the last check."""
        return Level(self.watch.primary.state.level)

    @property
    def lost(self) -> Lost | None:
        """Which dimensions and parts have gone silent since the run was at its best."""
        return lost(self.updates, self.config.grace_steps)

    def _measure(
        self, step: int, beta: float | None, asks: bool, seed: int
    ) -> tuple[CollapseStatistics, dict[str, CollapseStatistics]]:
        decoder = self._probe.measure(self._decoder, self._pool.steps, seed) if asks else None
        measured = self._pool.measure(step, beta, decoder, seed).wait()
        self._heard = heard_of(measured) or self._heard
        return statistics_of(measured, self.config, self._heard, self.updates.recon_window(self.config.window_size - 1))


class _InModel(nn.Module, _Decoder):
    """With the model whose parts have modes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
