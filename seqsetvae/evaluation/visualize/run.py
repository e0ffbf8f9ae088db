"""`visualize`: from a trained model and a store to figures and a text, on disk and with the run that the model comes from."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqsetvae import names
from seqsetvae.analysis.output_folder import writable, write
from seqsetvae.config import FigureConfig, MonitorConfig, TrackingConfig, VisualizeConfig
from seqsetvae.config.figures import ON_SCREEN
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor
from seqsetvae.console import console
from seqsetvae.data.aligned import listed
from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError
from seqsetvae.evaluation.visualize.sample import Sampled, draw_rows, sample
from seqsetvae.evaluation.visualize.stay import choose_stay, view_stay
from seqsetvae.extras import require
from seqsetvae.figures.latent.draw import TEXT, Drawn, draw_model, draw_stay
from seqsetvae.tracking.connection.address import resolve_uri, without_password
from seqsetvae.tracking.read.run_summary import read_run
from seqsetvae.tracking.registry.versions import Registered
from seqsetvae.tracking.write.attachments import attach_files
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.loading import find_model

_log = logging.getLogger(__name__)

SAVE_DIR = "visualize.save_dir"
JUDGED_BY = (
    "preset",
    "fast_detection",
    "kl_threshold",
    "active_units_threshold",
    "mutual_information_threshold",
    "decoder_use_threshold",
)
"""Settings of a model's monitor that its thresholds come from."""


@dataclass(frozen=True)
class Visualization:
    """What was made."""

    folder: Path
    files: tuple[str, ...]
    sampled: Sampled
    run_id: str | None
    """Run that the files were put into."""


@console()
def visualize(config: VisualizeConfig, tracking: TrackingConfig, figure: FigureConfig = ON_SCREEN) -> Visualization:
    """Draw a model on some stays of a store, write the figures, print their numbers.

    Raises:
        InputError: no such model, store, split or patient; a store whose variables the model does not know; a folder that cannot be
            written.
    """
    require("figures", "visualize")
    folder = writable(Path(config.save_dir), SAVE_DIR)
    model, version = find_model(config.model, tracking)
    store = open_store(config.store)
    run_id = run_to_log_to(config, tracking, model, version) if config.log else None
    rows_B = draw_rows(store, config)
    stay = view_stay(model, store, config.split, choose_stay(store, config, rows_B), config.seed)
    sampled = sample(model, store, config, rows_B, compared(model, config, tracking))
    name = config.model if version is None else version.uri
    drawn = Drawn(
        title=f"{shown_name(name)} on {Path(config.store).name}, {config.split}",
        sample=sampled.latents,
        errors=sampled.errors,
        told=sampled.told,
        stay=stay,
        thresholds=thresholds(model.recipe),
        seed=config.seed,
    )
    _log.info("Drawing; the map takes a while.")
    # What leaves this machine names nobody; what stays here says what the user asked for.
    files = draw_model(drawn, figure)
    named = {} if config.patient is None else draw_stay(drawn, f"patient {config.patient}", figure)
    write(folder, files | named, SAVE_DIR)
    if run_id is not None:
        attach_files(resolve_uri(tracking), run_id, files, names.ARTIFACT_VISUALIZATIONS)
    logged = f" and among the artifacts of run {run_id}, in {names.ARTIFACT_VISUALIZATIONS}/" if run_id else ""
    _log.info(f"\n{files[TEXT].decode()}\n{left_out(sampled)}Figures: {folder}{logged}")
    return Visualization(folder, tuple(sorted(files)), sampled, run_id)


def compared(model: Pretrained, config: VisualizeConfig, tracking: TrackingConfig) -> Pretrained | None:
    """The other model, if one was asked for.

    Raises:
        InputError: there is none, or it reads events in another way.
    """
    if config.before is None:
        return None
    other, _ = find_model(config.before, tracking)
    mine, theirs = (
        (list(one.names), one.center_V.tolist(), one.spread_V.tolist()) for one in (model.vocabulary, other.vocabulary)
    )
    if mine != theirs:
        raise InputError(
            f"--visualize.before {config.before} does not know the same variables on the same scales as {config.model}. "
            "Compare models of one run, or of one store."
        )
    return other


def run_to_log_to(
    config: VisualizeConfig, tracking: TrackingConfig, model: Pretrained, version: Registered | None
) -> str | None:
    """The run that a model comes from; None, and a word about it, for a file whose run the store does not have.

    Raises:
        InputError: the run of a registered model, or one that was named, is not in the store.
    """
    run_id = version.run_id if version is not None else model.recipe.run_id
    try:
        return read_run(tracking, run_id).run_id
    except InputError:
        if not Path(config.model).exists():
            raise
        where = without_password(resolve_uri(tracking))
        _log.info(
            f"--visualize.log: {config.model} comes from run {run_id}, which {where} does not have. Nothing is logged."
        )
        return None


def thresholds(recipe: Recipe) -> SettledMonitor:
    """Those that the model's own run was watched with; the standard ones where it does not say."""
    said: dict[str, Any] = recipe.config.get("monitor", {})
    return settle_monitor(MonitorConfig(**{name: said[name] for name in JUDGED_BY if name in said}), total_steps=10_000)


def shown_name(model: str) -> str:
    """A model as a heading names it: an address as it is, a file without its folders, a run by the beginning of its id.

    >>> [shown_name(one) for one in ("models:/seqsetvae/3", "runs/1/best.ckpt", "runs:/" + "0123456789abcdef" * 2)]
    ['models:/seqsetvae/3', 'best.ckpt', 'run 01234567']
    """
    if model.startswith("models:"):
        return model
    if Path(model).exists() or not re.fullmatch(r"(runs:/)?[0-9a-f]{32}", model):
        return Path(model).name
    return f"run {model.removeprefix('runs:/')[:8]}"


def left_out(sampled: Sampled) -> str:
    """What the model could not take in; empty where there is nothing."""
    said = ""
    if sampled.unknown:
        said += f"Left out, because the model does not know them: {listed(sampled.unknown)}.\n"
    if sampled.without_events:
        said += f"Left out: {sampled.without_events:,} stays without any variable that the model knows.\n"
    return said
