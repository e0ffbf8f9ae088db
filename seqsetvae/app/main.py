"""Entry point of the command line, and what its exit codes mean."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import NoReturn

from seqsetvae import __version__
from seqsetvae.app.help_text import show_choices
from seqsetvae.app.verbs import VERBS
from seqsetvae.console import console
from seqsetvae.errors import InputError, RunFailure, StoppedBySignal
from seqsetvae.user import ensure_user

WORKING = {
    "prepare",
    "pretrain",
    "tune",
    "register",
    "finetune",
    "evaluate",
    "embed",
    "forecast",
    "impute",
    "export",
    "sync",
    "import-tensorboard",
}
"""Verbs that do more than print, and therefore go on when nobody reads any more, as behind `| head`."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `seqsetvae` and `python -m seqsetvae`. Exit code 2: something the user gave cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = arguments[0] if arguments else "--help"
    with console(outlives_readers=verb in WORKING, command_line=True):
        _run(verb, arguments[1:])


def print_completion(arguments: list[str]) -> int | None:
    """The script that completes a shell's command lines."""
    from seqsetvae.app.completion import script

    print(script(arguments[0] if arguments else ""))
    return None


def _run(verb: str, arguments: list[str]) -> NoReturn:
    if verb in ("--version", "-V"):
        print(f"seqsetvae {__version__}")
        sys.exit(0)
    if verb not in (*VERBS, "--completion"):
        about = "SeqSetVAE pretraining, watched for posterior collapse, tracked in MLflow."
        more = "`seqsetvae VERB --help` lists the options of a verb; `seqsetvae --completion bash` (or zsh) completes them."
        sys.exit(show_choices(verb, "verb", VERBS, f"VERB [options]\n\n{about}", more))
    try:
        ensure_user()
        code = VERBS.get(verb, print_completion)(arguments)
        sys.stdout.flush()
        sys.exit(code or 0)
    except InputError as error:
        # What was given is shown by its beginning: it can be longer than a screen.
        print(re.sub(r"(\S{60})\S{240,}", r"\1…", f"seqsetvae {verb}: {error}"), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever reads, such as `| head`, has seen enough; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"seqsetvae {verb}: {str(error.filename)[:60]}…: longer than any name of a file can be.", file=sys.stderr)
        sys.exit(2)
    except RunFailure as error:
        print(f"seqsetvae {verb}: {error}", file=sys.stderr)
        sys.exit(1)
    except StoppedBySignal as stop:
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
