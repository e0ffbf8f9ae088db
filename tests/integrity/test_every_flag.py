"""Every flag of every verb, as its parser has them, with values that are none: a word that names it, exit code 2, nothing written."""

from __future__ import annotations

import itertools
import os
import signal
import typing
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqsetvae.app import arguments, verbs
from seqsetvae.cli import main

SECONDS = 60
"""After which a command has hung, also on a busy machine and while it loads its libraries."""
VERBS = {
    "pretrain": "--store no/such",
    "check": "--store no/such",
    "tune": "--store no/such",
    "register": "--run no_such",
    "finetune": "--model no/such.ckpt",
    "evaluate": "--model no/such.ckpt",
    "certify": "--only no_such",
    "analyze": "--run no_such",
    "visualize": "--model no/such.ckpt",
    "monitor": "--run no_such",
    "embed": "--model no/such.ckpt",
    "forecast": "--model no/such.ckpt",
    "impute": "--model no/such.ckpt",
    "export": "--model no/such.ckpt",
    "import-tensorboard": "--log_dir no/such",
    "bench": "--only no_such",
    "prepare patient_ehr": "--input no/such --output out",
    "prepare physionet2012": "--input no/such --output out",
    "prepare meds": "--input no/such --output out",
    "prepare synthetic": "--output folder.parquet",
    "prepare demo": "--output folder.parquet",
}
"""What makes each verb end with a refusal before it does any work, whatever its other flags are. `sync` has only settings of others."""
LONG = "x" * 5000
SOME = 1
"""Of the values that a number or a choice should not be, a flag gets so many in turn; paths and names get all of theirs."""
WORDS = ["", LONG, "é" * 3000, "a\0b", "\udcff", "\ud800", "folder.parquet", "file.ckpt", "pipe.parquet", "pipe"]
UNLIKELY = ["-1", "99999999999999999999", "0"]
NO_NUMBERS = itertools.cycle(
    ["", "nan", "two", "-1", "1e400", LONG, "[", "99999999999999999999", "[1,nan]", "0", "null"]
)
NO_CHOICES = itertools.cycle(["", "nope", LONG, "\udcff", "2", "[true]", "{a: 1}"])


def test_no_verb_is_left_out() -> None:
    from seqsetvae.data.sources import SOURCES

    assert {name.split()[0] for name in VERBS} == set(verbs.VERBS) - {"sync"}
    assert {name.split()[1] for name in VERBS if " " in name} == set(SOURCES)


def nasty(hint: Any) -> Iterator[tuple[str, bool]]:
    """Values for a setting of a type, and whether each has to be refused for its own sake."""
    kinds = set(typing.get_args(hint) or (hint,))
    optional = type(None) in kinds
    if kinds & {str, Path}:
        words = WORDS if str in kinds else WORDS[1:]
        yield from ((word, not word or len(word) > 255 or not word.isprintable()) for word in words)
    elif typing.get_origin(hint) is typing.Literal or bool in kinds:
        yield from ((next(NO_CHOICES), True) for _ in range(SOME))
    else:
        words = [next(NO_NUMBERS) for _ in range(SOME)]
        yield from ((word, word not in UNLIKELY and not (optional and word == "null")) for word in words)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that a path should not be, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "SEQSETVAE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "folder.parquet" / "full").mkdir(parents=True)
    (tmp_path / "file.ckpt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.parquet")
    return tmp_path


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says to its refusal. Anything but exit code 2, and in time, is a failure."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{words}: longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with pytest.raises(SystemExit) as ended:
            main(words)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    told = capsys.readouterr().err
    assert ended.value.code == 2, (words, told)
    assert "Traceback" not in told
    assert len(told) < 900, (words, told)
    return told


def flags_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The type of every flag of a verb, as its own parser has them."""
    found: dict[str, Any] = {}

    def read(parser: Any, given: list[str]) -> Any:
        found.update(arguments._types(parser))
        raise SystemExit(2)

    with monkeypatch.context() as here, pytest.raises(SystemExit):
        here.setattr(arguments, "parse", read)
        main(words)
    return found


SWEPT: dict[str, str] = {}
"""The verb that has tried a flag: settings that several verbs share are read by the same class."""


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_refused_by_its_name_or_taken(verb, place, monkeypatch, capsys) -> None:
    base = [*verb.split(), *VERBS[verb].split()]
    usual = said(base, capsys)
    there = sorted(path.name for path in place.iterdir())
    for flag, hint in flags_of(base, monkeypatch).items():
        assert "Unvalidated" not in str(hint), f"nothing checks --{flag}"
        if SWEPT.setdefault(flag, verb) != verb:
            continue
        for value, refused in nasty(hint):
            told = said([*base, f"--{flag}={value}"], capsys)
            named = flag.rpartition(".")[2] in told or (value and value[:40] in told)
            assert named or (told == usual and not refused), (flag, value[:40], told)
    assert sorted(path.name for path in place.iterdir()) == there


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_null_in_a_file_for_what_has_to_be_there_names_the_flag(verb, place, monkeypatch, capsys) -> None:
    base = [*verb.split(), *VERBS[verb].split()]
    needed = [flag for flag, hint in flags_of(base, monkeypatch).items() if type(None) not in typing.get_args(hint)]
    for flag in [one for one in needed if f"--{one.rpartition('.')[2]}" not in base][::9]:
        group, _, name = flag.partition(".")
        (place / "settings.yaml").write_text(yaml.safe_dump({group: {name: None}}))
        assert f"--{flag} is null, but must be " in said([*base, "--config", "settings.yaml"], capsys)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_any_value_of_any_setting_in_a_file_is_taken_or_refused(verb, place, monkeypatch, capsys) -> None:
    base = [*verb.split(), *VERBS[verb].split()]
    flags = sorted(flag for flag in flags_of(base, monkeypatch) if f"--{flag.rpartition('.')[2]}" not in base)
    if not flags:
        return

    @settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(flag=st.sampled_from(flags), value=VALUES)
    def refused(flag: str, value: object) -> None:
        group, _, name = flag.partition(".")
        (place / "settings.yaml").write_text(yaml.safe_dump({group: {name: value}}), encoding="utf-8")
        said([*base, "--config", "settings.yaml"], capsys)

    refused()
