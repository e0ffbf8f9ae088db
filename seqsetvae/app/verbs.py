"""The verbs of the command line, one per MLproject entry point: each reads its settings and calls the function that does the work.

Heavy libraries are imported inside the verbs, so that `seqsetvae --help` answers at once. A verb returns its exit code; None is 0.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import seqsetvae
from seqsetvae.app.arguments import (
    chosen_settings,
    command_of,
    pretrain_config,
    source_settings,
    tune_config,
)
from seqsetvae.app.help_text import first_line, show_choices
from seqsetvae.config import (
    EmbedConfig,
    EvaluateConfig,
    ExportConfig,
    FigureConfig,
    FinetuneConfig,
    ForecastConfig,
    ImputeConfig,
    RegisterConfig,
    TrackingConfig,
    VisualizeConfig,
)
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.place import check_place

_log = logging.getLogger(__name__)

Verb = Callable[[list[str]], int | None]
WRITING_ONLY = {field.name for field in fields(TrackingConfig)} - {"tracking_uri", "experiment"}
"""Settings of a store that only those need who write to it."""
NO_RUN = {*WRITING_ONLY, "experiment"}
"""And those that only a verb needs which reads or writes runs, not models alone."""


def prepare(arguments: list[str]) -> int | None:
    """Turn raw data into a store: patient_ehr, physionet2012, meds, synthetic or demo."""
    from seqsetvae.data.prepare import prepare as prepare_store
    from seqsetvae.data.sources import SOURCES

    kind = arguments[0] if arguments else "--help"
    if kind not in SOURCES:
        usage = f"prepare {{{','.join(SOURCES)}}} --output FOLDER [options]"
        more = "`seqsetvae prepare patient_ehr --help` lists the options of a source."
        return show_choices(kind, "source", SOURCES, usage, more)
    chosen = source_settings(kind, SOURCES[kind], prepare_store, arguments[1:])
    known = None
    if (model := chosen.store.pop("vocabulary_of")) is not None:
        from seqsetvae.training.pretrained.loading import known_vocabulary

        known = known_vocabulary(model, TrackingConfig(tracking_uri=chosen.tracking.tracking_uri))
    _log.info(prepare_store(chosen.source, known=known, **vars(chosen.store)))
    return None


def check(arguments: list[str]) -> None:
    """Pre-flight: try data, settings, memory and tracking store before a long run."""
    config = pretrain_config("check", check.__doc__ or "", arguments)
    from seqsetvae.training.check import preflight

    preflight(config)


def pretrain(arguments: list[str]) -> int:
    """Train SeqSetVAE, watch it for collapse, and record the run in MLflow. Exit code 3: ended by a collapse."""
    config = pretrain_config("pretrain", pretrain.__doc__ or "", arguments)
    check_place(config.tracking)
    from seqsetvae.app import composition

    result = composition.pretrain(config)
    return 3 if result.ended_by_collapse else int(bool(result.not_written))


def tune(arguments: list[str]) -> None:
    """Search beta, free bits and warm-up (Optuna) for the best run that does not collapse; each trial is a run in MLflow."""
    config, space, search = tune_config(first_line(tune), arguments)
    check_place(config.tracking)
    from seqsetvae.tuning.lead import tune as run_study

    run_study(config, space, search)


def register(arguments: list[str]) -> None:
    """Make a pretraining run the next version of the model `seqsetvae` in MLflow's registry."""
    chosen = chosen_settings(register, arguments, register=RegisterConfig, tracking=TrackingConfig)
    from seqsetvae.training.pretrained.registration import register_run

    _log.info(register_run(chosen.register, chosen.tracking))


def finetune(arguments: list[str]) -> int:
    """Train a classifier of death, or of a task of yours, on a pretrained model, and register it."""
    chosen = chosen_settings(finetune, arguments, finetune=FinetuneConfig, tracking=TrackingConfig)
    check_place(chosen.tracking)
    from seqsetvae.app import composition

    return int(bool(composition.finetune(chosen.finetune, chosen.tracking).not_written))


def evaluate(arguments: list[str]) -> None:
    """Compare finetuned models with each other and with baselines on the same patients, with 95 % intervals."""
    chosen = chosen_settings(evaluate, arguments, evaluate=EvaluateConfig, tracking=TrackingConfig)
    check_place(chosen.tracking)
    from seqsetvae.evaluation.evaluate import evaluate as run_evaluation

    run_evaluation(chosen.evaluate, chosen.tracking)


def embed(arguments: list[str]) -> None:
    """Write what a model makes of the stays of a store: posterior and state, one row per stay, time or set (Parquet)."""
    chosen = chosen_settings(embed, arguments, skip=NO_RUN, embed=EmbedConfig, tracking=TrackingConfig)
    from seqsetvae.evaluation.embed import embed as write_embeddings

    write_embeddings(chosen.embed, chosen.tracking)


