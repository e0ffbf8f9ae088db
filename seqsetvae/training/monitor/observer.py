"""`Observer`: pools what a training shows, asks the decoder, measures and has it judged. The callback and the plain loop share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.measured import MeasuredSoFar
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Check, Watch
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.training.monitor.decoder_probe import DecoderProbe
from seqsetvae.training.monitor.latents import Latents
from seqsetvae.training.monitor.measurement import Measurement
from seqsetvae.training.monitor.numbers import Figures, heard_of, noise_seed, statistics_of
from seqsetvae.training.monitor.posterior_pool import PosteriorPool

Found = tuple[CollapseStatistics, dict[str, CollapseStatistics]]
"""The figures of one update: of the whole, and of each part by name."""
Agree = Callable[[Found], Found]
"""Makes several processes judge the same figures."""


def alone(found: Found) -> Found:
    """For a process that is the only one."""
    return found


@dataclass(frozen=True)
class Judged:
    """What one update came to."""

    whole: CollapseStatistics
    parts: Mapping[str, CollapseStatistics]
    checks: list[Check]
    """Those of layers and subgroups first."""
    said: Mapping[str, float]
    """What the detector that acts says now, as it is logged."""

    def metrics(self) -> dict[str, float]:
        """As they are logged, by name."""
        figures = {**self.whole.metrics(), **self.said}
        for name, part in self.parts.items():
            figures |= {key.replace("collapse/", f"collapse/{name}/"): value for key, value in part.metrics().items()}
        return figures


class Observer:
    """What is known of one training.

    Args:
        config: thresholds and frequencies.
        outlook: length of the run and what is known about beta.
        updates: of an earlier part of the run.
    """

    def __init__(self, config: SettledMonitor, outlook: BetaOutlook, updates: MeasuredSoFar | None = None) -> None:
        self.watch = Watch(config, outlook)
        self.updates = MeasuredSoFar() if updates is None else updates
        self.pool, self.probe = PosteriorPool(config.pool_sets), DecoderProbe()
        self.heard: Figures = {}
        """By the decoder, when it was asked last."""
        self.count = 0

    @property
    def primary(self) -> Detector:
        """The detector that acts."""
        return self.watch.primary

    @property
    def config(self) -> SettledMonitor:
        """That detector's, which may be given another while it trains."""
        return self.primary.config

    def keep(self, latents: Latents, recon: Tensor | None, batch: Any) -> None:
        """Take in a batch; None for one that the decoder cannot be asked about."""
        self.pool.add(latents, recon)
        if batch is not None:
            self.probe.keep(batch, latents, self.pool.steps[-1].serial)

    def due(self, step: int) -> bool:
        """Whether there is something to measure after this optimizer step."""
        return step % self.config.update_frequency == 0 or self.watch.due(step)

    def measure(
        self,
        step: int,
        beta: Tensor | float | None,
        decoder: Any,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Measurement:
        """An update, under way.

        Args:
            step: optimizer steps made.
            beta: weight of the KL term, where there is one.
            decoder: offers `negative_log_likelihood`; None where nothing does.
            precision: the context in which the decoder is asked. Statistics of the pool keep their own precision.
        """
        heard = None
        if decoder is not None and self.primary.wants_decoder_use(self.count):
            with precision():
                heard = self.probe.measure(decoder, self.pool.steps, noise_seed(step))
        self.count += 1
        return self.pool.measure(step, beta, heard, noise_seed(step))

    def judge(self, measured: Measurement, hours: float | None = None, agree: Agree = alone) -> Judged:
        """Have the detectors that are due judge an update. Waits for the device."""
        measured.wait()
        self.heard = heard_of(measured) or self.heard
        window = self.updates.recon_window(self.config.window_size - 1)
        whole, parts = agree(statistics_of(measured, self.config, self.heard, window, hours))
        checks, whole = self.watch.update_parts(whole, parts)
        self.updates.append(whole)
        checks += self.watch.update(whole)
        return Judged(whole, parts, checks, self.primary.metrics())

    def judge_finished(
        self,
        step: int,
        decoder: Any,
        sample: tuple[PosteriorPool, DecoderProbe] | None = None,
        agree: Agree = alone,
    ) -> tuple[Check, CollapseStatistics]:
        """The verdict on the model as it is now, everything measured anew, and the figures that it rests on.

        Args:
            step: optimizer steps made.
            decoder: as for :meth:`measure`.
            sample: of the validation split; None: the last batches have to do.
            agree: with the other processes.
        """
        pool, probe = sample or (self.pool, self.probe)
        beta = self.updates[-1].beta if len(self.updates) else None
        wholes: list[CollapseStatistics] = []
        parts: list[Mapping[str, CollapseStatistics]] = []
        while True:
            seed = noise_seed(step, 1 + len(wholes))
            asked = None if decoder is None else probe.measure(decoder, pool.steps, seed)
            measured = pool.measure(step, beta, asked, seed).wait()
            whole, of_parts = agree(statistics_of(measured, self.config, heard_of(measured) or {}))
            wholes.append(whole)
            parts.append(of_parts)
            check, last = self.watch.verdict(wholes, parts)
            clear = check.diagnosis.level < Level.ORANGE and not self.watch.looks_collapsed(of_parts)
            if clear or len(wholes) == self.config.confirm_checks:
                return check, last

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, as a checkpoint may hold."""
        return {
            "detectors": self.watch.state_dict(),
            "history": self.updates.state_dict(),
            "decoder": dict(self.heard),
            "updates": self.count,
            "pool": self.pool.state_dict(),
            "probe": self.probe.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.watch.load_state_dict(state["detectors"])
        self.updates.load_state_dict(state["history"])
        self.heard, self.count = dict(state["decoder"]), state["updates"]
        if pool := state.get("pool"):
            self.pool.load_state_dict(pool, device)
        if probe := state.get("probe"):
            self.probe.load_state_dict(probe, device)
