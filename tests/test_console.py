"""What is said is logged: shown on the terminal by the one handler, or left to the logging that a program has set up."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from seqsetvae.console import ALERTS, attach, console

LOG = logging.getLogger("seqsetvae.some.module")
SCRIPT = """
import logging, sys
if "configured" in sys.argv:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
import seqsetvae
config = seqsetvae.PretrainConfig(data=seqsetvae.DataConfig(store="nowhere"))
try:
    seqsetvae.pretrain(config)
except ValueError:
    logging.getLogger("seqsetvae.training.fit").info("refused")
"""


@pytest.fixture
def own_logging() -> Iterator[StringIO]:
    """A program that logs for itself: what its handler gets."""
    written = StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)
    attach()


def test_news_goes_to_one_stream_and_trouble_to_the_other(capsys):
    LOG.info("a %s\n  of two lines", "message")
    LOG.debug("not for users")
    LOG.warning("trouble")
    ALERTS.warning("collapse!")
    assert capsys.readouterr() == ("a message\n  of two lines\ncollapse!\n", "trouble\n")


def test_a_program_with_logging_of_its_own_gets_records_and_nothing_is_printed(capsys, own_logging):
    logging.getLogger().setLevel(logging.WARNING)
    with console():
        LOG.info("below the program's level")
        LOG.warning("trouble")
        ALERTS.warning("collapse!")
    assert own_logging.getvalue() == "WARNING trouble\nWARNING collapse!\n"
    assert capsys.readouterr() == ("", "")


def test_the_command_line_speaks_whatever_a_library_does_to_the_root_logger(capsys, own_logging):
    with console(command_line=True):
        LOG.info("news")
    assert (capsys.readouterr().out, own_logging.getvalue()) == ("news\n", "")


def test_logging_that_is_set_up_between_two_calls_takes_over(capsys):
    LOG.info("shown")
    root, written = logging.getLogger(), StringIO()
    handler = logging.StreamHandler(written)
    root.addHandler(handler)
    LOG.info("recorded")
    root.removeHandler(handler)
    assert (capsys.readouterr().out, written.getvalue()) == ("shown\n", "recorded\n")


def test_nobody_reads_and_the_work_goes_on(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with console():
            for _ in range(3):
                LOG.info("läuft ✅")
        monkeypatch.undo()


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("how", "out", "err"),
    [("plain", "refused\n", ""), ("configured", "", "INFO seqsetvae.training.fit: refused\n")],
)
def test_a_script_hears_what_is_said_once(how, out, err, tmp_path):
    """A whole program, by which the tests above, of the handler within one, hold."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (out, err)
