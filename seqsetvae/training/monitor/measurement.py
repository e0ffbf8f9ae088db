"""`Measurement`: the statistics of one update, on their way from the device to the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.posterior import PosteriorStatistics


@dataclass
class Measurement:
    """Statistics of one update, on their way to the host."""

    step: int
    posterior: PosteriorStatistics
    recon: Tensor | None
    decoder: DecoderInformation | None
    beta: Tensor | float | None
    arrived: torch.cuda.Event | None
    parts: Mapping[str, tuple[PosteriorStatistics, DecoderInformation | None]] = field(default_factory=dict)
    """The same of each layer, where there are several, and of each subgroup: by their names."""

    def wait(self) -> Measurement:
        """Until the figures can be read; at the next step they usually can."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as a checkpoint may hold."""
        self.wait()
        return {
            "step": self.step,
            "posterior": _plain(self.posterior),
            "recon": self.recon,
            "decoder": _plain(self.decoder),
            "beta": self.beta.cpu() if isinstance(self.beta, Tensor) else self.beta,
            "parts": {name: [_plain(one) for one in part] for name, part in self.parts.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Measurement:
        """As it was saved; its figures have arrived."""

        def figures(posterior: Mapping[str, Any], decoder: Mapping[str, Any] | None) -> Any:
            return PosteriorStatistics(**posterior), None if decoder is None else DecoderInformation(**decoder)

        whole, decoder = figures(state["posterior"], state["decoder"])
        parts = {name: figures(*part) for name, part in state["parts"].items()}
        return cls(**state | {"posterior": whole, "decoder": decoder, "parts": parts}, arrived=None)


def on_its_way(measured: Measurement) -> Measurement:
    """From a GPU to the host, without waiting for it."""
    if not measured.posterior.mutual_information.is_cuda:
        return measured
    found = replace(
        measured,
        posterior=_copied(measured.posterior),
        recon=_to_host(measured.recon),
        decoder=_copied(measured.decoder),
        parts={name: (_copied(whole), _copied(heard)) for name, (whole, heard) in measured.parts.items()},
        arrived=torch.cuda.Event(),
    )
    assert found.arrived is not None
    found.arrived.record()
    return found


def _plain(figures: Any) -> dict[str, Any] | None:
    return None if figures is None else {one.name: getattr(figures, one.name) for one in fields(figures)}


def _copied(figures: Any) -> Any:
    """The same figures in host memory, on their way."""
    if figures is None:
        return None
    return replace(figures, **{one.name: _to_host(getattr(figures, one.name)) for one in fields(figures)})


def _to_host(value: Any) -> Any:
    """A tensor's copy in host memory, still under way when this returns: read it after an event. Anything else as it is."""
    if not isinstance(value, Tensor) or not value.is_cuda:
        return value
    return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
