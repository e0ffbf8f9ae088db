"""Event files, written by PyTorch's own writer, into a real store and through `analyze`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorboard.summary
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.run_reader import open_runs
from seqsetvae.tracking.tensorboard.event_files import begun_in_order
from seqsetvae.tracking.tensorboard.importing import import_logs, read_logs

with warnings.catch_warnings():
    # Looks for NumPy's removed names when it is imported.
    warnings.simplefilter("ignore")
    from torch.utils.tensorboard import SummaryWriter

STEPS = range(0, 400, 10)
BEGAN = 1_700_000_000.0
"""Wall time of the first point, seconds; then one every two seconds."""


def train(folder: Path, steps: range = STEPS, kl: float = 5.0, **more: float) -> None:
    """The event file of a guides' training, whose KL is constant; another file where the folder has one."""
    with SummaryWriter(str(folder)) as writer:
        for number, step in enumerate(steps):
            scalars = {
                "train_loss_step": 30 - step / 50,
                "train_recon_step": 29 - step / 50,
                "train_kl_step": kl,
                **more,
            }
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, step, walltime=BEGAN + 2 * number)


def event_file(folder: Path) -> Path:
    [path] = folder.glob("*tfevents*")
    return path


def importing(log_dir: Path, store: str, on_error: str = "stop") -> list[str]:
    """What is said of each folder."""
    return [one.said for one in import_logs(TrackingConfig(tracking_uri=store), log_dir, on_error, progress=False)]


def histories(store: str, *only: str) -> dict[str, RecordedRun]:
    with open_runs(store) as opened:
        return {one.name: opened.read(one.run_id) for one in opened.listing() if one.name in only or not only}


def as_stored(store: str) -> dict[str, object]:
    """The same, in values that can be compared."""
    return {
        name: (
            one.run_id,
            one.status,
            one.tags,
            one.params,
            {key: kept.value_T.tolist() for key, kept in one.metrics.items()},
        )
        for name, one in histories(store).items()
    }


def test_every_point_arrives_with_its_step_and_time(tmp_path, store):
    logs = tmp_path / "lightning_logs"
    many = np.arange(10_500)
    with SummaryWriter(str(logs / "version_0")) as writer:
        for step in many.tolist():
            writer.add_scalar(names.TRAIN_RECON, 29 - step / 50, step, walltime=BEGAN + 2 * step)
    train(logs / "deep" / "er" / "version_1", kl=0.5)
    importing(logs, store)
    found = histories(store)
    assert set(found) == {"version_0", "deep/er/version_1"}
    kept = found["version_0"].metrics[names.TRAIN_RECON]
    assert len(kept) == len(many), "TensorBoard's accumulator would have kept 10,000"
    assert kept.step_T.tolist() == many.tolist()
    np.testing.assert_allclose(kept.value_T, 29 - many / 50, rtol=1e-6)
    np.testing.assert_allclose(kept.time_T, BEGAN + 2 * many)
    assert found["version_0"].start_time <= BEGAN
    assert found["version_0"].end_time >= BEGAN + 2 * many[-1]


def test_a_server_takes_it_too(tmp_path, server):
    train(tmp_path / "for_the_server")
    importing(tmp_path / "for_the_server", server.uri)
    assert "already imported" in importing(tmp_path / "for_the_server", server.uri)[0]
    assert histories(server.uri, "for_the_server")["for_the_server"].metrics[names.TRAIN_KL].step_T.tolist() == list(
        STEPS
    )


def test_what_means_the_same_gets_our_name(tmp_path, store):
    train(
        tmp_path / "logs",
        **{"train_beta": 0.1, "lr-AdamW": 1e-3, "val_pred": 0.4, "val_auc": 0.7, "mine": 1.0, "loss@2": 2.0},
        **{"posterior/kl_divergence": 5.0, "posterior/variance": 0.3, "active_ratio": 1.0, "recon_loss": 20.0},
    )
    importing(tmp_path / "logs", store)
    [run] = histories(store).values()
    assert set(run.metrics) == {
        *(names.TRAIN_LOSS, names.TRAIN_RECON, names.TRAIN_KL, names.BETA, names.LEARNING_RATE, names.FINETUNE_AUC),
        *(names.COLLAPSE_KL, names.COLLAPSE_VARIANCE, names.COLLAPSE_VARIANCE_RATIO, names.COLLAPSE_RECON),
        *(names.IMPORTED_PRED_LOSS, "mine", "loss_2"),
    }
    assert run.metrics[names.COLLAPSE_VARIANCE].value_T[0] == pytest.approx(0.3)
    assert run.tags[names.TAG_KIND] == "pretrain"
    assert run.tags[names.TAG_IMPORTED_FROM] == "logs"
    assert "`val_pred` is `val_pred_loss`" in run.tags["mlflow.note.content"]
    assert not [value for value in run.tags.values() if str(tmp_path) in value], "no whole path"


