"""The objective: event likelihood, free bits, beta schedules -> `ElboTerms`. All in nats, so that runs can be compared.

Shapes: B subjects, S sets, N events, Z latent dimensions, V variables (:mod:`seqsetvae.batch`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seqsetvae.batch import EventBatch
from seqsetvae.config.settled import SettledObjective, require_settled
from seqsetvae.posterior import DiagonalGaussian, kl_to_prior

CELLS_AT_A_TIME = 2**22
"""Most logits of sets x variables that exist at once: 16 MB in float32."""


class EventDistribution(ABC):
    """p(x_t | h_t, n) = prod_i Cat(v_i | h_t) * N(y_i | mean_{t,v_i}, scale_{t,v_i}^2) for each of S sets.

    N stands only where an event has a number.

    The scale has a floor above 0, set by the decoder, so that the density, and with it the ELBO, is bounded.
    """

    @abstractmethod
    def log_variable(self, set_N: Tensor, variable_N: Tensor) -> Tensor:
        """log Cat(v | h_t) of N pairs of a set and a variable, nats, shape (N,)."""

    @abstractmethod
    def value(self, set_N: Tensor, variable_N: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the values of N pairs of a set and a variable, on the vocabulary's scale, two tensors of shape (N,)."""

    def log_prob(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """Log-likelihood of the variable and of the value of every event: nats, two tensors of shape (N,).

        That of the value is 0 where an event has no number: then its variable is all that there is to say.
        """
        mean_N, scale_N = self.value(batch.set_N, batch.variable_N)
        standardized_N = (batch.value_N - mean_N) / scale_N
        log_value_N = -0.5 * standardized_N.square() - scale_N.log() - 0.5 * math.log(2.0 * math.pi)
        if batch.number_N is not None:
            log_value_N = log_value_N * batch.number_N
        return self.log_variable(batch.set_N, batch.variable_N), log_value_N


@dataclass(frozen=True)
class DenseEvents(EventDistribution):
    """All 3 V numbers of every set at once: the fastest way where V is small."""

    variable_logits_SV: Tensor
    mean_SV: Tensor
    scale_SV: Tensor

    def log_variable(self, set_N: Tensor, variable_N: Tensor) -> Tensor:
        return self._pick(F.log_softmax(self.variable_logits_SV, dim=1), set_N, variable_N)

    def value(self, set_N: Tensor, variable_N: Tensor) -> tuple[Tensor, Tensor]:
        return self._pick(self.mean_SV, set_N, variable_N), self._pick(self.scale_SV, set_N, variable_N)

    def _pick(self, number_SV: Tensor, set_N: Tensor, variable_N: Tensor) -> Tensor:
        return number_SV.reshape(-1).index_select(0, set_N * number_SV.shape[1] + variable_N)


@dataclass(frozen=True)
class CodedEvents(EventDistribution):
    """The same from a code of K numbers per set, for vocabularies of many thousand variables: no tensor of S x V ever exists.

    Mean and scale are worked out for the variables that were measured alone, from their rows of the weights. The normalizer of the
    categorical needs all V logits, so it is summed over a few sets at a time, and those logits are computed again on the way back
    (Chen et al. 2016) instead of being kept.
    """

    code_SK: Tensor
    logit_weight_VK: Tensor
    logit_bias_V: Tensor
    value_weight_VC: Tensor
    """Per variable K weights of the mean, K of the raw scale, and their two biases: C = 2 K + 2."""
    scale_floor: float

    def log_variable(self, set_N: Tensor, variable_N: Tensor) -> Tensor:
        logit_N = (self.code_SK.index_select(0, set_N) * self.logit_weight_VK.index_select(0, variable_N)).sum(1)
        logit_N = full_precision(logit_N + self.logit_bias_V.index_select(0, variable_N))
        return logit_N - self.log_normalizer().index_select(0, set_N)

    def log_normalizer(self) -> Tensor:
        """log sum_v exp(logit_v) of each set, shape (S,)."""
        sets_at_a_time = max(1, CELLS_AT_A_TIME // self.logit_weight_VK.shape[0])
        parts = [
            checkpoint(
                _log_sum_exp,
                part_RK,
                self.logit_weight_VK,
                self.logit_bias_V,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for part_RK in self.code_SK.split(sets_at_a_time)
        ]
        return torch.cat(parts)

    def value(self, set_N: Tensor, variable_N: Tensor) -> tuple[Tensor, Tensor]:
        code_NK = self.code_SK.index_select(0, set_N)
        width = code_NK.shape[1]
        mean_NK, raw_NK, bias_N2 = self.value_weight_VC.index_select(0, variable_N).split([width, width, 2], dim=1)
        mean_N = full_precision((code_NK * mean_NK).sum(1) + bias_N2[:, 0])
        raw_N = full_precision((code_NK * raw_NK).sum(1) + bias_N2[:, 1])
        return mean_N, self.scale_floor + F.softplus(raw_N)


def _log_sum_exp(code_RK: Tensor, weight_VK: Tensor, bias_V: Tensor) -> Tensor:
    return full_precision(F.linear(code_RK, weight_VK, bias_V)).logsumexp(1)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 -> float32; wider types as they are. Likelihoods and KL are never summed in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True)
class HistoryLoss:
    """What the heads on the history (:mod:`seqsetvae.model.history_heads`) have missed in one batch, 0-d; 0 of what is not asked for."""

    remember: Tensor
    """Mean squared error of the summaries over all sets and variables that have had a value."""
    foresee: Tensor
    """Mean cross-entropy of what is measured, nats per variable and window, plus mean squared error of its values."""
    forecast: Tensor
    """Mean pinball loss of the values' quantiles, on the vocabulary's scale. Only the quantiles' own weights learn from it."""


@dataclass(frozen=True)
class ElboTerms:
    """The terms of one batch, per set, before any weighting. Nats."""

    variable_nll_S: Tensor
    """-sum_i log Cat(v_i | h_t) of each set."""
    value_nll_S: Tensor
    """-sum_i log p(y_i | v_i, h_t) of each set, for values on the vocabulary's scale."""
    kl_SZ: Tensor
    """KL(q || prior) of each set and latent dimension."""
    posterior: DiagonalGaussian
    prior: DiagonalGaussian | None = None
    """None: N(0, I)."""
    history: HistoryLoss | None = None
    """Beside the ELBO, of models that have heads on their history."""
    filled: Tensor | None = None
    """Beside the ELBO, of models that fill in (:mod:`seqsetvae.model.fill_head`): mean pinball loss of what was hidden, 0-d."""

    @property
    def recon(self) -> Tensor:
        """-E log p, mean over sets."""
        return (self.variable_nll_S + self.value_nll_S).mean()

    @property
    def kl(self) -> Tensor:
        """KL(q || prior), mean over sets; no free bits, no beta."""
        return self.kl_SZ.sum(1).mean()

    def elbo_B(self, batch: EventBatch) -> Tensor:
        """The evidence lower bound of every subject (sum over its sets), shape (B,)."""
        elbo_S = -(self.variable_nll_S + self.value_nll_S + self.kl_SZ.sum(1))
        return elbo_S.new_zeros(batch.n_subjects).index_add(0, batch.subject_S, elbo_S)

    def loss(self, beta: float | Tensor, free_bits: float = 0.0) -> Tensor:
        """-E log p + beta * sum_d max(free_bits, KL_d), KL_d averaged over the sets of the batch (Kingma 2016, eq. 15)."""
        kl_Z = self.kl_SZ.mean(0)
        return self.recon + beta * (kl_Z.clamp(min=free_bits) if free_bits > 0.0 else kl_Z).sum()


def elbo_terms(
    events: EventDistribution, posterior: DiagonalGaussian, batch: EventBatch, prior: DiagonalGaussian | None = None
) -> ElboTerms:
    """Collect the terms of a batch. One posterior sample stands for the expectation over q; without a prior it is N(0, I)."""
    log_variable_N, log_value_N = events.log_prob(batch)
    kl_SZ = kl_to_prior(posterior, prior)
    return ElboTerms(-_per_set(log_variable_N, batch), -_per_set(log_value_N, batch), kl_SZ, posterior, prior)


def negative_log_likelihood(events: EventDistribution, batch: EventBatch) -> Tensor:
    """-log p(set) of every set, nats, shape (S,)."""
    log_variable_N, log_value_N = events.log_prob(batch)
    return -_per_set(log_variable_N + log_value_N, batch)


def _per_set(value_N: Tensor, batch: EventBatch) -> Tensor:
    return value_N.new_zeros(batch.n_sets).index_add(0, batch.set_N, value_N)


def scheduled_beta(config: SettledObjective, step: int, total_steps: int) -> float:
    """Weight of the KL term at an optimizer step (0 = the first), for a schedule that does not look at the KL.

    `linear`: Bowman et al. 2016; to a power, slow at first, in a run that is too short for it. `cyclical`: Fu et al. 2019,
    eq. 6-7, with a linear ramp.

    >>> from seqsetvae.config import ObjectiveConfig
    >>> from seqsetvae.config.settling import settle_objective
    >>> config = settle_objective(ObjectiveConfig(), total_steps=500)
    >>> [round(scheduled_beta(config, step, 500), 3) for step in (0, 50, 100, 499)]
    [0.0, 0.05, 0.1, 0.1]
    >>> cyclical = settle_objective(ObjectiveConfig(beta_schedule="cyclical", max_beta=1.0), total_steps=400)
    >>> [scheduled_beta(cyclical, step, 400) for step in (0, 25, 50, 99, 100)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    require_settled(config, SettledObjective, "settle_objective")
    if config.beta_schedule == "linear":
        warmup = config.beta_warmup_steps
        return config.max_beta * min(1.0, step / warmup) ** config.beta_warmup_power if warmup else config.max_beta
    if config.beta_schedule == "cyclical":
        period = total_steps / config.beta_cycles
        return config.max_beta * min(1.0, (step % period) / period / config.beta_ramp)
    return config.max_beta


def controlled_beta(config: SettledObjective, kl: Tensor, integral: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the PI controller that holds the KL at `kl_target` (ControlVAE, Shao et al. 2020, algorithm 1).

    Args:
        config: `kl_target` in nats per set, and `max_beta`.
        kl: KL of this step, nats per set, 0-d. Stays on its device: nothing waits for it.
        integral: the controller's state, 0-d, 0 at the first step.

    Returns:
        beta for this step, and the next state. Beta stays in [0, max_beta]; the state stops growing at the bounds (anti-windup).

    >>> from seqsetvae.config import ObjectiveConfig
    >>> from seqsetvae.config.settling import settle_objective
    >>> config = settle_objective(ObjectiveConfig(beta_schedule="controller", max_beta=1.0), total_steps=500)
    >>> beta, integral = controlled_beta(config, torch.tensor(50.0), torch.tensor(0.0))
    >>> round(beta.item(), 4), round(integral.item(), 4)
    (0.011, 0.001)
    """
    proportional_gain, integral_gain = 0.01, 1e-4
    # The KL is never below 0, so this makes both directions alike: a KL that starts high, as with posteriors that start narrow, must
    # not wind beta up faster than it could ever come down again.
    error = (config.kl_target - kl.detach()).clamp(min=-config.kl_target)
    advanced = (integral - integral_gain * error).clamp(0.0, config.max_beta)
    beta = (proportional_gain * torch.sigmoid(-error) + advanced).clamp(0.0, config.max_beta)
    return beta, advanced
