"""From settings with gaps to a plan without: decided from the hardware found, the data and the length of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch

from seqsetvae.config import DataConfig, ModelConfig, ObjectiveConfig, PretrainConfig, TrainerConfig
from seqsetvae.config.settled import SettledConfig, SettledMonitor
from seqsetvae.config.settling import Machine, settle, settle_trainer
from seqsetvae.config.told import changed
from seqsetvae.data.module import EventDataModule
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.model.attention import LONGEST_PERIOD
from seqsetvae.model.history import CausalHistory
from seqsetvae.model.vae import SeqSetVAE, embedding_of
from seqsetvae.training.place import Place
from seqsetvae.training.processes import started


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: every setting is settled, and the data is open."""

    config: SettledConfig
    data: EventDataModule
    batches_per_epoch: int
    total_steps: int
    validate_every: int
    """Batches between two validations, on this process."""
    usual: SettledConfig
    """What the settings would be, had nobody said anything but beta, for as many steps."""

    @property
    def changed(self) -> dict[str, Any]:
        """Settings that somebody has chosen, with what follows from them, by group and name."""
        return changed(groups_of(self.config), groups_of(self.usual))

    def build_model(self) -> SeqSetVAE:
        """A fresh model with the weights of the plan's seed."""
        torch.manual_seed(self.config.trainer.seed)
        vae = SeqSetVAE(self.config.model, self.data.vocabulary)
        cast(CausalHistory, vae.history).packed = self.config.trainer.packed_attention
        return vae

    @property
    def by_graphs(self) -> bool:
        """Whether steps are replayed: on one GPU, where each step is one batch, and nothing in the model depends on more than shapes."""
        trainer, model = self.config.trainer, self.config.model
        one = trainer.devices * trainer.num_nodes * trainer.gradient_accumulation_steps == 1
        packed = trainer.packed_attention and trainer.precision != "32" and not model.dropout
        beside = model.has_history_heads or model.prior == "learned" or self.config.objective.hides
        plain = not (beside or trainer.compile_model)
        return trainer.cuda_graphs and trainer.accelerator == "gpu" and one and packed and plain

    def words(self) -> dict[str, str]:
        """The plan in words by topic, with everything that was decided for the user."""
        data, trainer, objective = self.config.data, self.config.trainer, self.config.objective
        store = self.data.store
        counts = ", ".join(f"{split} {store.n_subjects(split)}" for split in store.splits)
        batch = f"{data.max_events_per_batch} events" if data.max_events_per_batch else f"{data.batch_size} patients"
        slowly = ", slowly at first" if objective.beta_warmup_power > 1.0 else ""
        schedule = {
            "constant": f"constant {objective.max_beta:g}",
            "linear": f"0 to {objective.max_beta:g} over {objective.beta_warmup_steps} steps{slowly}",
            "cyclical": f"0 to {objective.max_beta:g} in {objective.beta_cycles} cycles",
            "controller": f"held so that KL is {objective.kl_target:g} nats per set, at most {objective.max_beta:g}",
        }[objective.beta_schedule]
        return {
            "data": f"{data.store}: {counts} patients, {len(self.data.vocabulary)} variables",
            "device": f"{trainer.devices} x {trainer.accelerator}"
            + (f" on each of {trainer.num_nodes} machines" if trainer.num_nodes > 1 else "")
            + f", precision {trainer.precision}, "
            f"{data.num_workers} loader processes",
            "length": f"{trainer.max_epochs} epochs, {self.total_steps} steps of {batch}"
            + (f" x {trainer.gradient_accumulation_steps}" if trainer.gradient_accumulation_steps > 1 else ""),
            "beta": f"{schedule}; free bits {objective.free_bits:g} nats per dimension",
            "lr": f"{self.config.optimizer.lr:g}, {self.config.optimizer.lr_schedule} after "
            f"{self.config.optimizer.lr_warmup_steps} steps of warm-up",
            "monitor": describe_monitor(self.config.monitor),
        }

    def describe(self) -> str:
        """The same, a line for each."""
        return "\n".join(f"  {topic:<8}{text}" for topic, text in self.words().items())


@dataclass(frozen=True)
class StepsDone:
    """What of a run is behind it."""

    steps: int
    """Optimizer steps."""
    place: Place


def make_plan(config: PretrainConfig, done: StepsDone | None = None) -> Plan:
    """Open the data and settle every setting.

    Args:
        config: the settings with gaps.
        done: of a run that is continued, whose epochs may have had another number of batches so far.

    Raises:
        InputError: settings that cannot work together, or with this data or this machine.
    """
    machine = this_machine()
    trainer = settle_trainer(config.trainer, machine)
    data = EventDataModule(config.data, trainer.seed, on_gpu=trainer.accelerator == "gpu")
    batches = data.batches_per_epoch(trainer.devices * trainer.num_nodes, trainer.num_nodes)
    total = optimizer_steps(trainer, batches) if done is None else steps_to_the_end(trainer, batches, done)
    model = model_for(config.model, data.store)
    patients = data.store.n_subjects("train")
    settled = settle(replace(config, model=model), total, machine, patients)
    check_validation(trainer, settled.data, batches)
    # What follows from beta alone, such as a longer warm-up, nobody has chosen.
    objective = ObjectiveConfig(max_beta=settled.objective.max_beta, beta_schedule=settled.objective.beta_schedule)
    by_itself = PretrainConfig(model=model_for(ModelConfig(), data.store), objective=objective)
    usual = settle(by_itself, total, machine, patients)
    return Plan(settled, data, batches, total, validation_interval(trainer, batches), usual)


