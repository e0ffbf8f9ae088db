"""The composition root: training does not know how to draw, so this is where it is given the figures that a run logs.

`seqsetvae.pretrain`, `seqsetvae.finetune`, `seqsetvae.sync` and the verbs of the command line are these functions. PyTorch is loaded
within them, once it is said how its threads wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from seqsetvae.config import FinetuneConfig, PretrainConfig, TrackingConfig
from seqsetvae.figures.calibration import draw_calibration
from seqsetvae.figures.collapse import draw_collapse
from seqsetvae.threads import sleep_soon

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from seqsetvae.tracking.write.delivery import SyncReport
    from seqsetvae.tracking.write.spool import Wish
    from seqsetvae.training.finetuning.finetune import DrawCalibration, FinetuneResult
    from seqsetvae.training.monitor.figure_thread import Draw
    from seqsetvae.training.recording import PretrainResult


def pretrain(
    config: PretrainConfig,
    *,
    draw: Draw | None = draw_collapse,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> PretrainResult:
    """Train SeqSetVAE, watch it for collapse, and record the run with its figures in MLflow.

    Args:
        config: the settings; gaps are filled from the hardware, the data and the length of the run, and shown.
        draw: makes the collapse figures; None: no figures.
        parent_run_id: the run under which MLflow's page shows this one.
        tags: more tags of the run.
        callbacks: more callbacks of the trainer.

    Raises:
        InputError: something the user gave cannot work; nothing was started.
        Interrupted: a signal; the run's status is KILLED, and `interrupted_*.ckpt` continues from there, unless it stopped at once.
        RunFailure: training cannot go on; `error_*.ckpt` has its state.
    """
    sleep_soon()
    from seqsetvae.training import fit

    return fit.pretrain(config, draw=draw, parent_run_id=parent_run_id, tags=tags, callbacks=callbacks)


def finetune(
    config: FinetuneConfig, tracking: TrackingConfig, *, draw: DrawCalibration | None = draw_calibration
) -> FinetuneResult:
    """Train a two-layer head on a pretrained model, frozen or not, and record the run with its calibration curve in MLflow.

    Args:
        config: what to train, on what.
        tracking: where to record it.
        draw: draws the calibration curve; None: no figure.

    Raises:
        InputError: no model was given, it does not exist or had collapsed, or the data do not fit it.
        Interrupted: a signal; the run's status is KILLED.
        RunFailure: risks are NaN; by which patient and variable, or by which setting, is said.
    """
    sleep_soon()
    from seqsetvae.training.finetuning import finetune as finetuning

    return finetuning.finetune(config, tracking, draw)


def sync(tracking: TrackingConfig) -> SyncReport:
    """Deliver what a tracking store has not received yet, register models that wait for it, and say for each run what became of it.

    Args:
        tracking: its `work_dir` is where runs have left something; its `tracking_uri`, if given, brings the login of that store.
    """
    from seqsetvae.tracking.write import delivery

    def register(uri: str, wish: Wish) -> bool:
        from seqsetvae.training.finetuning.registering import register_late

        return register_late(wish, replace(tracking, tracking_uri=uri))

    return delivery.sync(tracking.work_dir, given=tracking.tracking_uri, register=register)