def test_settings_texts_and_images_come_along(tmp_path, store):
    folder = tmp_path / "logs"
    train(folder)
    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams({"max_beta": 0.5, "lr": 1e-3}, {}, run_name=".")
        writer.add_text("../note", "better *than* before", 20)
        writer.add_image("samples/first", np.zeros((3, 8, 8), np.uint8), 30)
        writer.add_histogram("weights", np.arange(9.0), 30)
    (folder / "hparams.yaml").write_text(
        "latent_dim: 32\nbetas: !!python/tuple\n- 0.9\n- 0.99\nmodel: !!python/object/apply:os.system ['touch harm']\n"
        "activation: !!python/name:torch.nn.GELU ''\n"
    )
    importing(folder, store)
    [run] = histories(store).values()
    assert run.params == {
        **{"objective/max_beta": "0.5", "optimizer/lr": "0.001", "model/latent_dim": "32", "betas": "[0.9, 0.99]"},
        **{"model": "['touch harm']", "activation": "torch.nn.GELU"},
    }
    assert not Path("harm").exists(), "nothing of the file is carried out"
    artifacts = Path(run.artifact_uri)
    files = sorted(path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*") if path.is_file())
    assert [name for name in files if name.startswith("images/samples~first+step+30+")]
    assert "tensorboard/hparams.yaml" in files
    assert (artifacts / "tensorboard" / "_" / "note.md").read_text() == "## Step 20\n\nbetter *than* before\n"
    assert "1 x histogram" in run.tags["mlflow.note.content"]


def test_scalars_that_are_written_as_tensors_are_scalars(tmp_path, store):
    writer = tensorboard.summary.Writer(str(tmp_path / "keras"))
    for step in range(3):
        writer.add_scalar("val_loss", step / 2, step)
    writer.close()
    importing(tmp_path / "keras", store)
    assert histories(store)["keras"].metrics[names.VAL_LOSS].value_T.tolist() == [0.0, 0.5, 1.0]


def test_importing_twice_does_nothing_and_growth_is_added(tmp_path, store):
    logs = tmp_path / "logs"
    train(logs / "version_0")
    train(logs / "version_1")
    importing(logs, store)
    before = as_stored(store)
    moved = logs.rename(tmp_path / "moved")
    assert all("already imported" in said for said in importing(moved, store))
    assert as_stored(store) == before

    train(moved / "version_1", steps=range(400, 500, 10))
    said = importing(moved, store)
    assert sum("30 points added" in one for one in said) == 1
    after = as_stored(store)
    assert after["version_0"] == before["version_0"]
    grown = histories(store)["version_1"]
    assert grown.run_id == before["version_1"][0]
    assert grown.metrics[names.TRAIN_KL].step_T.tolist() == list(range(0, 500, 10))
    assert len(MlflowClient(store).get_metric_history(grown.run_id, names.TRAIN_KL)) == 50, "no point twice"

    # A copy from before it grew knows less than the store.
    max((moved / "version_1").glob("*tfevents*"), key=begun_in_order).unlink()
    assert "nothing added" in importing(moved / "version_1", store)[0]
    assert as_stored(store) == after


def test_an_import_that_was_cut_off_is_completed(tmp_path, store):
    train(tmp_path / "logs")
    importing(tmp_path / "logs", store)
    [whole] = histories(store).values()
    client = MlflowClient(store)
    client.delete_tag(whole.run_id, names.TAG_IMPORT_CONTENT)
    client.delete_tag(whole.run_id, names.TAG_IMPORT_POINTS)
    client.update_run(whole.run_id, status="RUNNING")
    assert "completed" in importing(tmp_path / "logs", store)[0]
    [again] = histories(store).values()
    assert (again.run_id, again.status, again.metrics.keys()) == (whole.run_id, "FINISHED", whole.metrics.keys())
    assert len(client.get_metric_history(whole.run_id, names.TRAIN_KL)) == len(STEPS)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "cut off at byte"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30] + b"x" * 30), "at byte"),
        (lambda path: path.write_bytes(b"no event file, but a text as long as that"), "wrong checksum at byte 0 of 41, after 0"),
    ],
    ids=["truncated", "damaged", "text"],
)  # fmt: skip
def test_a_broken_file_is_named_and_nothing_is_imported(tmp_path, store, spoil, reason):
    logs = tmp_path / "logs"
    train(logs / "good")
    train(logs / "bad")
    broken = event_file(logs / "bad")
    spoil(broken)
    with pytest.raises(InputError, match="nothing was imported") as raised:
        importing(logs, store)
    assert f"bad/{broken.name}: " in str(raised.value)
    assert reason in str(raised.value)
    with open_runs(store) as opened:
        assert opened.listing() == []


