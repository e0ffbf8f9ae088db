"""External validation as a user types it: a model of one hospital, registered, and another hospital's patients."""

from __future__ import annotations

import shlex
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from seqsetvae.app.main import main
from seqsetvae.data.store import Store

QUIET = {
    "pretrain": "--log_system_metrics false --progress_bar false --plot_frequency 7",
    "finetune": "--log_system_metrics false --progress_bar false",
    "evaluate": "--log_system_metrics false",
}
SMALL = "--width 16 --latent_dim 8 --levels 1 --heads 2 --ff_dim 16 --history_layers 1 --batch_size 16 --max_epochs 1"
HOURS = 8


def seqsetvae(words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(f"{words} {QUIET.get(words.split(maxsplit=1)[0], '')}"))
    assert ended.value.code == 0


def cohort(root: Path, splits: dict[str, int], columns: dict[str, tuple[float, float]], seed: int) -> pd.DataFrame:
    """Stays of hourly measurements, mean + slope * severity, of which the severe ones mostly died; written as patient_ehr."""
    rng = np.random.default_rng(seed)
    frames: list[pd.DataFrame] = []
    outcomes: list[tuple[str, int]] = []
    for split, stays in splits.items():
        (root / split).mkdir(parents=True)
        for _ in range(stays):
            name, severity = f"{seed}{len(outcomes):04d}", rng.uniform(-1, 1)
            values = {
                one: mean + slope * (severity + rng.normal(0, 0.3, HOURS)) for one, (mean, slope) in columns.items()
            }
            wide = pd.DataFrame(values).assign(minute=60.0 * np.arange(HOURS))
            stay = wide.melt("minute", var_name="variable").astype({"variable": object})
            stay.to_parquet(root / split / f"{name}.parquet", index=False)
            frames.append(stay.assign(subject=name))
            outcomes.append((name, int(severity + rng.normal(0, 0.4) > 0)))
    pd.DataFrame(outcomes, columns=["ts_id", "in_hospital_mortality"]).to_csv(root / "oc.csv", index=False)
    return pd.concat(frames).assign(died=lambda events: events["subject"].map(dict(outcomes)))


@pytest.mark.slow
def test_a_model_of_one_hospital_on_the_patients_of_another(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    here = {"HR": (80.0, 20.0), "Lactate": (3.0, 1.0), "Temp": (37.0, 0.3), "Urine": (90.0, -40.0)}
    cohort(Path("here"), {"train": 120, "valid": 60, "test": 20}, here, seed=1)
    seqsetvae("prepare patient_ehr --input here --output own")
    seqsetvae(f"pretrain --store own {SMALL}")
    MlflowClient().set_registered_model_alias("seqsetvae", "champion", "1")
    settings = "--finetune.max_epochs 15 --head_lr 0.003 --head_input summaries"
    seqsetvae(f"finetune --model models:/seqsetvae@champion --store own {settings}")

    # One folder, Fahrenheit, no Urine, and a variable that the model has never seen.
    there = {"HR": (84.0, 20.0), "Lactate": (3.0, 1.0), "Temp": (98.6, 0.54), "EtCO2": (38.0, 5.0)}
    events = cohort(Path("there"), {"test": 80}, there, seed=2)
    model = "models:/seqsetvae-mortality/1"
    capsys.readouterr()
    seqsetvae(f"prepare patient_ehr --input there --output elsewhere --vocabulary_of {model}")
    said = capsys.readouterr().out
    assert f"{model} does not know (dropped): {80 * HOURS} of 1; EtCO2 ({80 * HOURS})" in said
    assert "variables of the model that no stay has: 1; Urine" in said
    assert f"far outside those of {model}, perhaps in another unit: Temp (100% of its values)" in said
    store = Store.open(Path("elsewhere"))
    assert store.splits == ("test",)
    assert store.n_events("test") == 80 * HOURS * 3

    seqsetvae(f"evaluate --model {model} --store elsewhere --split all --bootstrap 20")
    table = capsys.readouterr().out
    assert f"All splits of elsewhere: 80 stays, {events.groupby('subject')['died'].first().sum()} positive" in table
    found = MlflowClient().get_model_version("seqsetvae-mortality", "1").tags["all_auroc"]

    # What the served model says of the raw rows, scored by another library.
    known = events[events["variable"] != "EtCO2"]
    served = mlflow.pyfunc.load_model(model).predict(known[["subject", "minute", "variable", "value"]])
    assert served["warnings"].str.contains("Temp .* check its unit").all()
    died = served["subject"].map(events.groupby("subject")["died"].first())
    truth = roc_auc_score(died, served["risk"].astype(float))
    assert float(found.split()[0]) == pytest.approx(truth, abs=6e-4)
    assert truth > 0.8
