"""The command line: one verb per MLproject entry point. The only place that knows jsonargparse.

Heavy libraries are imported inside the verbs, so that `seqsetvae --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from seqsetvae import __version__
from seqsetvae.config import (
    EvaluateConfig,
    FinetuneConfig,
    PretrainConfig,
    RegisterConfig,
    SpaceConfig,
    TrackingConfig,
    TuneConfig,
)
from seqsetvae.errors import InputError, RunFailure

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def prepare(arguments: list[str]) -> int:
    """Turn raw data into a store: patient_ehr, physionet2012, synthetic or demo."""
    from seqsetvae.data.prepare import prepare as prepare_store
    from seqsetvae.data.sources import SOURCES

    kind = arguments[0] if arguments else "--help"
    if kind not in SOURCES:
        print(f"usage: seqsetvae prepare {{{','.join(SOURCES)}}} --output FOLDER [options]\n")
        print("\n".join(f"  {name:<15}{_first_line(source)}" for name, source in SOURCES.items()))
        print("\n`seqsetvae prepare patient_ehr --help` lists the options of a source.")
        return _asked_for_help(kind, "source")
    parser = _parser(f"prepare {kind}", SOURCES[kind].__doc__ or "")
    parser.add_class_arguments(SOURCES[kind], "source")
    parser.add_function_arguments(prepare_store, "store", skip={"source"})
    chosen = parser.instantiate(_parse(parser, arguments[1:]))
    print(prepare_store(chosen.source, **vars(chosen.store)))
    return 0


def check(arguments: list[str]) -> int:
    """Pre-flight: try data, settings, memory and tracking store before a long run."""
    config = _pretrain_config("check", check.__doc__ or "", arguments)
    from seqsetvae.training.check import preflight

    preflight(config)
    return 0


def pretrain(arguments: list[str]) -> int:
    """Train SeqSetVAE, watch it for collapse, and record the run in MLflow. Exit code 3: ended by a collapse."""
    config = _pretrain_config("pretrain", pretrain.__doc__ or "", arguments)
    from seqsetvae.analysis.collapse_figures import draw_collapse
    from seqsetvae.training.fit import pretrain as run_pretraining
    from seqsetvae.training.interrupt import Interrupted

    try:
        result = run_pretraining(config, draw=draw_collapse)
    except Interrupted as stop:
        return stop.exit_code
    return 3 if result.ended_by_collapse else 0


def tune(arguments: list[str]) -> int:
    """Search beta, free bits and warm-up (Optuna) for the best run that does not collapse; each trial is a run in MLflow."""
    config, space, search = _tune_config(arguments)
    from seqsetvae.tuning.lead import Stopped
    from seqsetvae.tuning.lead import tune as run_study

    try:
        run_study(config, space, search)
    except Stopped as stop:
        return stop.exit_code
    return 0


def register(arguments: list[str]) -> int:
    """Make a pretraining run the next version of the model `seqsetvae` in MLflow's registry."""
    chosen = _chosen(register, arguments, register=RegisterConfig, tracking=TrackingConfig)
    from seqsetvae.training.registration import register_run

    made = register_run(chosen.register, chosen.tracking)
    print(f"Registered {made.version.uri}\nChampion: {'yes' if made.is_champion else 'no'}, {made.reason}.")
    return 0


def finetune(arguments: list[str]) -> int:
    """Train a mortality classifier on a pretrained model, and register it as `seqsetvae-mortality`."""
    chosen = _chosen(finetune, arguments, finetune=FinetuneConfig, tracking=TrackingConfig)
    from seqsetvae.training.finetune import finetune as run_finetuning

    run_finetuning(chosen.finetune, chosen.tracking)
    return 0


def evaluate(arguments: list[str]) -> int:
    """Compare finetuned models with each other and with baselines on the same patients, with 95 % intervals."""
    chosen = _chosen(evaluate, arguments, evaluate=EvaluateConfig, tracking=TrackingConfig)
    from seqsetvae.evaluation.evaluate import evaluate as run_evaluation

    run_evaluation(chosen.evaluate, chosen.tracking)
    return 0


def sync(arguments: list[str]) -> int:
    """Deliver what a tracking store has not received yet."""
    config = _chosen(sync, arguments, tracking=TrackingConfig).tracking
    from seqsetvae.tracking.delivery import sync as deliver_spools

    return 0 if deliver_spools(config.work_dir).complete else 1


def analyze(arguments: list[str]) -> int:
    """Read runs back from MLflow: figures, a diagnosis in words, the collapse rules replayed, one report.html."""
    from seqsetvae.analysis.analyze import analyze as analyze_runs

    parser = _parser("analyze", f"{analyze.__doc__} Writes to the runs only with --log.")
    parser.add_argument("--analyze.run", nargs="+", type=str, default=["latest"], metavar="RUN", help=RUN_HELP)
    parser.add_function_arguments(analyze_runs, "analyze", skip={"tracking", "run"})
    parser.add_class_arguments(TrackingConfig, "tracking", skip=WRITING_ONLY)
    chosen = parser.instantiate(_parse(parser, arguments))
    analyze_runs(chosen.tracking, **vars(chosen.analyze))
    return 0


def certify(arguments: list[str]) -> int:
    """Run the collapse detector against runs whose answer is known. Exit code 1: it is wrong about one."""
    from seqsetvae.certify.run import certify as run_certification

    parser = _parser("certify", certify.__doc__ or "")
    parser.add_function_arguments(run_certification, "certify")
    return 0 if run_certification(**vars(_parse(parser, arguments).certify)) else 1


