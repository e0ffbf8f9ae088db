"""From Python and from the command line, the same settings leave the same run behind, figures included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import seqsetvae
from seqsetvae import names
from seqsetvae.app.main import main

MODEL = {"width": 8, "latent_dim": 4, "levels": 1, "heads": 2, "ff_dim": 8, "history_layers": 1}
OBJECTIVE = {"beta_warmup_steps": 2}
TRAINER = {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "progress_bar": False}
MONITOR = {"update_frequency": 2, "check_frequency": 2, "plot_frequency": 5}
TRACKING = {"log_system_metrics": False, "run_name": "both ways", "register_model": False}


def as_flags(**settings: object) -> list[str]:
    return [
        word
        for name, value in settings.items()
        for word in (f"--{name}", str(value).lower() if value is False else str(value))
    ]


def artifacts(client: MlflowClient, run: Run, folder: str | None = None) -> set[str]:
    """Paths of all files of a run; a series of images counts once: while one is drawn, the next may be passed over."""
    found = set()
    for one in client.list_artifacts(run.info.run_id, folder):
        if one.is_dir:
            found |= artifacts(client, run, one.path)
        else:
            found.add(one.path.partition("+step+")[0])
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_a_pretraining_from_python_leaves_what_that_of_the_command_line_leaves(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    flags = as_flags(batch_size=64, **MODEL, **OBJECTIVE, **TRAINER, **MONITOR, **TRACKING)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *flags, "--work_dir", "cli"])
    assert ended.value.code == 0
    assert os.environ.pop("GOMP_SPINCOUNT") == "2500"
    config = seqsetvae.PretrainConfig(
        data=seqsetvae.DataConfig(batch_size=64),
        model=seqsetvae.ModelConfig(**MODEL),
        objective=seqsetvae.ObjectiveConfig(**OBJECTIVE),
        trainer=seqsetvae.TrainerConfig(**TRAINER),
        monitor=seqsetvae.MonitorConfig(**MONITOR),
        tracking=seqsetvae.TrackingConfig(**TRACKING, work_dir="python"),
    )
    result = seqsetvae.pretrain(config)
    assert os.environ["GOMP_SPINCOUNT"] == "2500"

    client = MlflowClient()
    there = {run.info.run_id: run for run in client.search_runs(["1"])}
    from_python = there.pop(result.run_id)
    [from_terminal] = there.values()
    assert from_python.info.status == from_terminal.info.status == "FINISHED"
    assert artifacts(client, from_python) == artifacts(client, from_terminal)
    assert {names.ARTIFACT_COLLAPSE_FIGURE, names.ARTIFACT_COLLAPSE_THUMBNAIL} <= artifacts(client, from_python)
    assert any(path.startswith("images/") for path in artifacts(client, from_python))
    assert from_python.data.metrics.keys() == from_terminal.data.metrics.keys()
    same = {names.VAL_LOSS, names.TRAIN_LOSS} & from_python.data.metrics.keys()
    assert [from_python.data.metrics[key] for key in same] == [from_terminal.data.metrics[key] for key in same]
    assert from_python.data.tags["mlflow.note.content"] == from_terminal.data.tags["mlflow.note.content"].replace(
        from_terminal.info.run_id, from_python.info.run_id
    )
