"""Options of a command line from the settings classes: one signature is the Python API, the command line and the YAML file.

The only place that knows jsonargparse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.errors import InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def first_line(documented: Any) -> str:
    """What a list of verbs says of a function or class."""
    return (documented.__doc__ or "").strip().splitlines()[0]


def make_parser(verb: str, description: str) -> ArgumentParser:
    """A parser that reads field docstrings as help, takes --config, and raises instead of ending the process."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"seqsetvae {verb}", description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with settings, e.g. the config.yaml of a run.")
    return parser


def pretrain_config(verb: str, description: str, arguments: list[str]) -> PretrainConfig:
    """The settings of a pretraining run."""
    hint = "Options may be written without their group: --batch_size 4 is --data.batch_size 4."
    parser = make_parser(verb, f"{description} {hint}")
    groups = _add_pretrain_groups(parser)
    chosen = parser.instantiate(parse(parser, arguments))
    return PretrainConfig(**{group: chosen[group] for group in groups})


def tune_config(description: str, arguments: list[str]) -> tuple[PretrainConfig, SpaceConfig, TuneConfig]:
    """The settings of a study: what every trial has in common, what is searched, and how."""
    parser = make_parser("tune", f"{description} Settings that are not searched are those of `pretrain`.")
    parser.add_class_arguments(SpaceConfig, "space")
    parser.add_class_arguments(TuneConfig, "tune")
    groups = _add_pretrain_groups(parser)
    chosen = parser.instantiate(parse(parser, arguments))
    return PretrainConfig(**{group: chosen[group] for group in groups}), chosen.space, chosen.tune


def _add_pretrain_groups(parser: ArgumentParser) -> list[str]:
    groups = [field.name for field in fields(PretrainConfig)]
    for group in groups:
        parser.add_class_arguments(type(getattr(PretrainConfig(), group)), group)
    return groups


def chosen_settings(verb: Callable[[list[str]], int], arguments: list[str], **groups: type) -> Namespace:
    """The settings of a verb whose options are those of some classes."""
    parser = make_parser(verb.__name__, verb.__doc__ or "")
    for group, settings in groups.items():
        parser.add_class_arguments(settings, group)
    return parser.instantiate(parse(parser, arguments))


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse, with every mistake as one :class:`InputError` instead of a page of usage."""
    from jsonargparse import ArgumentError

    try:
        return parser.parse_args(list(spell_out(arguments, _flags(parser))))
    except ArgumentError as error:
        raise InputError(f"{error}\n`{parser.prog} --help` lists the options.") from error


def _flags(parser: ArgumentParser) -> dict[str, bool]:
    """Every grouped flag of a parser (`data.batch_size`), and whether it is a yes-or-no one."""
    return {action.dest: "true" in (action.metavar or "") for action in parser._actions if "." in action.dest}


OTHER_WORDS = {
    "checkpoint": ("visualize.model",),
    "data_dir": ("data.store", "finetune.store", "visualize.store", "source.input"),
    "learning_rate": ("optimizer.lr", "finetune.head_lr"),
    "pretrained_ckpt": ("finetune.model",),
}
"""Flags of the source guides whose settings have another name here: docs/from-the-guides.md says why."""


def spell_out(arguments: list[str], flags: dict[str, bool]) -> Iterator[str]:
    """Give each flag its group, and each bare yes-or-no flag its `true`: the guides' spelling works as it stands.

    >>> flags = {"data.batch_size": False, "data.pin_memory": True, "model.latent_dim": False}
    >>> " ".join(spell_out("--batch_size 4 --pin_memory --model.latent_dim=8".split(), flags))
    '--data.batch_size 4 --data.pin_memory true --model.latent_dim=8'
    """
    leaves: dict[str, list[str]] = {}
    for flag in flags:
        leaves.setdefault(flag.rpartition(".")[2], []).append(flag)
    for word, settings in OTHER_WORDS.items():
        leaves.setdefault(word, [flag for flag in settings if flag in flags])
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
