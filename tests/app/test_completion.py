"""What a shell completes after it has read the script: verbs, flags, choices."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from seqsetvae.app.completion import script


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "seqsetvae"
    file.write_text(script("bash"))
    return file


def completed(bash_script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    shown = """_shtab_seqsetvae; printf '%s\\n' "${COMPREPLY[@]}\""""
    code = f"source {bash_script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; {shown}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("seqsetvae", "pre"), {"prepare", "pretrain"}),
        (("seqsetvae", "prepare", "phys"), {"physionet2012"}),
        (("seqsetvae", "prepare", "meds", "--out"), {"--output"}),
        (("seqsetvae", "pretrain", "--max_e"), {"--max_epochs", "--max_events_per_batch"}),
        (("seqsetvae", "pretrain", "--trainer.max_e"), {"--trainer.max_epochs"}),
        (("seqsetvae", "pretrain", "--on_collapse", ""), {"warn", "stop", "rescue"}),
        (("seqsetvae", "finetune", "--conf"), {"--config"}),
    ],
    ids=lambda one: " ".join(sorted(one)),
)
def test_bash_completes(bash_script, words, offered):
    assert completed(bash_script, *words) == offered


def test_zsh_gets_a_script_of_its_own_kind():
    text = script("zsh")
    assert text.startswith("#compdef seqsetvae")
    assert "on_collapse" in text
    if (zsh := shutil.which("zsh")) is not None:
        assert subprocess.run([zsh, "-n"], input=text, text=True, capture_output=True).stderr == ""
