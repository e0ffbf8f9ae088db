"""No traceback for anything that a person can give: every flag of every verb, and every file of settings."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqsetvae.app.arguments import pretrain_config
from seqsetvae.app.main import main
from seqsetvae.config.given_values import check_settings_file
from seqsetvae.errors import InputError
from tests.support import commands

BAD_FILES = {
    "binary": b"\x80\xff\x00\x01",
    "latin": "data: {store: Küche}".encode("latin-1"),
    "list": b"- a\n- b\n",
    "scalar": b"nan",
    "nothing": b"",
    "unknown": b"data: {nope: 1}",
    "unknown group": b"nope: {a: 1}",
    "no group": b"data: 3",
    "list for a group": b"data: [1, 2]",
    "wrong type": b"data: {batch_size: [1, 2]}",
    "open bracket": b"trainer: {seed: [1",
    "code": b"data: !!python/object/apply:os.system [echo]",
    "deep": b"[" * 3000,
    "numbers as names": b"3: {a: 1}",
    "huge number": b"data: {batch_size: 99999999999999999999999999}",
    "bomb": b"a: &a [x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c]\n" % (i + 1, i + 1, i, i, i, i, i, i) for i in range(97, 121)),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_of_settings_that_is_none_is_named(what, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(BAD_FILES[what])
    with pytest.raises(InputError):
        pretrain_config("pretrain", "", ["--config", str(path)])


@pytest.mark.parametrize(("make", "said"), [(os.mkfifo, "a pipe or device"), (os.mkdir, "a folder")])
def test_what_is_no_file_is_refused_at_once(make, said, tmp_path, capsys):
    make(tmp_path / "settings.yaml")
    for flag in (["--config", str(tmp_path / "settings.yaml")], [f"--config={tmp_path / 'settings.yaml'}"]):
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", *flag])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--store", "x" * 300],
    ],
)
def test_the_command_says_it_in_words_with_exit_code_2(arguments):
    done = commands.run("pretrain", *arguments, "--accelerator", "cpu")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 600


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_as_a_file_of_settings_are_taken_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    with suppress(InputError):
        check_settings_file(path)