def groups_of(config: PretrainConfig) -> dict[str, Any]:
    """The groups of settings by name."""
    return {field.name: getattr(config, field.name) for field in fields(config)}


def this_machine() -> Machine:
    """What PyTorch finds here."""
    gpus = torch.cuda.device_count()
    return Machine(gpus, bool(gpus) and torch.cuda.is_bf16_supported(), started())


def model_for(model: ModelConfig, store: Store) -> ModelConfig:
    """The model's settings with what the store decides.

    That is where the embeddings come from, and the slowest turn of the history's encoding of time, where its stays are longer than the
    usual one.

    Raises:
        InputError: embeddings are wanted that the store does not have.
    """
    period = model.longest_period
    if period is None and store.longest_minutes() > LONGEST_PERIOD:
        period = float(math.ceil(store.longest_minutes()))
    learned = embedding_of(store.vocabulary, model) is None
    return replace(model, variable_embedding="learned" if learned else "cached", longest_period=period)


def describe_monitor(monitor: SettledMonitor) -> str:
    """What is watched, and what a collapse leads to, in words."""
    if monitor.disable_metrics_monitoring:
        return "off: a collapse would not be noticed"
    every = "100, 50, then 20" if monitor.adaptive else f"{monitor.check_frequency}"
    action = {
        "warn": "a warning",
        "stop": f"an end of the run after {monitor.early_stop_patience} red checks",
        "rescue": f"a rescue ({monitor.rescue_by}) after {monitor.early_stop_patience} red checks",
    }[monitor.on_collapse]
    return (
        f"collapse checks every {every} steps by the {monitor.rules} rules, red leads to {action}\n"
        f"           {describe_latency(monitor)}"
    )


def describe_latency(monitor: SettledMonitor) -> str:
    """When a collapse is called at the latest, in words.

    >>> from seqsetvae.config import MonitorConfig
    >>> from seqsetvae.config.settling import settle_monitor
    >>> describe_latency(settle_monitor(MonitorConfig(), total_steps=2000))
    'a posterior that never lives is red at step 200, or a check after 1.5 hours; one that dies later, at the third check that sees it'
    """
    if monitor.rules == "source":
        return "by these rules a complete collapse is never red"
    every, confirm = monitor.check_every(monitor.grace_steps), monitor.confirm_checks
    judged = max(-(-monitor.grace_steps // every), confirm) * every
    return (
        f"a posterior that never lives is red at step {judged}, or a check after {monitor.grace_hours:g} hours; one that dies later, at "
        f"the {'third' if confirm == 3 else f'{confirm}.'} check that sees it"
    )


def optimizer_steps(trainer: TrainerConfig, batches_per_epoch: int) -> int:
    """Optimizer steps of the whole run; the last step of an epoch may have fewer batches.

    >>> optimizer_steps(TrainerConfig(max_epochs=3, gradient_accumulation_steps=4), batches_per_epoch=10)
    9
    """
    total = trainer.max_epochs * math.ceil(batches_per_epoch / trainer.gradient_accumulation_steps)
    return min(total, trainer.max_steps or total)


def steps_to_the_end(trainer: TrainerConfig, batches_per_epoch: int, done: StepsDone) -> int:
    """Optimizer steps of a run of which a part is done.

    >>> done = StepsDone(steps=10, place=Place(epoch=1, batches=0, batches_per_epoch=10, validation_due=False))
    >>> steps_to_the_end(TrainerConfig(max_epochs=3), batches_per_epoch=5, done=done)
    20
    """
    accumulated = trainer.gradient_accumulation_steps
    place = done.place.within(batches_per_epoch, accumulated)
    total = done.steps + place.steps_left(trainer.max_epochs, accumulated)
    return max(done.steps, min(total, trainer.max_steps or total))


def validation_interval(trainer: TrainerConfig, batches_per_epoch: int) -> int:
    """Batches between two validations: at an optimizer step, since between two of them the model does not change.

    >>> validation_interval(TrainerConfig(val_check_interval=0.25, gradient_accumulation_steps=4), batches_per_epoch=10)
    4
    """
    every = trainer.val_check_interval
    batches = every if isinstance(every, int) else max(1, int(batches_per_epoch * every))
    accumulated = trainer.gradient_accumulation_steps
    return min(-(-batches // accumulated) * accumulated, batches_per_epoch)


def check_validation(trainer: TrainerConfig, data: DataConfig, batches_per_epoch: int) -> None:
    """Refuse a validation interval in batches that is longer than an epoch: the run would never validate."""
    if isinstance(trainer.val_check_interval, int) and trainer.val_check_interval > batches_per_epoch:
        raise InputError(
            f"--trainer.val_check_interval is {trainer.val_check_interval} batches, but an epoch of {data.store} has only "
            f"{batches_per_epoch}. Use a share such as 0.25, or at most {batches_per_epoch}."
        )
