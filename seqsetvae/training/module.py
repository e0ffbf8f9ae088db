"""`PretrainModule`: SeqSetVAE as Lightning trains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from seqsetvae import names
from seqsetvae.batch import EventBatch
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.config import PretrainConfig
from seqsetvae.config.settled import SettledOptimizer, require_settled
from seqsetvae.config.settling import settle_objective, settle_optimizer
from seqsetvae.model.hiding import partly_hidden
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import ElboTerms, controlled_beta, negative_log_likelihood, scheduled_beta
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.allocator import keep_freed_memory
from seqsetvae.training.graphs import Replayed
from seqsetvae.training.kernels import no_plan_for_each_shape
from seqsetvae.training.outlook import beta_outlook, planned_steps
from seqsetvae.training.step_logging import StepLogging

VALIDATION_SEED = (
    20_121  # any fixed number: every validation draws the same posterior samples, so that epochs can be compared
)
SETS = "sets"

Offered = DiagonalGaussian | tuple[DiagonalGaussian, DiagonalGaussian]
"""A posterior, or one with its prior where that is not N(0, I)."""


@dataclass(frozen=True)
class StepMetrics:
    """What one training step showed, still on its device: nobody in the step waits for a number."""

    loss: Tensor
    recon: Tensor
    kl: Tensor
    beta: Tensor | float
    history: dict[str, Tensor]
    """Losses of the heads by name, where there are such."""


def heads_metrics(terms: ElboTerms, called: tuple[str, str, str]) -> dict[str, Tensor]:
    """What the heads have missed, by name: those on the history, called so, and of hidden values the one that fills in."""
    found = {} if terms.filled is None else {names.TRAIN_FILL: terms.filled.detach()}
    if terms.history is None:
        return found
    history = terms.history.remember, terms.history.foresee, terms.history.forecast
    return found | {name: missed.detach() for name, missed in zip(called, history, strict=True)}


def offered(posterior: DiagonalGaussian, prior: DiagonalGaussian | None) -> Offered:
    """What the collapse monitor looks at, without its graph."""
    seen = posterior.each(Tensor.detach)
    return seen if prior is None else (seen, prior.each(Tensor.detach))


def learning_rate_factor(config: SettledOptimizer, step: int, total_steps: int) -> float:
    """Learning rate at an optimizer step as a share of its peak: linear warm-up, then the course, down to a tenth.

    >>> from seqsetvae.config import OptimizerConfig
    >>> from seqsetvae.config.settling import settle_optimizer
    >>> config = settle_optimizer(OptimizerConfig(lr_schedule="linear", lr_warmup_steps=10), total_steps=110)
    >>> [round(learning_rate_factor(config, step, 110), 3) for step in (0, 9, 10, 60, 110)]
    [0.1, 1.0, 1.0, 0.55, 0.1]
    """
    require_settled(config, SettledOptimizer, "settle_optimizer")
    warmup = config.lr_warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if config.lr_schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if config.lr_schedule == "cosine":
        progress = 0.5 - 0.5 * float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64)))
    return 1.0 - 0.9 * progress


class PretrainModule(pl.LightningModule):
    """Minimizes -E log p + beta * free-bits KL.

    Random numbers are a function of (seed, optimizer step, batch within it) alone: a resumed run draws what the uninterrupted run would
    have drawn, several processes what one would have drawn that accumulates as many batches, and no random state has to be stored.

    It can be trained by a `Trainer` of one's own: what the settings leave open is settled from the length that the trainer has, and the
    precision and, where it is given one, the gradient clipping are the trainer's. Of the settings only `objective`, `optimizer`, and the
    `seed` and `gradient_clip_val` of `trainer` are looked at.

    Args:
        config: settings, with gaps or settled.
        vae: the model to train.
        total_steps: optimizer steps of the whole run. None: as many as the trainer makes.

    Raises:
        InputError: settings that a run of this length cannot have; at once where `total_steps` is given, else when training starts.
    """

    beta_integral: Tensor

    def __init__(self, config: PretrainConfig, vae: SeqSetVAE, total_steps: int | None = None):
        super().__init__()
        self.config = config
        self.vae = vae
        self.register_buffer("beta_integral", torch.zeros(()))
        self.step_metrics: StepMetrics | None = None
        self.posterior: Offered | None = None
        self.gradient_norm: Tensor | None = None
        self.replayed: Replayed | None = None
        """The model by CUDA graphs, where a callback has recorded some."""
        self._validated: dict[str, Tensor] = {}
        """Sums over the sets of a validation, by metric, and how many sets."""
        self._length_given = total_steps is not None
        if total_steps is not None:
            self._settle(total_steps)

    def _settle(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self.objective = settle_objective(self.config.objective, total_steps, fills_in=self.vae.fill_head is not None)
        self.optimizer_settings = settle_optimizer(self.config.optimizer, total_steps)

    def setup(self, stage: str) -> None:
        if stage == "fit" and not self._length_given:
            self._settle(planned_steps(self.trainer))

    def configure_callbacks(self) -> list[pl.Callback]:
        """What writes the training's metrics, where the trainer has none of it."""
        there = any(isinstance(one, StepLogging) for one in cast(Any, self.trainer).callbacks)
        return [] if there else [StepLogging(cast(Any, self.trainer).log_every_n_steps)]

    def on_fit_start(self) -> None:
        keep_freed_memory()
        no_plan_for_each_shape()

    def beta(self, terms: ElboTerms) -> Tensor | float:
        """Weight of the KL term at this step; the controller looks at the step's own KL and moves once per optimizer step."""
        if self.objective.beta_schedule != "controller":
            return scheduled_beta(self.objective, self.global_step, self.total_steps)
        kl = cast(Tensor, self.trainer.strategy.reduce(terms.kl.detach(), reduce_op="mean"))
        beta, advanced = controlled_beta(self.objective, kl, self.beta_integral)
        if self._micro_batch == self.trainer.accumulate_grad_batches - 1:
            self.beta_integral.copy_(advanced)
        return beta

    def on_train_batch_start(self, batch: EventBatch, batch_idx: int) -> None:
        self._micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        place = (
            self.config.trainer.seed,
            0,
            self.global_step,
            self._micro_batch * self.trainer.world_size + self.global_rank,
        )
        torch.manual_seed(hash(place) & 0x7FFF_FFFF_FFFF_FFFF)  # hash of a tuple of ints: the same in every process

    def training_step(self, batch: EventBatch, batch_idx: int) -> Tensor:
        if self.objective.hides:
            batch = partly_hidden(batch, self.objective.hide_values, self.objective.hide_variables)
        terms: ElboTerms = self.vae(batch) if self.replayed is None else self.replayed(batch)
        beta = self.beta(terms)
        loss = terms.loss(beta, self.objective.free_bits)
        if terms.history is not None:
            weights = self.objective.remember_weight, self.objective.foresee_weight
            loss = loss + weights[0] * terms.history.remember + weights[1] * terms.history.foresee
            loss = loss + terms.history.forecast
        if terms.filled is not None:
            loss = loss + terms.filled
        self.step_metrics = StepMetrics(
            loss.detach(), terms.recon.detach(), terms.kl.detach(), beta, heads_metrics(terms, names.TRAIN_HISTORY)
        )
        self.posterior = offered(terms.posterior, terms.prior)
        return loss

    # What the collapse monitor looks at, besides `posterior`.

    @property
    def beta_outlook(self) -> BetaOutlook:
        """What is known beforehand about the weight of the KL term."""
        return beta_outlook(self.objective, self.total_steps)

    @property
    def reconstruction_loss(self) -> Tensor | None:
        """-E log p of the step just taken, nats per set."""
        return None if self.step_metrics is None else self.step_metrics.recon

    @property
    def current_beta(self) -> Tensor | float | None:
        """Weight of the KL term in the step just taken."""
        return None if self.step_metrics is None else self.step_metrics.beta

    def encode(self, batch: EventBatch) -> Offered:
        """Posterior of every set of a batch, with its prior where that is learned: then from the means of the sets before."""
        posterior = self.vae.encode(batch)
        if self.vae.prior is None:
            return posterior
        return offered(posterior, self.vae.prior_of(self.vae.history(posterior.mu_SZ, batch), batch))

    def negative_log_likelihood(self, z_SZ: Tensor, batch: EventBatch) -> Tensor:
        """-log p(set | z) of every set of a batch for given latents, nats, shape (S,)."""
        return negative_log_likelihood(self.vae.decode(z_SZ, batch), batch)

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        place = batch_idx * self.trainer.world_size + self.global_rank
        generator = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED + place)
        shape = (batch.n_sets, self.vae.latent_dim)
        terms: ElboTerms = self.vae(batch, torch.randn(shape, generator=generator, device=self.device))
        metrics = {names.VAL_RECON: terms.recon, names.VAL_KL: terms.kl, names.VAL_LOSS: terms.recon + terms.kl}
        metrics |= heads_metrics(terms, names.VAL_HISTORY)
        # Of what the processes share, the first may come once more at the end, so that all have as many: it counts once.
        sampler = getattr(self.trainer.val_dataloaders, "sampler", None)
        sets = batch.n_sets if place < getattr(sampler, "batches", math.inf) else 0
        for name, mean in {**metrics, SETS: torch.ones_like(terms.kl)}.items():
            self._validated[name] = self._validated.get(name, 0.0) + mean * sets

    def on_validation_epoch_start(self) -> None:
        self._validated = {}

    def on_validation_epoch_end(self) -> None:
        # Summed here: over several processes Lightning rounds the number of sets.
        sums = self.trainer.strategy.reduce(torch.stack(list(self._validated.values())), reduce_op="sum")
        by_name = dict(zip(self._validated, cast(Tensor, sums), strict=True))
        sets = by_name.pop(SETS)
        metrics = {name: total / sets for name, total in by_name.items()}
        # Not to the logger: Lightning would count its steps in another way than training does. StepLogging hands them on.
        self.log_dict(metrics, logger=False)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the global norm, and keep the norm: Lightning's own clipping throws it away.

        With 16-mixed it is that of the gradients without the loss scale; a step that is left out, since at this scale they overflow, keeps
        the norm of the step before.
        """
        given = self.config.trainer.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), given or float("inf"))
        if self.trainer.precision == "16-mixed":
            before = torch.zeros_like(norm) if self.gradient_norm is None else self.gradient_norm
            norm = torch.where(norm.isfinite(), norm, before)
        self.gradient_norm = norm

    def configure_optimizers(self) -> Any:
        config = self.optimizer_settings
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        others = [p for p in self.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        # A fused optimizer unscales float16 gradients inside its step, after they were clipped: not with 16-mixed.
        fused = self.trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(config, step, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def learning_rate(self) -> float:
        """Of the step just taken."""
        optimizer = cast(torch.optim.Optimizer, self.optimizers())
        return float(optimizer.param_groups[0]["lr"])
