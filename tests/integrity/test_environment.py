"""Places and environments as clusters and containers have them: no user, no home, no terminal, nobody who reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.app.main import main
from seqsetvae.config import PretrainConfig, TrackingConfig, TuneConfig
from seqsetvae.errors import InputError
from seqsetvae.streams import SteadyStream, steady_streams
from seqsetvae.tuning.job import folder_name
from tests.integrity.conftest import SETTINGS

SEQSETVAE = f"{sys.executable} -m seqsetvae"


def bare_environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Nothing that says who somebody is; caches and temporary files in the test's own folder."""
    kept = {key: os.environ[key] for key in ("PATH", "OMP_NUM_THREADS") if key in os.environ}
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return kept | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.getcwd()} | more


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Küche 日本 #1"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_an_unknown_user_without_home_whose_reader_has_gone_trains_to_the_end(stays, tmp_path, odd_folder):
    """A user of no password file, no HOME, no terminal, an ASCII stream, a pipe that is closed after its first line."""
    repository = Path(__file__).parents[2]
    environment = bare_environment(tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C") | {"PYTHONPATH": str(repository)}
    training = f"{SEQSETVAE} pretrain --store {stays} --run_name ../../läuft --work_dir 'aus gabe' {SETTINGS}"
    command = f"unshare --user --map-user=12345 {training} 2>err | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=odd_folder, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0", (odd_folder / "err").read_text()
    assert "Traceback" not in (odd_folder / "err").read_text()
    [made] = MlflowClient(f"sqlite:///{odd_folder / 'mlflow.db'}").search_runs(["1"])
    assert (made.info.status, made.info.run_name) == ("FINISHED", "../../läuft")
    assert sorted(path.name for path in odd_folder.iterdir()) == ["aus gabe", "err", "mlflow.db", "mlruns"]


@pytest.mark.nightly
def test_with_all_standard_streams_closed_a_training_ends_well_and_nothing_is_printed_into_its_files(
    stays, odd_folder, new_store
):
    new_store(odd_folder)
    command = f"exec {SEQSETVAE} pretrain --store {stays} {SETTINGS} --progress_bar true <&- >&- 2>&-"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(["bash", "-c", command], cwd=odd_folder, env=environment)
    assert done.returncode == 0
    [made] = MlflowClient(f"sqlite:///{odd_folder / 'mlflow.db'}").search_runs(["1"])
    assert made.info.status == "FINISHED"


def test_a_print_never_fails(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="ascii") as stream:
        steady = SteadyStream(stream, outlives_readers=True)
        for _ in range(3):
            print("läuft ✅", file=steady, flush=True)
    with open("/dev/full", "w", encoding="utf-8") as stream:
        full = SteadyStream(stream, outlives_readers=True)
        print("more than the disk takes", file=full, flush=True)
        full.let_go()
    with (tmp_path / "ascii").open("w", encoding="ascii") as stream:
        print("läuft ✅", file=SteadyStream(stream, outlives_readers=True))
    assert (tmp_path / "ascii").read_text() == "l\\xe4uft \\u2705\n"
    stream.close()
    print("closed", file=SteadyStream(stream, outlives_readers=True), flush=True)


def test_a_command_that_only_prints_ends_when_its_reader_has_gone():
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w", encoding="utf-8")  # noqa: SIM115
    steady = SteadyStream(stream, outlives_readers=False)
    with pytest.raises(BrokenPipeError):
        print("once", file=steady, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    stream.close()


def test_streams_are_put_back(capsys):
    before = sys.stdout
    with steady_streams(), steady_streams():
        print("seen")
    assert sys.stdout is before
    assert capsys.readouterr().out == "seen\n"


@pytest.mark.parametrize("name", ["../../icu/x", "/etc/x", "..", ".", "a/b", "%2F", "x" * 5000, "é" * 150, "C:\\x"])
def test_a_name_is_one_folder_below_the_place_it_belongs_to(name, tmp_path):
    (tmp_path / folder_name(name)).mkdir()
    assert len(list(tmp_path.iterdir())) == 1
    assert folder_name(name) != folder_name(f"{name}y")


@pytest.mark.nightly
def test_a_study_that_is_called_like_a_path_writes_below_the_work_folder_only(stays, tmp_path, capfd):
    """What makes a folder of such a name is asked above; here a whole search."""
    before = {path.name for path in tmp_path.iterdir()}
    flags = f"--store {stays} {SETTINGS} --beta_warmup_steps null --max_steps 5 --n_trials 1 --work_dir work".split()
    with pytest.raises(SystemExit):
        main(["tune", *flags, "--study", "../../icu/x"])
    capfd.readouterr()
    assert {path.name for path in tmp_path.iterdir()} - before <= {"work", "mlflow.db", "mlruns", "tune.db"}
    assert [path.name for path in (tmp_path / "work" / "tune").iterdir()] == ["..%2F..%2Ficu%2Fx"]
    assert not (tmp_path.parent / "icu").exists()
    assert not (tmp_path / "icu").exists()


@pytest.mark.parametrize("name", ["x" * 201, "two\nlines", "null\0", "lone \udcff"])
def test_names_that_no_page_can_show_are_refused(name):
    for make, flag in (
        (lambda: TuneConfig(study=name), "--tune.study"),
        (lambda: TrackingConfig(run_name=name), "--tracking.run_name"),
        (lambda: TrackingConfig(experiment=name), "--tracking.experiment"),
    ):
        with pytest.raises(InputError, match=flag) as said:
            make()
        assert len(str(said.value)) < 150
    assert PretrainConfig().tracking.run_name is None
