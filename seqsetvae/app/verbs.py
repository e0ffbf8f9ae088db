"""The verbs of the command line, one per MLproject entry point.

Heavy libraries are imported inside the verbs, so that `seqsetvae --help` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import seqsetvae
from seqsetvae.app.arguments import (
    chosen_settings,
    first_line,
    instantiate,
    make_parser,
    parse,
    pretrain_config,
    tune_config,
)
from seqsetvae.app.help_text import asked_for_help
from seqsetvae.config import (
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    RegisterConfig,
    TrackingConfig,
    VisualizeConfig,
)
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.opening import check_place


def prepare(arguments: list[str]) -> int:
    """Turn raw data into a store: patient_ehr, physionet2012, meds, synthetic or demo."""
    from seqsetvae.data.prepare import prepare as prepare_store
    from seqsetvae.data.sources import SOURCES

    kind = arguments[0] if arguments else "--help"
    if kind not in SOURCES:
        print(f"usage: seqsetvae prepare {{{','.join(SOURCES)}}} --output FOLDER [options]\n")
        print("\n".join(f"  {name:<15}{first_line(source)}" for name, source in SOURCES.items()))
        print("\n`seqsetvae prepare patient_ehr --help` lists the options of a source.")
        return asked_for_help(kind, "source", SOURCES)
    parser = make_parser(f"prepare {kind}", SOURCES[kind].__doc__ or "")
    parser.add_class_arguments(SOURCES[kind], "source")
    parser.add_function_arguments(prepare_store, "store", skip={"source", "known"})
    parser.add_argument(
        "--store.vocabulary_of", type=str | None, default=None, metavar="MODEL", help=VOCABULARY_OF_HELP
    )
    parser.add_argument("--tracking.tracking_uri", type=str | None, default=None, help="MLflow store of that model.")
    chosen = instantiate(parser, arguments[1:])
    known, model = None, chosen.store.pop("vocabulary_of")
    if model is not None:
        from seqsetvae.data.external import KnownVocabulary
        from seqsetvae.training.pretrained.loading import find_vocabulary

        known = KnownVocabulary(
            model, find_vocabulary(model, TrackingConfig(tracking_uri=chosen.tracking.tracking_uri))
        )
    print(prepare_store(chosen.source, known=known, **vars(chosen.store)))
    return 0


def check(arguments: list[str]) -> int:
    """Pre-flight: try data, settings, memory and tracking store before a long run."""
    config = pretrain_config("check", check.__doc__ or "", arguments)
    from seqsetvae.training.check import preflight

    preflight(config)
    return 0


def pretrain(arguments: list[str]) -> int:
    """Train SeqSetVAE, watch it for collapse, and record the run in MLflow. Exit code 3: ended by a collapse."""
    config = pretrain_config("pretrain", pretrain.__doc__ or "", arguments)
    check_place(config.tracking)
    from seqsetvae.figures.collapse import draw_collapse
    from seqsetvae.training.fit import pretrain as run_pretraining
    from seqsetvae.training.interrupt import Interrupted

    try:
        result = run_pretraining(config, draw=draw_collapse)
    except Interrupted as stop:
        return stop.exit_code
    return 3 if result.ended_by_collapse else int(bool(result.not_written))


def tune(arguments: list[str]) -> int:
    """Search beta, free bits and warm-up (Optuna) for the best run that does not collapse; each trial is a run in MLflow."""
    config, space, search = tune_config(first_line(tune), arguments)
    check_place(config.tracking)
    from seqsetvae.tuning.lead import Stopped
    from seqsetvae.tuning.lead import tune as run_study

    try:
        run_study(config, space, search)
    except Stopped as stop:
        return stop.exit_code
    return 0


def register(arguments: list[str]) -> int:
    """Make a pretraining run the next version of the model `seqsetvae` in MLflow's registry."""
    chosen = chosen_settings(register, arguments, register=RegisterConfig, tracking=TrackingConfig)
    from seqsetvae.training.pretrained.registration import register_run

    made = register_run(chosen.register, chosen.tracking)
    print(f"Registered {made.version.uri}\nChampion: {'yes' if made.is_champion else 'no'}, {made.reason}.")
    return 0


def finetune(arguments: list[str]) -> int:
    """Train a classifier of death, or of a task of yours, on a pretrained model, and register it."""
    chosen = chosen_settings(finetune, arguments, finetune=FinetuneConfig, tracking=TrackingConfig)
    check_place(chosen.tracking)
    from seqsetvae.figures.calibration import draw_calibration
    from seqsetvae.training.finetuning.finetune import finetune as run_finetuning
    from seqsetvae.training.interrupt import Interrupted

    try:
        run_finetuning(chosen.finetune, chosen.tracking, draw=draw_calibration)
    except Interrupted as stop:
        return stop.exit_code
    return 0


def evaluate(arguments: list[str]) -> int:
    """Compare finetuned models with each other and with baselines on the same patients, with 95 % intervals."""
    chosen = chosen_settings(evaluate, arguments, evaluate=EvaluateConfig, tracking=TrackingConfig)
    check_place(chosen.tracking)
    from seqsetvae.evaluation.evaluate import evaluate as run_evaluation

    run_evaluation(chosen.evaluate, chosen.tracking)
    return 0


