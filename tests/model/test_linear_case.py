"""The linear special case has a closed form: probabilistic PCA with a fixed decoder variance (Lucas et al. 2019).

One set per subject that holds every variable; mu = A y, mean = W z. Then the best ELBO at beta 1 is the exact log-likelihood of
pPCA, and dimension i is active exactly when its eigenvalue exceeds beta * s2, with KL_i = 0.5 ln(lambda_i / (beta s2)).
"""

import math

import pytest
import torch
from torch import nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import DenseEvents
from seqsetvae.posterior import DiagonalGaussian

EIGENVALUES = torch.tensor([8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.2, 0.8, 0.5, 0.3], dtype=torch.float64)
VARIABLES = len(EIGENVALUES)
SUBJECTS = 1000
NOISE_VARIANCE = 1.0
STEPS = 1000


class LinearEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows_VZ = nn.Parameter(0.1 * torch.randn(VARIABLES, VARIABLES, dtype=torch.float64))
        self.logvar_Z = nn.Parameter(torch.zeros(VARIABLES, dtype=torch.float64))

    def forward(self, batch):
        contribution_NZ = batch.value_N[:, None] * self.rows_VZ[batch.variable_N]
        mu_SZ = contribution_NZ.new_zeros(batch.n_sets, VARIABLES).index_add(0, batch.set_N, contribution_NZ)
        return DiagonalGaussian(mu_SZ, self.logvar_Z.expand_as(mu_SZ))


class LatestOnly(nn.Module):
    def forward(self, z_SZ, batch):
        return z_SZ


class LinearDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(VARIABLES, VARIABLES, bias=False, dtype=torch.float64)

    def forward(self, history_SD):
        mean_SV = self.weight(history_SD)
        scale_SV = torch.full_like(mean_SV, math.sqrt(NOISE_VARIANCE))
        return DenseEvents(torch.zeros_like(mean_SV), mean_SV, scale_SV)


def data() -> EventBatch:
    """Values whose sample covariance has exactly the given eigenvalues, in rotated axes."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(SUBJECTS, VARIABLES, dtype=torch.float64, generator=generator)
    left, _, _ = torch.linalg.svd(white, full_matrices=False)
    axes, _ = torch.linalg.qr(torch.randn(VARIABLES, VARIABLES, dtype=torch.float64, generator=generator))
    value_BV = math.sqrt(SUBJECTS) * left * EIGENVALUES.sqrt() @ axes.T
    subjects = torch.arange(SUBJECTS)
    return EventBatch(
        variable_N=torch.arange(VARIABLES).repeat(SUBJECTS),
        value_N=value_BV.reshape(-1),
        set_N=subjects.repeat_interleave(VARIABLES),
        minute_S=torch.zeros(SUBJECTS, dtype=torch.float64),
        subject_S=subjects,
        position_S=torch.zeros_like(subjects),
        label_B=torch.full((SUBJECTS,), math.nan),
        row_B=subjects,
        first_slot_B=subjects,
        grid=((SUBJECTS, 1),),
    )


def trained(batch: EventBatch, beta: float) -> SeqSetVAE:
    torch.manual_seed(0)
    vae = SeqSetVAE(ModelConfig(width=4, latent_dim=VARIABLES, heads=2, ff_dim=4), VARIABLES)
    vae.set_encoder, vae.history, vae.set_decoder = LinearEncoder(), LatestOnly(), LinearDecoder()
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        vae(batch).loss(beta).backward()
        optimizer.step()
        decay.step()
    return vae


def ppca_log_likelihood() -> float:
    """Maximum of the log-likelihood per subject, nats (Tipping & Bishop 1999, eq. 3 at the solution with fixed variance)."""
    active = EIGENVALUES > NOISE_VARIANCE
    fit = torch.where(active, EIGENVALUES.log() + 1.0, math.log(NOISE_VARIANCE) + EIGENVALUES / NOISE_VARIANCE)
    return float(-0.5 * (VARIABLES * math.log(2 * math.pi) + fit.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, pytest.param(2.5, marks=pytest.mark.nightly)])
def test_the_linear_case_reaches_its_closed_form(beta):
    batch = data()
    vae = trained(batch, beta)
    with torch.no_grad():
        terms = [vae(batch) for _ in range(50)]
    kl_Z = terms[0].kl_SZ.mean(0).sort(descending=True).values
    expected = 0.5 * (EIGENVALUES / (beta * NOISE_VARIANCE)).clamp(min=1.0).log()
    torch.testing.assert_close(kl_Z, expected, rtol=0.03, atol=0.01)
    active = int((terms[0].posterior.mu_SZ.var(0) > 0.01).sum())
    assert active == int((beta * NOISE_VARIANCE < EIGENVALUES).sum())
    if beta == 1.0:
        elbo = torch.stack([t.elbo_B(batch).mean() for t in terms]).mean().item()
        which_variable = -VARIABLES * math.log(VARIABLES)  # the decoder spreads its categorical evenly
        assert elbo == pytest.approx(ppca_log_likelihood() + which_variable, abs=0.03)
