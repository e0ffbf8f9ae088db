"""Options of a command line from the settings classes: one signature is the Python API, the command line and the YAML file.

The only place that knows jsonargparse.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsetvae.app.help_text import Setting, asked_for, did_you_mean, help_text, in_full, in_words
from seqsetvae.app.spelling import spell_out, unknown_flags
from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.config.given_values import check_settings_file, check_values
from seqsetvae.config.settings_io import SETTINGS_VERSION
from seqsetvae.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

VOCABULARY_OF_HELP = (
    "Prepare an external cohort for a model, pretrained or finetuned (models:/..., a run id, a checkpoint or a folder): with its "
    "variables, its scaling and its set window; what it does not know is left out and counted."
)
RUN_HELP = (
    "Ids of runs or their beginnings, names of runs (the newest of that name), or `latest` (the newest that is no finetuning or "
    "evaluation, of all or of --tracking.experiment). A rescued run brings its rescues along, a study its trials."
)


class Listed(Exception):
    """What a verb that is given :attr:`FLAG` comes to: its settings, for whoever lists those of all verbs."""

    FLAG = "--list-settings"

    def __init__(self, settings: list[Setting]) -> None:
        self.settings = settings


def make_parser(verb: str, description: str) -> ArgumentParser:
    """A parser that reads field docstrings as help, takes --config, and raises instead of ending the process."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"seqsetvae {verb}", description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with settings, e.g. the config.yaml of a run.")
    parser.add_argument("--format_version", type=int, default=SETTINGS_VERSION, help="Written into files of settings.")
    return parser


def pretrain_config(verb: str, description: str, arguments: list[str]) -> PretrainConfig:
    """The settings of a pretraining run."""
    parser = make_parser(verb, description)
    groups = _add_pretrain_groups(parser)
    chosen = instantiate(parser, arguments)
    return PretrainConfig(**{group: chosen[group] for group in groups})


def tune_config(description: str, arguments: list[str]) -> tuple[PretrainConfig, SpaceConfig, TuneConfig]:
    """The settings of a study: what every trial has in common, what is searched, and how."""
    parser = make_parser("tune", f"{description} Settings that are not searched are those of `pretrain`.")
    parser.add_class_arguments(SpaceConfig, "space")
    parser.add_class_arguments(TuneConfig, "tune")
    groups = _add_pretrain_groups(parser)
    chosen = instantiate(parser, arguments)
    return PretrainConfig(**{group: chosen[group] for group in groups}), chosen.space, chosen.tune


def _add_pretrain_groups(parser: ArgumentParser) -> list[str]:
    groups = [field.name for field in fields(PretrainConfig)]
    for group in groups:
        parser.add_class_arguments(type(getattr(PretrainConfig(), group)), group)
    return groups


def source_settings(kind: str, source: type, prepare: Callable[..., Any], arguments: list[str]) -> Namespace:
    """The settings of `prepare KIND`: those of the source, of the store that is made, and of the model whose vocabulary it is to have."""
    parser = make_parser(f"prepare {kind}", source.__doc__ or "")
    parser.add_class_arguments(with_types(source), "source")
    parser.add_function_arguments(prepare, "store", skip={"source", "known"})
    given: dict[str, Any] = {"type": str | None, "default": None}
    parser.add_argument("--store.vocabulary_of", metavar="MODEL", help=VOCABULARY_OF_HELP, **given)
    parser.add_argument("--tracking.tracking_uri", help="MLflow store of that model.", **given)
    return instantiate(parser, arguments)


def chosen_settings(
    verb: Callable[[list[str]], object],
    arguments: list[str],
    *,
    skip: Collection[str] = (),
    runs: str | None = None,
    **groups: Callable[..., Any],
) -> Namespace:
    """The settings of a verb, whose options are those of some classes and functions.

    Args:
        verb: names the command, and describes it.
        arguments: of the command line.
        skip: fields and parameters that are no options.
        runs: the group that also names runs, with its option `run`.
        groups: a settings class, or a function whose parameters are options, by what its options begin with.
    """
    parser = make_parser(command_of(verb), " ".join((verb.__doc__ or "").split()))
    if runs is not None:
        parser.add_argument(f"--{runs}.run", nargs="+", type=str, default=["latest"], metavar="RUN", help=RUN_HELP)
    for group, options in groups.items():
        add = parser.add_class_arguments if isinstance(options, type) else parser.add_function_arguments
        add(options, group, skip={name for name in signature(options).parameters if name in skip})
    return instantiate(parser, arguments)


def command_of(verb: Callable[..., Any]) -> str:
    """How a verb is written on the command line."""
    return verb.__name__.replace("_", "-")


def with_types(settings: type) -> type:
    """A dataclass whose fields jsonargparse can check: it does not resolve the annotations of one that inherits, and takes anything."""
    made = vars(settings)["__init__"]
    made.__annotations__ = typing.get_type_hints(made)
    return settings


