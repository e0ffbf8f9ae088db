"""`seqsetvae --completion SHELL`: a script that completes verbs, flags and choices in a shell, without starting Python for each."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser

import shtab

from seqsetvae.app.arguments import Listed
from seqsetvae.app.help_text import Setting, first_line, first_sentence
from seqsetvae.app.verbs import VERBS
from seqsetvae.data.sources import SOURCES
from seqsetvae.errors import InputError

SHELLS = ("bash", "zsh")
PATHS = (
    "store",
    "save_dir",
    "log_dir",
    "work_dir",
    "input",
    "output",
    "config",
    "checkpoint",
    "resume_from_checkpoint",
)
"""Settings whose values are files or folders."""


def script(shell: str) -> str:
    """For the startup of a shell, or its folder of completions.

    Raises:
        InputError: of a shell that is not known.
    """
    if shell not in SHELLS:
        raise InputError(f"the shell is {' or '.join(SHELLS)}, not {shell or 'left out'}.")
    parser = ArgumentParser("seqsetvae")
    verbs = parser.add_subparsers()
    for verb, function in VERBS.items():
        of_verb = verbs.add_parser(verb, help=first_line(function))
        if verb != "prepare":
            _add(of_verb, settings_of([verb]))
            continue
        kinds = of_verb.add_subparsers()
        for source, made_by in SOURCES.items():
            _add(kinds.add_parser(source, help=first_line(made_by)), settings_of([verb, source]))
    return shtab.complete(parser, shell)


def settings_of(words: list[str]) -> list[Setting]:
    """All settings of a verb."""
    try:
        VERBS[words[0]]([*words[1:], Listed.FLAG])
    except Listed as listed:
        return listed.settings
    raise AssertionError(f"{words[0]} has parsed nothing")


def _add(parser: ArgumentParser, settings: list[Setting]) -> None:
    """Each flag without its group and with it."""
    parser.add_argument("--config", default=SUPPRESS).complete = shtab.FILE  # type: ignore[attr-defined]
    parser.add_argument("--print_config", action="store_true", default=SUPPRESS)
    for one in settings:
        flags = [f"--{one.name}", *([f"--{one.group}.{one.name}"] if one.group else [])]
        choices = one.takes.split("|") if "|" in one.takes else None
        action = parser.add_argument(
            *flags, choices=choices, help=first_sentence(one.text).replace("%", "%%"), default=SUPPRESS
        )
        if one.name in PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
