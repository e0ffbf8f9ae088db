"""Linear beta-VAEs on Gaussian data, many at once, with the exact truth about each at any step.

Data x ~ N(0, C), C with eigenvalues lambda_i in rotated axes; q(z | x) = N(A x + a, diag sigma^2), p(x | z) = N(W z + b, s2 I).
The best solution has a closed form (Lucas et al. 2019; Dai et al. 2018; Wang & Liu 2022): dimension i is active exactly when
lambda_i > beta * s2, and then sigma_i^2 = beta s2 / lambda_i, Var(mu_i) = 1 - sigma_i^2, KL_i = 0.5 ln(lambda_i / (beta s2)).

Shapes: R runs, M samples, X dimensions of the data, Z = X of the latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqsetvae.certify.trajectory import Question

NOISE_VARIANCE = 1.0
"""s2, variance of the decoder, fixed."""
CRITICAL = 0.1
"""An eigenvalue within this share of beta * s2 is critical: training decides on it too slowly for an exact count."""

Fault = Literal["none", "deaf decoder", "noise for z", "blind encoder"]


@dataclass(frozen=True)
class LinearRun:
    """One run of a batch of runs."""

    case: str
    seed: int
    eigenvalues: tuple[float, ...]
    beta_at: Callable[[int], float]
    collapses: bool
    warmup_steps: int = 0
    free_bits: float = 0.0
    fault: Fault = "none"
    faulty_from: int = 0
    faulty_until: int = 0
    """First step without the fault again."""
    weights: float = 1.0
    """Scale of the first weights."""
    first_logvar: float = -3.0
    """log sigma^2 at the start; SeqSetVAE's encoder starts as narrow."""
    constant_beta: float | None = None
    """beta where it never changes: then the closed form holds at the end."""
    must_be_silent: bool = False
    asks: Question = "life or death"


def active_by_closed_form(eigenvalues: Sequence[float], beta: float) -> int:
    """Dimensions with lambda_i > beta * s2.

    >>> active_by_closed_form((8.0, 4.0, 1.0), beta=2.0)
    2
    """
    return sum(value > beta * NOISE_VARIANCE for value in eigenvalues)


def is_critical(eigenvalues: Sequence[float], beta: float) -> bool:
    """Whether an eigenvalue is within 10 % of beta * s2.

    >>> is_critical((8.0, 4.0, 1.0), beta=3.8), is_critical((8.0, 4.0, 1.0), beta=2.0)
    (True, False)
    """
    limit = beta * NOISE_VARIANCE
    return any(abs(value - limit) <= CRITICAL * limit for value in eigenvalues)