def instantiate(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """The settings classes of a command line. Raises :class:`InputError` for whatever they refuse."""
    chosen = parse(parser, arguments)
    try:
        return parser.instantiate(chosen)
    except TypeError as error:  # such as null for a number that has to be there
        raise InputError(
            f"A setting has a value of the wrong kind: {error}.\n`{parser.prog} --help` lists the options."
        ) from error


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse, with every mistake as one :class:`InputError` instead of a page of usage; or print the help that is asked for."""
    from jsonargparse import ArgumentError, Namespace

    if arguments == [Listed.FLAG]:
        raise Listed(list(_settings(parser)))
    if (topic := asked_for(arguments)) is not None:
        print(
            help_text(
                parser.prog.partition(" ")[2], parser.description or "", _groups(parser), _settings(parser), topic
            )
        )
        raise SystemExit(0)
    flags = _flags(parser)
    spelled = list(spell_out(arguments, flags))
    known = {option.removeprefix("--") for action in parser._actions for option in action.option_strings}
    if wrong := list(unknown_flags(spelled, known)):
        raise InputError("\n".join([*wrong, f"`{parser.prog} --help` lists the options."]))
    for path in _settings_files(spelled):
        check_settings_file(path)
    groups = {flag.partition(".")[0] for flag in flags}
    try:
        chosen = parser.parse_args(spelled)
        for group in groups:
            if not isinstance(chosen.get(group), Namespace):
                raise InputError(
                    f"--config: {group!r} is {chosen.get(group)!r}, but holds settings: names with values."
                )
        for flag, hint in _types(parser):
            if chosen[flag] is None and type(None) not in typing.get_args(hint):
                raise InputError(f"--{flag} is null, but must be {in_full(hint)}.")
        check_values((flag, value) for flag, value in chosen.items() if flag in flags)
        return chosen
    except (ArgumentError, TypeError, RecursionError, OverflowError) as error:
        told = (explain(parser, str(error)) for explain in (_wrong_value, _not_a_flag, _left_out))
        said = next(filter(None, told), str(error))
        raise InputError(f"{said}\n`{parser.prog} --help` lists the options.") from error


def _settings_files(arguments: list[str]) -> Iterator[Path]:
    """Of the flag `--config`, wherever it stands."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--config" and equals:
            yield Path(value)
        elif name == "--config" and position + 1 < len(arguments):
            yield Path(arguments[position + 1])


def _flags(parser: ArgumentParser) -> dict[str, bool]:
    """Every grouped flag of a parser (`data.batch_size`), and whether it is a yes-or-no one."""
    return {action.dest: "true" in (action.metavar or "") for action in parser._actions if "." in action.dest}


def _types(parser: ArgumentParser) -> Iterator[tuple[str, Any]]:
    """The type of every grouped flag."""
    for action in parser._actions:
        if "." in action.dest:
            yield action.dest, getattr(action, "_typehint", action.type)


def _settings(parser: ArgumentParser) -> Iterator[Setting]:
    for action in parser._actions:
        group, dot, name = action.dest.rpartition(".")
        if dot:
            named = isinstance(action.metavar, str) and not action.metavar.startswith("{")
            takes = (
                f"{action.metavar} ..."
                if named and action.nargs == "+"
                else in_words(getattr(action, "_typehint", action.type))
            )
            required = action.required or action.dest in parser._extra_required_keys
            yield Setting(group, name, takes, action.help or "", action.default, required)


def _groups(parser: ArgumentParser) -> dict[str, str]:
    """The title of each group of settings by its name."""
    titled = {}
    for group in parser._action_groups:
        for action in group._group_actions:
            if "." in action.dest:
                titled[action.dest.rpartition(".")[0]] = group.title or ""
    return titled


def _wrong_value(parser: ArgumentParser, error: str) -> str:
    """What jsonargparse says of a value, in words: the flag, the value, what it must be, and the choice that it looks like."""
    said = re.search(r'Parser key "([\w.]+)":.*(?:Got|Given) value: (.*)', error, re.DOTALL)
    hint = said and dict(_types(parser)).get(said[1])
    if not said or hint is None:
        return ""
    value = (said[2].splitlines() or ["''"])[0].replace("None", "null")
    choices = [str(one) for one in typing.get_args(hint) if isinstance(one, str)]
    return f"--{said[1]} is {value}, but must be {in_full(hint)}{did_you_mean(value, choices)}"


def _left_out(parser: ArgumentParser, error: str) -> str:
    """The flags that cannot be left out and were, each with what it is for."""
    said = re.search(r"arguments are required: (.+)", error)
    meant = {action.dest: " ".join((action.help or "").split()) for action in parser._actions}
    return "\n".join(f"--{flag} must be given: {meant.get(flag, '')}" for flag in said[1].split(", ")) if said else ""


def _not_a_flag(parser: ArgumentParser, error: str) -> str:
    """A word that belongs to no flag: what it may have been meant for."""
    said = re.search(r"unrecognized arguments: (\S+)", error)
    if not said:
        return ""
    word = said[1]
    leaves = {flag.rpartition(".")[2] for flag in _flags(parser)}
    if word.startswith("-") or word.replace("-", "_") in leaves:
        return f"There is no {word}{did_you_mean('--' + word.strip('-').replace('-', '_'), [f'--{one}' for one in leaves])}"
    taken = [f"--{one}" for one in ("run", "model", "store") if one in leaves]
    return f"{word!r} belongs to no flag" + (f"; is it for {' or '.join(taken)}?" if taken else ".")