def test_salvage_imports_what_stands_before_the_break(tmp_path, store):
    train(tmp_path / "logs")
    path = event_file(tmp_path / "logs")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    importing(tmp_path / "logs", store, on_error="salvage")
    [run] = histories(store).values()
    kept = run.metrics[names.TRAIN_KL]
    assert 0 < len(kept) < len(STEPS)
    assert kept.step_T.tolist() == list(STEPS)[: len(kept)]
    assert "Incomplete: " in run.tags["mlflow.note.content"]
    assert "cut off" in run.tags["mlflow.note.content"]
    assert path.name not in run.tags["mlflow.note.content"], "it names the machine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--log_dir nowhere", "--import.log_dir is 'nowhere', which does not exist"),
        ("--log_dir file", "which is a file"),
        ("--log_dir empty", "no file has 'tfevents' in its name"),
        ("--log_dir logs --tracking_uri http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("--log_dir bare", "hold no scalars"),
        ("--log_dir odd", "hparams.yaml holds no settings, but list"),
        ("", "import.log_dir"),
    ],
)
def test_what_cannot_be_imported_is_explained(tmp_path, store, arguments, said, capsys):
    Path("empty").mkdir()
    Path("file").touch()
    train(Path("logs"))
    SummaryWriter("bare").close()
    train(Path("odd"))
    Path("odd", "hparams.yaml").write_text("- 1\n")
    with pytest.raises(SystemExit) as ended:
        main(["import-tensorboard", *arguments.split(), "--import.progress", "false"])
    error = capsys.readouterr().err
    assert (ended.value.code, said in error, "Traceback" in error) == (2, True, False), error


def test_a_folder_with_files_of_a_live_training_is_read_as_it_stands(tmp_path):
    writer = SummaryWriter(str(tmp_path))
    writer.add_scalar("val_loss", 1.0, 1)
    writer.flush()
    [run] = read_logs(tmp_path, progress=False)
    writer.close()
    assert run.points == 1
    assert run.name == os.path.basename(tmp_path)


@pytest.mark.parametrize(("kl", "verdict"), [(1e-4, "Found: posterior collapse (red)"), (5.0, "Nothing found")])
def test_analyze_judges_an_imported_run_by_its_kl(tmp_path, store, kl, verdict, monkeypatch, capsys):
    """Collapse metrics of another monitor are shown, and no silence of ours is taken for health, nor a gap for a collapse."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monitored = {"kl_divergence": kl, "variance": 1.0 if kl < 1 else 0.1, "active_ratio": 1.0}
    train(Path("logs", "version_0"), kl=kl, **monitored)
    for arguments in (
        "import-tensorboard --log_dir logs --import.progress false",
        "analyze --run version_0 --save_dir out",
        "monitor --run version_0 --once",
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments.split())
        assert ended.value.code == 0
    said = capsys.readouterr().out
    assert verdict in said
    assert "Imported from event files: no monitor of ours has judged it" in said
    assert "Mutual information" not in said, "it was never measured"
    text = Path("out", "collapse_analysis.txt").read_text()
    assert "Mean posterior variance" in text
    assert "imported from event files" in text
    report = Path("out", "report.html").read_text()
    assert "imported from" in report
    assert "Lower" in report if kl < 1 else "Lower" not in report