def sync(arguments: list[str]) -> int:
    """Deliver what a tracking store has not received yet. Exit code 1: something is still undelivered."""
    config = chosen_settings(sync, arguments, tracking=TrackingConfig).tracking
    from seqsetvae.app import composition

    return 0 if composition.sync(config).complete else 1


def analyze(arguments: list[str]) -> None:
    """Read runs back from MLflow: figures, a diagnosis in words, the collapse rules replayed, one report.html.

    Writes to the runs only with --log.
    """
    from seqsetvae.analysis.analyze import analyze as analyze_runs

    _read_store(analyze, arguments, analyze_runs, "analyze", runs="analyze", figure=FigureConfig)


def monitor(arguments: list[str]) -> None:
    """Watch runs live, straight from the store: in the terminal, or with --web on a page."""
    from seqsetvae.dashboard.monitor import monitor as watch_runs

    _read_store(monitor, arguments, watch_runs, "monitor", runs="monitor")


def import_tensorboard(arguments: list[str]) -> None:
    """Bring the TensorBoard logs of older trainings into the MLflow store, each folder of event files as a run."""
    from seqsetvae.tracking.tensorboard.importing import import_logs

    _read_store(import_tensorboard, arguments, import_logs, "import")


def _read_store(
    verb: Verb, arguments: list[str], work: Callable[..., object], group: str, *, runs: str | None = None, **more: type
) -> None:
    """A verb that is `work(tracking, ...)`, with options for what else it takes, and of `more` classes of settings."""
    skip = {*WRITING_ONLY, "tracking", "run", *more}
    groups: dict[str, Any] = {group: work, **more, "tracking": TrackingConfig}
    chosen = chosen_settings(verb, arguments, skip=skip, runs=runs, **groups)
    work(chosen.tracking, **vars(chosen[group]), **{name: chosen[name] for name in more})


def visualize(arguments: list[str]) -> None:
    """Draw a model: its posterior, a map of it, reconstruction errors in each variable's unit, one stay."""
    groups: dict[str, Any] = {"visualize": VisualizeConfig, "figure": FigureConfig, "tracking": TrackingConfig}
    chosen = chosen_settings(visualize, arguments, skip=NO_RUN, **groups)
    from seqsetvae.evaluation.visualize.run import visualize as draw_model

    draw_model(chosen.visualize, chosen.tracking, chosen.figure)


def forecast(arguments: list[str]) -> None:
    """Say what a model expects of the hours to come of each stay: values with bands, and the chance that they are measured."""
    chosen = chosen_settings(forecast, arguments, skip=NO_RUN, forecast=ForecastConfig, tracking=TrackingConfig)
    from seqsetvae.evaluation.forecast import forecast as write_forecasts

    write_forecasts(chosen.forecast, chosen.tracking)


def impute(arguments: list[str]) -> None:
    """Fill in what was not measured: values with bands, from all else that is known of a stay by then."""
    chosen = chosen_settings(impute, arguments, skip=NO_RUN, impute=ImputeConfig, tracking=TrackingConfig)
    from seqsetvae.evaluation.impute import impute as write_imputed

    write_imputed(chosen.impute, chosen.tracking)


def export(arguments: list[str]) -> None:
    """Write a finetuned model as a file that other runtimes run: ONNX."""
    chosen = chosen_settings(export, arguments, skip=NO_RUN, export=ExportConfig, tracking=TrackingConfig)
    from seqsetvae.evaluation.export import export as write_model

    write_model(chosen.export, chosen.tracking)


def certify(arguments: list[str]) -> int:
    """Run the collapse detector against runs whose answer is known. Exit code 1: it is wrong about one."""
    from seqsetvae.certify.run import certify as run_certification

    chosen = chosen_settings(certify, arguments, certify=run_certification)
    return 0 if run_certification(**vars(chosen.certify)).passed else 1


def bench(arguments: list[str]) -> None:
    """Measure every figure that docs/speed.md claims, as ratios in one run."""
    run_benchmarks = _benchmarks().run_benchmarks
    run_benchmarks(**vars(chosen_settings(bench, arguments, bench=run_benchmarks).bench))


def _benchmarks() -> ModuleType:
    """They lie beside the package in a checkout, and import from its tests; an installed package goes without."""
    checkout = Path(seqsetvae.__file__).parents[1]
    if not (checkout / "benchmarks" / "run.py").is_file() or not (checkout / "pyproject.toml").is_file():
        raise InputError(
            "The benchmarks are no part of the installed package: they are the folder benchmarks/ of its source, and `make bench` there "
            "runs them."
        )
    sys.path.insert(0, str(checkout))
    return importlib.import_module("benchmarks.run")


VERBS: dict[str, Verb] = {
    command_of(verb): verb
    for verb in (
        *(prepare, check, pretrain, tune, register, finetune, evaluate, certify, analyze, visualize, monitor),
        *(forecast, impute, embed, export, sync, import_tensorboard, bench),
    )
}