def embed(arguments: list[str]) -> int:
    """Write what a model makes of the stays of a store: posterior and state, one row per stay, time or set (Parquet)."""
    parser = make_parser("embed", embed.__doc__ or "")
    parser.add_class_arguments(EmbedConfig, "embed")
    parser.add_class_arguments(TrackingConfig, "tracking", skip=WRITING_ONLY | {"experiment"})
    chosen = instantiate(parser, arguments)
    from seqsetvae.evaluation.embed import embed as write_embeddings

    write_embeddings(chosen.embed, chosen.tracking)
    return 0


def sync(arguments: list[str]) -> int:
    """Deliver what a tracking store has not received yet. Exit code 1: something is still undelivered."""
    config = chosen_settings(sync, arguments, tracking=TrackingConfig).tracking
    from seqsetvae.tracking.write.delivery import sync as deliver_spools

    def register(uri: str, run_id: str) -> bool:
        from seqsetvae.training.pretrained.registration import register_at_end

        return register_at_end(run_id, replace(config, tracking_uri=uri))

    return 0 if deliver_spools(config.work_dir, given=config.tracking_uri, register=register).complete else 1


def analyze(arguments: list[str]) -> int:
    """Read runs back from MLflow: figures, a diagnosis in words, the collapse rules replayed, one report.html."""
    from seqsetvae.analysis.analyze import analyze as analyze_runs

    _read_runs("analyze", f"{analyze.__doc__} Writes to the runs only with --log.", analyze_runs, arguments)
    return 0


def monitor(arguments: list[str]) -> int:
    """Watch runs live, straight from the store: in the terminal, or with --web on a page."""
    from seqsetvae.dashboard.monitor import monitor as watch_runs

    _read_runs("monitor", monitor.__doc__ or "", watch_runs, arguments)
    return 0


def _read_runs(verb: str, description: str, work: Callable[..., object], arguments: list[str]) -> None:
    """A verb that reads runs of a store: `work(tracking, run=..., ...)`."""
    parser = make_parser(verb, description)
    parser.add_argument(f"--{verb}.run", nargs="+", type=str, default=["latest"], metavar="RUN", help=RUN_HELP)
    parser.add_function_arguments(work, verb, skip={"tracking", "run"})
    parser.add_class_arguments(TrackingConfig, "tracking", skip=WRITING_ONLY)
    chosen = instantiate(parser, arguments)
    work(chosen.tracking, **vars(chosen[verb]))


def import_tensorboard(arguments: list[str]) -> int:
    """Bring the TensorBoard logs of older trainings into the MLflow store, each folder of event files as a run."""
    from seqsetvae.tracking.tensorboard.importing import import_logs

    parser = make_parser("import-tensorboard", import_tensorboard.__doc__ or "")
    parser.add_function_arguments(import_logs, "import", skip={"tracking"})
    parser.add_class_arguments(TrackingConfig, "tracking", skip=WRITING_ONLY)
    chosen = instantiate(parser, arguments)
    import_logs(chosen.tracking, **vars(chosen["import"]))
    return 0


def visualize(arguments: list[str]) -> int:
    """Draw a model: its posterior, a map of it, reconstruction errors in each variable's unit, one stay."""
    parser = make_parser("visualize", visualize.__doc__ or "")
    parser.add_class_arguments(VisualizeConfig, "visualize")
    parser.add_class_arguments(TrackingConfig, "tracking", skip=WRITING_ONLY | {"experiment"})
    chosen = instantiate(parser, arguments)
    from seqsetvae.evaluation.visualize.run import visualize as draw_model

    draw_model(chosen.visualize, chosen.tracking)
    return 0


def certify(arguments: list[str]) -> int:
    """Run the collapse detector against runs whose answer is known. Exit code 1: it is wrong about one."""
    from seqsetvae.certify.run import certify as run_certification

    parser = make_parser("certify", certify.__doc__ or "")
    parser.add_function_arguments(run_certification, "certify")
    return 0 if run_certification(**vars(parse(parser, arguments).certify)) else 1


def bench(arguments: list[str]) -> int:
    """Measure every figure that the README claims, as ratios in one run."""
    run_benchmarks = _benchmarks().run_benchmarks
    parser = make_parser("bench", bench.__doc__ or "")
    parser.add_function_arguments(run_benchmarks, "bench")
    run_benchmarks(**vars(parse(parser, arguments).bench))
    return 0


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


VOCABULARY_OF_HELP = (
    "Prepare an external cohort for a model, pretrained or finetuned (models:/..., a run id, a checkpoint or a folder): with its "
    "variables, its scaling and its set window; what it does not know is left out and counted."
)
RUN_HELP = (
    "Ids of runs or their beginnings, names of runs (the newest of that name), or `latest` (the newest that is no finetuning or "
    "evaluation, of all or of --tracking.experiment). A rescued run brings its rescues along, a study its trials."
)
WRITING_ONLY = {field.name for field in fields(TrackingConfig)} - {"tracking_uri", "experiment"}
"""Settings of a store that only those need who write to it."""
VERBS: dict[str, Callable[[list[str]], int]] = {
    verb.__name__.replace("_", "-"): verb
    for verb in (
        *(prepare, check, pretrain, tune, register, finetune, evaluate, certify, analyze, visualize, monitor),
        *(embed, sync, import_tensorboard, bench),
    )
}
