"""The posteriors of the last steps, pooled over steps and devices, and what they say.

Nothing here waits for a device but the cut of the batch and the noise of decoder use, which is measured rarely.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from seqsetvae.batch import EventBatch
from seqsetvae.posterior import DiagonalGaussian, PosteriorStatistics, posterior_statistics

USE_SETS = 256
"""Sets on which decoder use is measured."""


@dataclass
class Measurement:
    """Statistics of one update, on their way to the host."""

    step: int
    posterior: PosteriorStatistics
    recon: Tensor | None
    decoder_use: Tensor | None
    beta: Tensor | float | None
    arrived: torch.cuda.Event | None

    def wait(self) -> Measurement:
        """Until the figures can be read; at the next step they usually can."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as a checkpoint may hold."""
        self.wait()
        figures = {field.name: getattr(self.posterior, field.name) for field in fields(self.posterior)}
        return {
            "step": self.step,
            "posterior": figures,
            "recon": self.recon,
            "decoder_use": self.decoder_use,
            "beta": self.beta.cpu() if isinstance(self.beta, Tensor) else self.beta,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Measurement:
        """As it was saved; its figures have arrived."""
        return cls(**state | {"posterior": PosteriorStatistics(**state["posterior"])}, arrived=None)


class PosteriorPool:
    """Keeps the moments of the last steps until at least `sets` posteriors are there: references, no copies.

    On several devices each keeps its share, and :meth:`measure` gathers them: the figures are those of one device with all the sets.
    """

    def __init__(self, sets: int, devices: int = 1) -> None:
        self.sets = -(-sets // devices)
        self._steps: deque[tuple[DiagonalGaussian, Tensor | None]] = deque()
        self._held = 0

    def add(self, posterior: DiagonalGaussian, recon: Tensor | None) -> None:
        """Take in one step. `recon`: its reconstruction loss, mean over the sets, 0-d."""
        self._steps.append((posterior, recon))
        self._held += len(posterior.mu_SZ)
        while self._held - len(self._steps[0][0].mu_SZ) >= self.sets:
            self._held -= len(self._steps.popleft()[0].mu_SZ)

    def state_dict(self) -> dict[str, Any]:
        """A few megabytes, so that the first update of a resumed run is that of one that never stopped."""
        return {
            "steps": [
                (q.mu_SZ.cpu(), q.logvar_SZ.cpu(), None if recon is None else recon.cpu()) for q, recon in self._steps
            ]
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._steps.clear()
        self._held = 0
        for mu_SZ, logvar_SZ, recon in state["steps"]:
            self.add(
                DiagonalGaussian(mu_SZ.to(device), logvar_SZ.to(device)), None if recon is None else recon.to(device)
            )

    def measure(self, step: int, beta: Tensor | float | None, decoder_use: Tensor | None) -> Measurement:
        """Statistics of the pool, gathered over all devices."""
        newest = slice(-self.sets, None)
        mu_SZ = _gathered(torch.cat([posterior.mu_SZ for posterior, _ in self._steps])[newest])
        logvar_SZ = _gathered(torch.cat([posterior.logvar_SZ for posterior, _ in self._steps])[newest])
        # In single precision at least, also where the step ran in half.
        figures = posterior_statistics(DiagonalGaussian(mu_SZ.float(), logvar_SZ.float()), seed=step)
        recon = self._recon(mu_SZ.device)
        arrived = None
        if mu_SZ.is_cuda:
            figures = replace(
                figures, **{field.name: _to_host(getattr(figures, field.name)) for field in fields(figures)}
            )
            recon, decoder_use = _to_host(recon), _to_host(decoder_use)
            arrived = torch.cuda.Event()
            arrived.record()
        return Measurement(step, figures, recon, decoder_use, beta, arrived)

    def _recon(self, device: torch.device) -> Tensor | None:
        weighted = [(recon * len(q.mu_SZ), len(q.mu_SZ)) for q, recon in self._steps if recon is not None]
        if not weighted:
            return None
        total = torch.stack([value.float() for value, _ in weighted]).sum()
        sums = torch.stack([total, torch.tensor(float(sum(count for _, count in weighted)), device=device)])
        gathered = _gathered(sums[None]).sum(0)
        return gathered[0] / gathered[1]


def decoder_use(module: Any, batch: Any, posterior: DiagonalGaussian, step: int) -> Tensor:
    """Rise in negative log-likelihood, nats per set, when each set gets the posterior of a set of another subject. 0-d.

    The noise of a set stays as it is when its posterior is exchanged: where all posteriors are the same the difference is exactly 0. Sets
    are exchanged by rolling all of them by half, over all devices, so that most come from another subject and in their order.

    Args:
        module: offers `negative_log_likelihood(z_SZ, batch)`, nats per set, shape (S,).
        batch: of the step just taken.
        posterior: its moments, on this device.
        step: seeds the noise.
    """
    if isinstance(batch, EventBatch):  # half a batch tells as much as a whole one, at half the cost
        batch = batch.head(USE_SETS)
        posterior = DiagonalGaussian(posterior.mu_SZ[: batch.n_sets], posterior.logvar_SZ[: batch.n_sets])
    mine = len(posterior.mu_SZ)
    everywhere = DiagonalGaussian(_gathered(posterior.mu_SZ), _gathered(posterior.logvar_SZ))
    mu_SZ, logvar_SZ = everywhere.mu_SZ, everywhere.logvar_SZ
    generator = torch.Generator().manual_seed(step)
    noise_SZ = torch.randn(mu_SZ.shape, generator=generator).to(mu_SZ.device)
    rank, counts = 0, [mine]
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
        counts = _gathered(torch.tensor([mine], device=mu_SZ.device)).tolist()
    here = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    half = len(mu_SZ) // 2
    own_SZ = everywhere.sample(noise_SZ)
    exchanged_SZ = DiagonalGaussian(mu_SZ.roll(half, 0), logvar_SZ.roll(half, 0)).sample(noise_SZ)
    # A frozen BatchNorm in a training module is in evaluation already, and must be so afterwards.
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    with torch.no_grad():
        rise_S = module.negative_log_likelihood(exchanged_SZ[here], batch)
        rise_S = rise_S - module.negative_log_likelihood(own_SZ[here], batch)
    for part, mode in modes:
        part.training = mode
    return _gathered(rise_S.double()).mean()


def _gathered(mine: Tensor) -> Tensor:
    """Rows of all devices, in order of their rank."""
    if not torch.distributed.is_initialized():
        return mine
    return torch.cat(gather_all_tensors(mine.contiguous()))


def _to_host(value: Any) -> Any:
    """A tensor's copy in host memory, still under way when this returns: read it after an event. Anything else as it is."""
    if not isinstance(value, Tensor) or not value.is_cuda:
        return value
    return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