class LinearVAEs:
    """R linear VAEs side by side. Runs of one seed see the same samples, whatever else is in the batch.

    Args:
        runs: what differs between them.
        samples_z: train on a sample of z, as VAEs do. False: on the expectation over q(z | x), which a linear decoder has in closed
            form, from W = A^T: without noise the solution is exact, and without a start of the wrong sign no direction has to cross the
            saddle point at 0, from which a weak one would not get away in time.
    """

    def __init__(self, runs: Sequence[LinearRun], samples_z: bool) -> None:
        self.runs = runs
        self.samples_z = samples_z
        seeds = sorted({run.seed for run in runs})
        self._seed_R = torch.tensor([seeds.index(run.seed) for run in runs])
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.x_dims = len(runs[0].eigenvalues)
        rotation_RXX = torch.linalg.qr(self.noise(self.x_dims))[0]
        deviation_RX = torch.tensor([run.eigenvalues for run in runs]).sqrt()
        self.root_RXX = deviation_RX[:, :, None] * rotation_RXX
        """C = root^T root: a row of white noise times root has covariance C."""
        scale_R11 = self._per_run(run.weights for run in runs) / math.sqrt(self.x_dims)
        zeros_R1Z = torch.zeros(len(runs), 1, self.x_dims)
        self.A_RXZ = (scale_R11 * self.noise(self.x_dims)).requires_grad_()
        start_RZX = scale_R11 * self.noise(self.x_dims) if samples_z else self.A_RXZ.detach().mT.clone()
        self.W_RZX = start_RZX.requires_grad_()
        self.a_R1Z, self.b_R1X = zeros_R1Z.clone().requires_grad_(), zeros_R1Z.clone().requires_grad_()
        self.logvar_R1Z = (zeros_R1Z + self._per_run(run.first_logvar for run in runs)).requires_grad_()
        self._free_bits_R1 = self._per_run(run.free_bits for run in runs)[:, 0]
        self.set_step(0)

    @staticmethod
    def _per_run(values: Iterable[float]) -> Tensor:
        """Shape (R, 1, 1)."""
        return torch.tensor(list(values), dtype=torch.float32)[:, None, None]

    def noise(self, rows: int) -> Tensor:
        """Standard normal (R, rows, X), the same for runs of the same seed."""
        drawn = torch.stack([torch.randn(rows, self.x_dims, generator=one) for one in self._generators])
        return drawn[self._seed_R]

    @property
    def parameters(self) -> list[Tensor]:
        return [self.A_RXZ, self.W_RZX, self.a_R1Z, self.b_R1X, self.logvar_R1Z]

    def set_step(self, step: int) -> None:
        """Beta and faults as they are at an optimizer step."""
        faults = [run.fault if run.faulty_from <= step < run.faulty_until else "none" for run in self.runs]
        self.beta_R = torch.tensor([run.beta_at(step) for run in self.runs])
        self._sees_R11 = self._per_run(fault != "blind encoder" for fault in faults)
        self._hears_R11 = self._per_run(fault not in {"deaf decoder", "noise for z"} for fault in faults)
        self._noise_R11 = self._per_run(fault == "noise for z" for fault in faults)

    def sample(self, rows: int) -> Tensor:
        """x, shape (R, rows, X)."""
        return self.noise(rows) @ self.root_RXX

    def encode(self, x_RMX: Tensor) -> tuple[Tensor, Tensor]:
        """mu (R, M, Z) and log sigma^2 (R, 1, Z). A blind encoder shifts all its means by the same constant instead of reading x."""
        return self._sees_R11 * (x_RMX @ self.A_RXZ) + self.a_R1Z + (1.0 - self._sees_R11), self.logvar_R1Z

    def negative_log_likelihood(self, x_RMX: Tensor, z_RMZ: Tensor, other_RMZ: Tensor) -> Tensor:
        """-log p(x | z) without its constant, nats, shape (R, M). `other` is what a decoder hears that gets noise for z."""
        heard_RMZ = self._hears_R11 * z_RMZ + self._noise_R11 * other_RMZ
        return (x_RMX - heard_RMZ @ self.W_RZX - self.b_R1X).square().sum(2) / (2.0 * NOISE_VARIANCE)

    def loss(self, rows: int) -> Tensor:
        """-E log p + beta sum_d max(free_bits, KL_d) on a fresh batch, summed over runs: their gradients do not mix."""
        x_RMX = self.sample(rows)
        mu_RMZ, logvar_R1Z = self.encode(x_RMX)
        if self.samples_z:
            z_RMZ = mu_RMZ + (0.5 * logvar_R1Z).exp() * self.noise(rows)
            recon_R = self.negative_log_likelihood(x_RMX, z_RMZ, self.noise(rows)).mean(1)
        else:
            # E |x - W z|^2 = |x - W mu|^2 + sum_d sigma_d^2 |W_d|^2
            heard_variance_RZ = (self._hears_R11 * logvar_R1Z.exp() + self._noise_R11)[:, 0]
            spread_R = (heard_variance_RZ * self.W_RZX.square().sum(2)).sum(1) / (2.0 * NOISE_VARIANCE)
            recon_R = self.negative_log_likelihood(x_RMX, mu_RMZ, torch.zeros(())).mean(1) + spread_R
        kl_RZ = 0.5 * (mu_RMZ.square().mean(1) + (logvar_R1Z.exp() - 1.0 - logvar_R1Z)[:, 0])
        return (recon_R + self.beta_R * kl_RZ.maximum(self._free_bits_R1).sum(1)).sum()

    @torch.no_grad()
    def information(self) -> Tensor:
        """Exact nats from x through the latents to the decoder, shape (R,): the lesser of what goes in and what is made use of.

        I(x; z) = 0.5 ln det(I + Sigma^-1/2 A C A^T Sigma^-1/2): z is a linear function of a Gaussian x, and noise.
        What the decoder makes of it is E[log p(x | z) - log of its mean over the z of all x], which is never above I(x; z), whatever
        variance p has: the one that shows most counts (at the optimum of a beta-VAE that is beta s2, and all of I). Not less than 0: a
        decoder that reads noise loses by it.
        """
        seen_RXZ = self.root_RXX @ (self._sees_R11 * self.A_RXZ)
        signal_RXZ = (seen_RXZ * (-0.5 * self.logvar_R1Z).exp()).double()
        identity_XX = torch.eye(self.x_dims, dtype=torch.float64)
        into_R = 0.5 * torch.logdet(identity_XX + signal_RXZ @ signal_RXZ.mT)
        return into_R.minimum(self._made_use_of(seen_RXZ)).clamp(min=0.0)

    def _made_use_of(self, seen_RXZ: Tensor) -> Tensor:
        """E[log p(x | z) - log p(x)] of the decoder's own p(x) = N(W E z + b, v I + W Cov(z) W^T), shape (R,), at the best v.

        `seen`: root A, so that Cov(z) = seen^T seen + Sigma.
        """
        seen, root = seen_RXZ.double(), self.root_RXX.double()
        heard_RZX = (self._hears_R11 * self.W_RZX).double()
        spread_RZZ = seen.mT @ seen + torch.diag_embed(self.logvar_R1Z.double().exp()[:, 0])
        heard_RXX = heard_RZX.mT @ spread_RZZ @ heard_RZX
        data_RXX = root.mT @ root
        residual_RXX = data_RXX - 2.0 * root.mT @ seen @ heard_RZX + heard_RXX
        # How far the mean of what is decoded is from that of x, which is 0.
        shift_R1X = (self.a_R1Z + 1.0 - self._sees_R11).double() @ heard_RZX + self.b_R1X.double()
        shift_RXX = shift_R1X.mT @ shift_R1X
        found = []
        for variance in torch.logspace(-2, 3, 51).tolist():
            own_R = self.x_dims * math.log(variance) + _trace(residual_RXX + shift_RXX) / variance
            marginal_RXX = variance * torch.eye(self.x_dims, dtype=torch.float64) + heard_RXX
            without_R = torch.logdet(marginal_RXX) + _trace(torch.linalg.solve(marginal_RXX, data_RXX + shift_RXX))
            found.append(0.5 * (without_R - own_R))
        return torch.stack(found).amax(0)


def _trace(matrix_RXX: Tensor) -> Tensor:
    return matrix_RXX.diagonal(dim1=1, dim2=2).sum(1)
