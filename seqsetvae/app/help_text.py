"""What `--help` prints: the settings that matter, the groups of the others, and all of them when asked.

`--help` a screenful, `--help GROUP` one group with every word of its docstrings, `--help all` everything.
"""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seqsetvae.errors import InputError

WIDTH = 110
COLUMN = 34
"""Where the explanations begin."""
SCREENFUL = 18
"""A verb with more settings shows `MOST_USED` first."""
PRETRAIN = (
    *("store", "max_epochs", "batch_size", "lr", "latent_dim", "max_beta", "beta_warmup_steps", "free_bits"),
    *("on_collapse", "resume_from_checkpoint", "run_name", "tracking_uri"),
)
MOST_USED: Mapping[str, tuple[str, ...]] = {
    "pretrain": PRETRAIN,
    "check": PRETRAIN,
    "tune": (
        *("study", "n_trials", "n_workers", "storage", "join", "goal", "max_beta_range", "free_bits_range"),
        *("warmup_range", "lr_range", "latent_dims", "store", "max_epochs"),
    ),
    "finetune": (
        *("model", "store", "head_input", "unfreeze", "backbone_lr", "head_lr", "max_epochs", "loss", "n_seeds"),
        *("label_share", "from_scratch", "monitor"),
    ),
}
"""By verb, without their groups. Those that a verb does not have are passed over."""


@dataclass(frozen=True)
class Setting:
    """One option of a verb."""

    group: str
    name: str
    takes: str
    """What its value looks like."""
    text: str
    """Its docstring."""
    default: object
    required: bool

    def lines(self, whole: bool, grouped: bool) -> Iterator[str]:
        """The flag and its explanation, `whole` or only the first sentence of it."""
        flag = (
            f"  --{self.group}.{self.name} {self.takes}" if grouped and self.group else f"  --{self.name} {self.takes}"
        )
        text = self.text if whole else first_sentence(self.text)
        told = whole and self.default is None and not self.required  # the docstring says it itself
        said = " ".join(f"{text} {'' if told else self.standing}".split())
        wrapped = textwrap.wrap(said, WIDTH - COLUMN, break_long_words=False, break_on_hyphens=False) or [""]
        if len(flag) > COLUMN - 2:
            yield flag
            flag = ""
        yield f"{flag:<{COLUMN}}{wrapped[0]}"
        yield from (" " * COLUMN + line for line in wrapped[1:])

    @property
    def standing(self) -> str:
        """What holds where it is left out."""
        if self.required:
            return "(required)"
        if self.default is None:  # docstrings say what then happens
            said = re.search(r"\bNone: (.+?)\.(?: |$)", " ".join(self.text.split()))
            return f"[{said[1]}]" if said else ""
        return f"[{_shown(self.default)}]"


def asked_for(arguments: list[str]) -> str | None:
    """The topic behind `--help` or `-h`: a group, `all`, or '' where none is named. None: nobody asked.

    >>> asked_for(["--batch_size", "4", "--help", "model"]), asked_for(["-h"]), asked_for(["--lr", "1"])
    ('model', '', None)
    """
    for position, argument in enumerate(arguments):
        if argument in ("--help", "-h"):
            following = arguments[position + 1 : position + 2]
            return following[0] if following and not following[0].startswith("-") else ""
    return None


