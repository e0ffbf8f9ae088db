"""Where a training stands, so that it can go on as if it had never stopped.

Lightning's own counters mean different things in different hooks: the same batch is "processed" here and "completed" there, an epoch is
over before its last checkpoint is written, and a validation that is due leaves no trace. A :class:`Place` says it once; when a run is
resumed, the counters are made from it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.progress import _ProcessedTracker

PLACE = "place"
"""Key in a checkpoint."""


@dataclass(frozen=True)
class Place:
    """A point between two optimizer steps."""

    epoch: int
    """Epochs that are finished."""
    batches: int
    """Batches of the next epoch that are done, on this process."""
    batches_per_epoch: int
    validation_due: bool
    """Whether the validation that belongs here has yet to be run, from its start."""

    def within(self, batches_per_epoch: int, accumulated: int) -> Place:
        """The same share of an epoch of another number of batches, at an optimizer step of `accumulated` batches.

        >>> Place(1, 6, 10, False).within(20, accumulated=1)
        Place(epoch=1, batches=12, batches_per_epoch=20, validation_due=False)
        >>> Place(1, 10, 10, True).within(10, accumulated=4)
        Place(epoch=2, batches=0, batches_per_epoch=10, validation_due=True)
        """
        batches = self.batches * batches_per_epoch // self.batches_per_epoch
        if batches >= batches_per_epoch:
            return Place(self.epoch + 1, 0, batches_per_epoch, self.validation_due)
        return replace(self, batches=batches - batches % accumulated, batches_per_epoch=batches_per_epoch)

    def steps_left(self, max_epochs: int, accumulated: int) -> int:
        """Optimizer steps until the end of the last epoch; the last step of an epoch may have fewer batches.

        >>> Place(1, 4, 10, False).steps_left(max_epochs=3, accumulated=4)
        5
        """
        this_epoch = -(-(self.batches_per_epoch - self.batches) // accumulated)
        whole = -(-self.batches_per_epoch // accumulated)
        return max(0, this_epoch + (max_epochs - self.epoch - 1) * whole)


def place_of(checkpoint: dict[str, Any], batches_per_epoch: int) -> Place:
    """Where a checkpoint was written; one of an earlier release has Lightning's counters only, and no validation is due there."""
    if PLACE in checkpoint:
        return Place(**checkpoint[PLACE])
    loops = checkpoint["loops"]["fit_loop"]
    epochs = loops["epoch_progress"]["current"]
    batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
    ended = epochs["processed"] == epochs["started"]
    return Place(epochs["processed"], 0 if ended else batches, batches_per_epoch, False)


def loops_at(place: Place, steps: int, loops: dict[str, Any]) -> dict[str, Any]:
    """Lightning's counters at a place, with which its loops go on with the next batch.

    Args:
        place: where to go on.
        steps: optimizer steps so far.
        loops: counters of the fit loop from a checkpoint, whose form is kept.
    """
    made = deepcopy(loops)
    under_way = int(place.batches > 0)
    epochs = {
        "ready": place.epoch + under_way,
        "started": place.epoch + under_way,
        "processed": place.epoch,
        "completed": place.epoch,
    }
    made["epoch_progress"] = {"total": dict(epochs), "current": dict(epochs)}
    batches = made["epoch_loop.batch_progress"]
    _set_all(batches["total"], place.epoch * place.batches_per_epoch + place.batches)
    _set_all(batches["current"], place.batches)
    batches["is_last_batch"] = False
    optimizer = made["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for counters in (optimizer["step"]["total"], optimizer["zero_grad"]["total"]):
        _set_all(counters, steps)
    _set_all(made["epoch_loop.scheduler_progress"]["total"], steps)
    validation = made["epoch_loop.val_loop.batch_progress"]
    for counters in (validation["total"], validation["current"]):
        _set_all(counters, 0)
    made["epoch_loop.state_dict"]["_batches_that_stepped"] = steps
    made["state_dict"]["combined_loader"] = [{"epoch": place.epoch, "batches": place.batches}]
    return made


def _set_all(counters: dict[str, int], value: int) -> None:
    for name in counters:
        counters[name] = value


class PlaceKeeper(pl.Callback):
    """Writes the place into every checkpoint and takes it up again. The first callback: the others may write checkpoints in the same hook.

    Args:
        batches_per_epoch: of this run and process.
    """

    def __init__(self, batches_per_epoch: int) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.validation_outstanding = False
        """Of the checkpoint that the run was resumed from: its validation comes before the next batch."""
        self._after_batch = False
        """Between the end of a batch and the end of the validation that may follow it."""

    def on_train_batch_start(self, *_: Any) -> None:
        self._after_batch = self.validation_outstanding = False

    def on_train_batch_end(self, *_: Any) -> None:
        self._after_batch = True

    def on_validation_end(self, *_: Any) -> None:
        self._after_batch = self.validation_outstanding = False

    def place(self, trainer: pl.Trainer) -> Place:
        """Where `trainer` stands: behind the last complete optimizer step."""
        loop = trainer.fit_loop
        epochs = cast(_ProcessedTracker, loop.epoch_progress.current)
        batches = cast(_ProcessedTracker, loop.epoch_loop.batch_progress.current)
        epoch, done, length = epochs.processed, batches.processed, self.batches_per_epoch
        if (
            epochs.processed == epochs.started
        ):  # the epoch is over: because it was done, or because max_steps or a collapse ended it
            epoch, done = (epoch - 1, done) if 0 < done < length else (epoch, 0)
        fetcher = cast(Any, loop._data_fetcher)
        due = self.validation_outstanding or (self._after_batch and loop.epoch_loop._should_check_val_fx(fetcher))
        return Place(epoch, done, length, due).within(length, trainer.accumulate_grad_batches)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[PLACE] = asdict(self.place(trainer))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        place = place_of(checkpoint, self.batches_per_epoch)
        place = place.within(self.batches_per_epoch, trainer.accumulate_grad_batches)
        self.validation_outstanding = place.validation_due
        loops = checkpoint["loops"]
        loops["fit_loop"] = loops_at(place, checkpoint["global_step"], loops["fit_loop"])


class ResumableFitLoop(_FitLoop):
    """Lightning's loop over the epochs, which begins with an outstanding validation.

    A run that was resumed behind its last step goes through the beginning and the end of a training all the same: the last validation,
    the report and the final checkpoint may be what is missing.
    """

    def __init__(self, trainer: pl.Trainer, keeper: PlaceKeeper) -> None:
        super().__init__(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
        self.epoch_loop = trainer.fit_loop.epoch_loop
        # Lightning asks all processes before every step whether one is to end, and waits for a GPU's answer; StopSafely asks hosts, rarely.
        self.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        self.keeper = keeper

    @property
    def skip(self) -> bool:
        return not self.is_resuming and super().skip

    def on_run_start(self) -> None:
        super().on_run_start()
        if self.keeper.validation_outstanding:
            self.trainer.validating = True
            self.epoch_loop.val_loop.run()
            self.trainer.training = True

    def _iteration_based_training(self) -> bool:
        # With max_steps Lightning would take the start of an epoch for its middle.
        return False