def bench(arguments: list[str]) -> int:
    """Measure every figure that the README claims, as ratios in one run."""
    from seqsetvae.benchmarks.run import run_benchmarks

    parser = _parser("bench", bench.__doc__ or "")
    parser.add_function_arguments(run_benchmarks, "bench")
    run_benchmarks(**vars(_parse(parser, arguments).bench))
    return 0


RUN_HELP = (
    "Ids of runs or their beginnings, names of runs (the newest of that name), or `latest` (the newest of all, or of "
    "--tracking.experiment). A rescued run brings its rescues along, a study its trials."
)
WRITING_ONLY = {field.name for field in fields(TrackingConfig)} - {"tracking_uri", "experiment"}
"""Settings of a store that only those need who write to it."""
VERBS: dict[str, Callable[[list[str]], int]] = {
    verb.__name__: verb
    for verb in (prepare, check, pretrain, tune, register, finetune, evaluate, certify, analyze, sync, bench)
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `seqsetvae` and `python -m seqsetvae`. Exit code 2: something the user gave cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = arguments[0] if arguments else "--help"
    if verb in ("--version", "-V"):
        print(f"seqsetvae {__version__}")
        sys.exit(0)
    if verb not in VERBS:
        print(
            "usage: seqsetvae VERB [options]\n\nSeqSetVAE pretraining, watched for posterior collapse, tracked in MLflow.\n"
        )
        print("\n".join(f"  {name:<10}{_first_line(function)}" for name, function in VERBS.items()))
        print("\n`seqsetvae VERB --help` lists the options of a verb.")
        sys.exit(_asked_for_help(verb, "verb"))
    try:
        sys.exit(VERBS[verb](arguments[1:]))
    except InputError as error:
        print(f"seqsetvae {verb}: {error}", file=sys.stderr)
        sys.exit(2)
    except RunFailure as error:
        print(f"seqsetvae {verb}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _asked_for_help(word: str, what: str) -> int:
    if word in ("--help", "-h"):
        return 0
    print(f"\nThere is no {what} {word!r}.", file=sys.stderr)
    return 2


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]


def _parser(verb: str, description: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"seqsetvae {verb}", description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with settings, e.g. the config.yaml of a run.")
    return parser


def _pretrain_config(verb: str, description: str, arguments: list[str]) -> PretrainConfig:
    hint = "Options may be written without their group: --batch_size 4 is --data.batch_size 4."
    parser = _parser(verb, f"{description} {hint}")
    groups = _add_pretrain_groups(parser)
    chosen = parser.instantiate(_parse(parser, arguments))
    return PretrainConfig(**{group: chosen[group] for group in groups})


def _tune_config(arguments: list[str]) -> tuple[PretrainConfig, SpaceConfig, TuneConfig]:
    parser = _parser("tune", f"{_first_line(tune)} Settings that are not searched are those of `pretrain`.")
    parser.add_class_arguments(SpaceConfig, "space")
    parser.add_class_arguments(TuneConfig, "tune")
    groups = _add_pretrain_groups(parser)
    chosen = parser.instantiate(_parse(parser, arguments))
    return PretrainConfig(**{group: chosen[group] for group in groups}), chosen.space, chosen.tune


def _add_pretrain_groups(parser: ArgumentParser) -> list[str]:
    groups = [field.name for field in fields(PretrainConfig)]
    for group in groups:
        parser.add_class_arguments(type(getattr(PretrainConfig(), group)), group)
    return groups


def _chosen(verb: Callable[[list[str]], int], arguments: list[str], **groups: type) -> Namespace:
    """The settings of a verb whose options are those of some classes."""
    parser = _parser(verb.__name__, verb.__doc__ or "")
    for group, settings in groups.items():
        parser.add_class_arguments(settings, group)
    return parser.instantiate(_parse(parser, arguments))


def _parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse, with every mistake as one :class:`InputError` instead of a page of usage."""
    from jsonargparse import ArgumentError

    try:
        return parser.parse_args(list(spell_out(arguments, _flags(parser))))
    except ArgumentError as error:
        raise InputError(f"{error}\n`{parser.prog} --help` lists the options.") from error


def _flags(parser: ArgumentParser) -> dict[str, bool]:
    """Every grouped flag of a parser (`data.batch_size`), and whether it is a yes-or-no one."""
    return {action.dest: "true" in (action.metavar or "") for action in parser._actions if "." in action.dest}


def spell_out(arguments: list[str], flags: dict[str, bool]) -> Iterator[str]:
    """Give each flag its group, and each bare yes-or-no flag its `true`: the guides' spelling works as it stands.

    >>> flags = {"data.batch_size": False, "data.pin_memory": True, "model.latent_dim": False}
    >>> " ".join(spell_out("--batch_size 4 --pin_memory --model.latent_dim=8".split(), flags))
    '--data.batch_size 4 --data.pin_memory true --model.latent_dim=8'
    """
    leaves: dict[str, list[str]] = {}
    for flag in flags:
        leaves.setdefault(flag.rpartition(".")[2], []).append(flag)
    for position, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            yield argument
            continue
        full = leaves[name][0] if len(leaves.get(name, ())) == 1 else name
        yield f"--{full}{equals}{value}"
        bare = not equals and (position + 1 == len(arguments) or arguments[position + 1].startswith("--"))
        if bare and flags.get(full):
            yield "true"