def help_text(verb: str, description: str, groups: Mapping[str, str], settings: Iterable[Setting], topic: str) -> str:
    """The page.

    Args:
        verb: as it is typed.
        description: what it does.
        groups: the title of each group by its name.
        settings: all of them, in order.
        topic: see :func:`asked_for`.

    Raises:
        InputError: there is no such topic.
    """
    settings = list(settings)
    if topic not in ("", "all", *groups):
        raise InputError(
            f"There is no help on {topic!r}{did_you_mean(topic, ('all', *groups))} "
            f"`--help` can be followed by {', '.join(groups)} or all."
        )
    lines = [f"usage: seqsetvae {verb} [options]", "", *textwrap.wrap(" ".join(description.split()), WIDTH), ""]
    if topic:
        for group in groups if topic == "all" else (topic,):
            lines.append(f"{group}: {groups[group]}")
            lines += [line for one in settings if one.group == group for line in one.lines(whole=True, grouped=True)]
            lines.append("")
        return "\n".join(lines).rstrip()
    short = len(settings) > SCREENFUL
    chosen = MOST_USED.get(verb) if short else None
    by_name = {one.name: one for one in settings}
    shown = [by_name[name] for name in chosen if name in by_name] if chosen else settings
    if not chosen and short:  # where a run is recorded comes last and is the same for all verbs
        shown = [one for one in settings if one.group != "tracking"]
    for one in shown:
        lines += one.lines(whole=False, grouped=False)
    lines += _line("--config FILE", "YAML file with settings, e.g. the config.yaml of a run.")
    lines += _line("--print_config", "Print all settings as they would be, and end.")
    if len(shown) < len(settings):
        lines += ["", "More settings, by group (`--help GROUP` explains them, `--help all` all of them):"]
        for group, title in groups.items():
            count = sum(one.group == group for one in settings)
            lines += _line(group, f"{count}: {first_sentence(title)}")
        lines.append("\nA setting may be written with its group or without: --batch_size 4 is --data.batch_size 4.")
    return "\n".join(lines)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a thought.

    >>> first_sentence("Rate of the head, e.g. 1e-3. The backbone has its own.")
    'Rate of the head, e.g. 1e-3.'
    """
    return re.split(r"(?<=[^.]{2}\.) (?=[A-Z`])", " ".join(text.split()), maxsplit=1)[0]


def in_words(hint: Any) -> str:
    """A type as a person would write a value of it.

    >>> in_words(int | None), in_words(bool), in_words(typing.Literal["warn", "stop"]), in_words(tuple[float, float])
    ('N', 'true|false', 'warn|stop', '[X, X]')
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return "|".join(dict.fromkeys(in_words(one) for one in inner if one is not type(None)))
    if origin in (list, tuple, set) or (origin is not None and hasattr(origin, "__iter__")):
        named = [in_words(one) for one in inner if one is not Ellipsis]
        return (
            f"[{', '.join(named)}]"
            if origin is tuple and Ellipsis not in inner
            else f"[{named[0] if named else ''}, ...]"
        )
    return {int: "N", float: "X", bool: "true|false"}.get(hint, "TEXT")


def in_full(hint: Any) -> str:
    """What a value of a type must be, as a sentence of a refusal says it.

    >>> in_full(int | None), in_full(typing.Literal["warn", "stop"])
    ('a whole number, or null', 'warn or stop')
    >>> in_full(tuple[float, float]), in_full(list[float])
    ('two numbers such as [1e-4, 1e-2]', 'numbers such as [1, 6, 24]')
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(filter(None, [", ".join(map(str, inner[:-1])), str(inner[-1])]))
    if origin in (typing.Union, types.UnionType):
        some = " or ".join(dict.fromkeys(in_full(one) for one in inner if one is not type(None)))
        return f"{some}, or null" if type(None) in inner else some
    if inner and set(inner) - {Ellipsis} <= {int, float}:
        return "two numbers such as [1e-4, 1e-2]" if len(inner) == 2 else "numbers such as [1, 6, 24]"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(hint, in_words(hint))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest known word.

    >>> did_you_mean("pretrian", ["prepare", "pretrain"])
    '. Did you mean pretrain?'
    >>> did_you_mean("xyz", ["prepare"])
    '.'
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f". Did you mean {near[0]}?" if near else "."


def _line(left: str, right: str) -> list[str]:
    wrapped = textwrap.wrap(right, WIDTH - COLUMN)
    return [f"  {left:<{COLUMN - 2}}{wrapped[0]}", *(" " * COLUMN + line for line in wrapped[1:])]


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return ", ".join(map(str, default)) if isinstance(default, tuple | list) else str(default)


def first_line(documented: Any) -> str:
    """What a list says of a function or class."""
    return (documented.__doc__ or "").strip().splitlines()[0]


def show_choices(word: str, what: str, known: Mapping[str, object], usage: str, more: str) -> int:
    """Print what there is to choose from, where a word is none of it. The exit code: 0 where it asks for help.

    Args:
        word: as it was typed.
        what: kind of thing it should be, such as a verb.
        known: the choices, each with what documents it.
        usage: how to write the command.
        more: a closing sentence.
    """
    width = max(map(len, known)) + 2
    listed = (f"  {name:<{width}}{first_line(documented)}" for name, documented in known.items())
    print(f"usage: seqsetvae {usage}\n", *listed, f"\n{more}", sep="\n")
    if word in ("--help", "-h"):
        return 0
    print(f"\nThere is no {what} {word!r}{did_you_mean(word, known)}", file=sys.stderr)
    return 2
