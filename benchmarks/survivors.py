"""How far what is told before training comes true: predicted survivors and critical beta against VAEs that are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.certify.table import Table
from seqsetvae.collapse.forecast import Likelihood, forecast
from seqsetvae.config import ModelConfig, MonitorConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig, TrainerConfig
from seqsetvae.training.beta_forecast import forecast_for
from seqsetvae.training.loop import train_unrecorded
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.plan import make_plan

LATENTS = 8
SHARES = (0.1, 0.3, 0.7, 1.5, 4.0)
"""Of the critical beta that was told: alive below 1, dead above."""
ACTIVE = 0.01
"""Burda et al. 2016: variance of the posterior mean from which a dimension is in use."""


@dataclass(frozen=True)
class Outcome:
    """One setting, told and found."""

    data: str
    decoder: str
    beta: float
    told: int
    found: int
    information: float
    """KL at the end, nats per row."""
    critical: float

    @property
    def fate_came_true(self) -> bool:
        return (self.told > 0) == (self.found > 0)


def data_sets() -> Iterator[tuple[str, Tensor, Likelihood]]:
    """Made up with a known spectrum, and small public ones that scikit-learn brings along."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.tensor([16.0, 8.0, 4.0, 2.0, *[0.3] * 8]).sqrt()
    axes = torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    yield "Gaussian, eigenvalues 16, 8, 4, 2", torch.randn(3000, 12, generator=generator) * spectrum @ axes, "gaussian"
    factors = torch.randn(3000, 3, generator=generator) @ (0.5 * torch.randn(3, 30, generator=generator))
    yield "counts of 3 factors", torch.poisson((1.0 + factors).exp().clamp(max=30.0), generator=generator), "poisson"
    digits = torch.tensor(datasets.load_digits().data, dtype=torch.float32)
    yield "digits, in units of their spread", (digits - digits.mean(0)) / digits.std(), "gaussian"
    yield "digits, black and white", (digits > 7.0).float(), "bernoulli"
    cancer = torch.tensor(datasets.load_breast_cancer().data, dtype=torch.float32)
    yield "breast cancer, standardized", (cancer - cancer.mean(0)) / cancer.std(0), "gaussian"


def nll(eta: Tensor, x: Tensor, likelihood: Likelihood) -> Tensor:
    """-ln p(x) of each row, without its constant."""
    if likelihood == "gaussian":
        return 0.5 * (eta - x).square().sum(1)
    if likelihood == "bernoulli":
        return F.binary_cross_entropy_with_logits(eta, x, reduction="none").sum(1)
    return (eta.clamp(max=10.0).exp() - x * eta).sum(1)


def train(x: Tensor, likelihood: Likelihood, beta: float, hidden: bool, steps: int) -> tuple[int, float]:
    """Active units and KL of a VAE on held-out rows; its encoder has a hidden layer, its decoder where `hidden`."""
    torch.manual_seed(0)
    train_x, held = x[: -len(x) // 5], x[-len(x) // 5 :]
    dims = x.shape[1]
    encoder = nn.Sequential(nn.Linear(dims, 64), nn.Tanh(), nn.Linear(64, 2 * LATENTS))
    decoder: nn.Module = nn.Linear(LATENTS, dims)
    if hidden:
        decoder = nn.Sequential(nn.Linear(LATENTS, 64), nn.Tanh(), nn.Linear(64, dims))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = train_x[torch.randint(len(train_x), (128,))]
        mu, logvar = encoder(batch).chunk(2, dim=1)
        eta = decoder(mu + (0.5 * logvar).exp() * torch.randn_like(mu))
        kl = 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar).sum(1)
        # A warm-up, so that what could live is not killed by its start.
        loss = (nll(eta, batch, likelihood) + min(1.0, 4.0 * step / steps) * beta * kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        mu, logvar = encoder(held).chunk(2, dim=1)
    kl = 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar).sum(1)
    return int((mu.var(0) > ACTIVE).sum()), float(kl.mean())


def plain_outcomes(quick: bool) -> Iterator[Outcome]:
    """Of VAEs that read one row at a time."""
    for name, x, likelihood in data_sets():
        told = forecast(x[: -len(x) // 5], likelihood)
        for share in SHARES[::4] if quick else SHARES:
            beta = share * told.critical_beta
            for hidden in (False,) if quick or likelihood == "poisson" else (False, True):
                found, information = train(x, likelihood, beta, hidden, 300 if quick else 1500)
                decoder = f"{likelihood}, {'one hidden layer' if hidden else 'linear'}"
                survivors = told.survivors(beta, LATENTS)
                yield Outcome(name, decoder, beta, survivors, found, information, told.critical_beta)


def seqsetvae_outcomes(quick: bool) -> Iterator[Outcome]:
    """Of SeqSetVAE on the demo data."""
    steps = 20 if quick else 800
    told = forecast_for(make_plan(seqsetvae_config(1.0, steps)))
    for share in SHARES[::4] if quick else SHARES:
        beta = share * told.critical_beta
        plan = make_plan(seqsetvae_config(beta, steps))
        monitor = CollapseMonitor(plan.config.monitor)
        train_unrecorded(plan, [monitor])
        last = monitor.updates[-1]
        survivors = told.survivors(beta, LATENTS)
        yield Outcome("demo stays", "SeqSetVAE", beta, survivors, last.active_units, last.kl, told.critical_beta)


def seqsetvae_config(beta: float, steps: int) -> PretrainConfig:
    """Small, with a warm-up, and nothing that ends it."""
    trainer = TrainerConfig(max_epochs=1000, max_steps=steps, accelerator="cpu", progress_bar=False)
    model = ModelConfig(width=32, heads=2, latent_dim=LATENTS, levels=1, ff_dim=64, history_layers=1)
    watch = MonitorConfig(update_frequency=max(1, steps // 16), on_collapse="warn", verbose=False)
    objective = ObjectiveConfig(max_beta=beta, free_bits=0.0)
    return PretrainConfig(
        model=model, trainer=trainer, objective=objective, optimizer=OptimizerConfig(lr=3e-3), monitor=watch
    )


def measure(quick: bool = False) -> list[Table]:
    """Told and found for each setting, and how often they agree."""
    kinds: tuple[Callable[[bool], Iterator[Outcome]], ...] = (plain_outcomes, seqsetvae_outcomes)
    outcomes = [one for kind in kinds for one in kind(quick)]
    rows: list[tuple[Any, ...]] = [
        (
            one.data,
            one.decoder,
            f"{one.critical:.3g}",
            f"{one.beta:.3g}",
            one.told,
            one.found,
            f"{one.information:.2f}",
            "yes" if one.fate_came_true else "no",
        )
        for one in outcomes
    ]
    right = sum(one.fate_came_true for one in outcomes)
    off = [abs(one.told - one.found) for one in outcomes]
    note = (
        f"Lives or dies as told: {right} of {len(outcomes)}. Survivors exactly as told: {off.count(0)}, within one: "
        f"{sum(one <= 1 for one in off)}, of {len(off)}; {LATENTS} latents, Burda's active units on held-out rows."
    )
    columns = ("data", "decoder", "critical beta", "beta", "told", "found", "KL", "lives or dies as told")
    return [Table("Survivors told before training, and found after it", columns, rows, note)]
