"""Without an extra's libraries the core works, and what needs them says which extra brings them: at once, and nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import seqsetvae
from seqsetvae.app.main import main
from seqsetvae.errors import InputError
from seqsetvae.extras import LIBRARIES
from seqsetvae.tracking.connection.address import usable
from seqsetvae.training.monitor.notify import Notifier
from seqsetvae.tuning.storage import resolve_storage

ALL_LIBRARIES = sorted({library for libraries in LIBRARIES.values() for library in libraries})
POSTGRES = "postgresql://me:secret@127.0.0.1:9/mlflow"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Makes the libraries of an extra impossible to import, and forgets what has been imported with them."""

    def forget(extra: str) -> None:
        for library in LIBRARIES[extra]:
            monkeypatch.setitem(sys.modules, library, None)
        for name in [name for name in sys.modules if name.startswith("seqsetvae.tuning")] if extra == "tune" else []:
            monkeypatch.delitem(sys.modules, name)

    return forget


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("figures", ["visualize", "--visualize.model", "models:/seqsetvae/1"]),
        ("monitor", ["monitor", "--demo", "--web"]),
        ("notify", ["pretrain", "--monitor.notify", "json://127.0.0.1:9", "--max_steps", "1"]),
        ("postgres", ["pretrain", "--tracking.tracking_uri", POSTGRES]),
        ("postgres", ["analyze", "--tracking.tracking_uri", POSTGRES]),
        ("postgres", ["tune", "--tune.storage", POSTGRES]),
        ("tensorboard", ["import-tensorboard", "--log_dir", "."]),
        ("tune", ["tune"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_a_verb_says_which_extra_it_needs(extra, arguments, without, tmp_path, capsys):
    without(extra)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert f"pip install 'seqsetvae[{extra}]'" in said
    assert LIBRARIES[extra][0] in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "use"),
    [
        ("notify", lambda: Notifier("json://127.0.0.1:9")),
        ("postgres", lambda: usable(POSTGRES)),
        ("postgres", lambda: resolve_storage(POSTGRES)),
        ("tune", lambda: seqsetvae.tune),
    ],
)
def test_a_script_is_told_the_same(extra, use, without):
    without(extra)
    with pytest.raises(InputError, match=rf"pip install 'seqsetvae\[{extra}\]'"):
        use()


CORE = f"""
import json, sys
sys.modules.update(dict.fromkeys({ALL_LIBRARIES}))
from seqsetvae.app.main import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def core(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Commands one after the other where no extra is installed, up to one that fails."""
    return subprocess.run([sys.executable, "-c", CORE, json.dumps(commands)], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [["--help"], ["tune", "--help"], ["monitor", "--help"], ["visualize", "--help"]])
def test_help_needs_no_extra(arguments):
    done = core(arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: seqsetvae")


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_the_core_trains_and_is_looked_at(tmp_path):
    small = {"width": 16, "heads": 2, "latent_dim": 4, "levels": 1, "ff_dim": 16, "history_layers": 1, "max_steps": 3}
    small |= {"plot_frequency": 3}
    flags = [f"--{name}={value}" for name, value in small.items()]
    done = core(["pretrain", *flags], ["monitor", "--once"], ["analyze"])
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("report.html"))
