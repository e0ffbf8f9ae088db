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
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from seqsetvae.collapse.alerts import Alert
from seqsetvae.collapse.attribution import Lost, lost
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.forecast import Forecast
from seqsetvae.collapse.measured import MeasuredSoFar
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor
from seqsetvae.training.monitor.observer import Observer
from seqsetvae.training.monitor.offered import as_latents

Likelihood = Callable[[Any], Tensor]
"""-ln p(x | z) of the rows of one batch for given latents, nats, shape (B,)."""


class _Likelihoods:
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
        forecast: what :func:`~seqsetvae.collapse.forecast.forecast` told of the data, for the advice.
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
        forecast: Forecast | None = None,
        model: nn.Module | None = None,
        log: Callable[[Mapping[str, float], int], object] | None = None,
    ) -> None:
        settled = settle_monitor(config or MonitorConfig(), total_steps, warmup_steps)
        self.observer = Observer(settled, BetaOutlook(total_steps, warmup_steps, beta_at, forecast))
        self.alerts: list[Diagnosis] = []
        """Changes of level, oldest first; those of layers and subgroups among them."""
        self._likelihoods = _Likelihoods() if model is None else _InModel(model)
        self._log = log
        self._decoder: _Likelihoods | None = None
        """None where the last batch came without a likelihood."""
        self._last_step = 0

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
        recon = None if reconstruction_loss is None else reconstruction_loss.detach()
        self.observer.keep(latents, recon, None if nll is None else as_of_now(nll))
        self._decoder = None if nll is None else self._likelihoods
        self._last_step = step
        if not self.observer.due(step):
            return None
        judged = self.observer.judge(self.observer.measure(step, beta, self._decoder))
        self.alerts += [one.diagnosis for one in judged.checks if one.is_alert]
        if self._log is not None:
            self._log(judged.metrics(), step)
        mine = [one.diagnosis for one in judged.checks if one.diagnosis.detector == self.observer.primary.name]
        return mine[-1] if mine else None

    def verdict(self) -> Diagnosis:
        """Judge the model as it is now, by the last batches, whatever was said on the way.

        Raises:
            ValueError: there was no batch.
        """
        if not self.observer.pool.steps:
            raise ValueError("Nothing to judge: LoopMonitor.update was never called.")
        return self.observer.judge_finished(self._last_step, self._decoder)[0].diagnosis

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: tensors and plain values. Likelihoods cannot be kept; what they have said is."""
        return self.observer.state_dict() | {"alerts": [Alert(one, 0.0).encode() for one in self.alerts]}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        """Continue from what :meth:`state_dict` gave, with the model on a device."""
        self.observer.load_state_dict(state, torch.device(device))
        self.alerts = [Alert.decode(one).diagnosis for one in state["alerts"]]

    @property
    def config(self) -> SettledMonitor:
        """Thresholds and frequencies in force."""
        return self.observer.config

    @property
    def updates(self) -> MeasuredSoFar:
        """The updates so far."""
        return self.observer.updates

    @property
    def level(self) -> Level:
        """At the last check."""
        return Level(self.observer.primary.state.level)

    @property
    def lost(self) -> Lost | None:
        """Which dimensions and parts have gone silent since the run was at its best."""
        return lost(self.updates, self.config.grace_steps)


def as_of_now(likelihood: Likelihood) -> Likelihood:
    """The same function with its names bound as they are now.

    It is asked again some batches later, when the `x` of a loop that it was written in stands for another batch. What is no plain
    function is left as it is.

    >>> x = 1
    >>> kept = as_of_now(lambda z: z + x)
    >>> x = 2
    >>> kept(0)
    1
    """
    if not isinstance(likelihood, FunctionType):
        return likelihood
    cells = tuple(CellType(cell.cell_contents) for cell in likelihood.__closure__ or ())
    bound = FunctionType(
        likelihood.__code__, {**likelihood.__globals__}, likelihood.__name__, likelihood.__defaults__, cells
    )
    bound.__kwdefaults__ = likelihood.__kwdefaults__
    return bound


class _InModel(nn.Module, _Likelihoods):
    """With the model whose parts have modes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
