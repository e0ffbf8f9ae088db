"""Each source hands on what its raw data says: checked against raw data written here, or against planted truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqsetvae.data.demo_store import open_store
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import SPLITS, PhysioNet2012, Synthetic
from seqsetvae.data.sources.base import stratified_split
from seqsetvae.data.sources.demo import DEMO_FILE, make_demo
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import kind_of, open_task
from seqsetvae.errors import InputError

STAYS = 25
DESCRIPTORS = (
    "00:00,RecordID,{id}\n00:00,Age,70\n00:00,Gender,{gender}\n00:00,Height,-1\n00:00,ICUType,4\n00:00,Weight,-1\n"
)
EVENTS = "00:07,HR,90\n00:07,pH,733\n00:07,HR,{hr}\n47:58,MechVent,1\n01:10,Temp,-17.8\n"


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Sets a and b of 25 made-up stays each, one of five deceased."""
    root = tmp_path / "challenge"
    for first, name in ((1000, "a"), (2000, "b")):
        (root / f"set-{name}").mkdir(parents=True)
        outcomes = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
        for i in range(STAYS):
            body = DESCRIPTORS.format(id=first + i, gender=i % 2) + (EVENTS.format(hr=60 + i) if i else "")
            (root / f"set-{name}" / f"{first + i}.txt").write_text("Time,Parameter,Value\n" + body)
            outcomes.append(f"{first + i},6,1,5,-1,{int(i % 5 == 0)}")
        (root / f"Outcomes-{name}.txt").write_text("\n".join(outcomes) + "\n")
    return root


def stay(store: Store, subject_id: str) -> pd.DataFrame:
    """Raw events of one stay, as stored."""
    for split in store.splits:
        names = store.subject_ids(split, range(store.n_subjects(split)))
        if subject_id in names:
            batch = store.gather(split, 0, np.array([names.index(subject_id)]))
            variable = batch.variable_N.numpy()
            return pd.DataFrame(
                {
                    "minute": batch.minute_S[batch.set_N].numpy(),
                    "variable": [store.vocabulary.names[v] for v in variable],
                    "value": store.vocabulary.unscale(variable, batch.value_N.numpy()),
                }
            )
    raise AssertionError(f"{subject_id} is nowhere")


def test_physionet_rules(challenge: Path, tmp_path: Path) -> None:
    report = prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    store = Store.open(tmp_path / "store")
    assert store.vocabulary.names == ("Age", "Gender", "HR", "ICUType", "MechVent", "Temp", "pH")
    assert report.left_out_by_source == {"descriptors_not_known": 2 * 2 * STAYS}
    assert report.repeated_measurements == 2 * (STAYS - 1)

    events = stay(store, "1003")
    assert events["variable"].tolist() == ["Age", "Gender", "ICUType", "HR", "pH", "Temp", "MechVent"]
    assert events["minute"].tolist() == [0.0, 0.0, 0.0, 7.0, 7.0, 70.0, 2878.0]
    np.testing.assert_allclose(events["value"], [70, 1, 4, 63, 733, -17.8, 1], rtol=1e-5)
    assert stay(store, "2000")["variable"].tolist() == ["Age", "Gender", "ICUType"]

    shares = [(report.splits[split].subjects, report.splits[split].positive) for split in SPLITS]
    assert shares == [(32, 6), (8, 2), (10, 2)]


def test_rows_without_a_parameter_are_left_out_counted_and_the_rule_is_printed(challenge: Path, tmp_path: Path) -> None:
    """As 1,594 files of the published set c have them: none of these patients is lost."""
    clean = prepare(PhysioNet2012(challenge), tmp_path / "clean", progress=False)
    for name in ("1003", "2007"):
        path = challenge / f"set-{'a' if name < '2000' else 'b'}" / f"{name}.txt"
        path.write_text(path.read_text() + "05:00,,80\n06:00,,\n")
    report = prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    assert report.left_out_by_source == clean.left_out_by_source | {"rows_without_a_parameter": 4}
    assert report.splits == clean.splits
    assert "A row without a Parameter is left out" in str(report)
    assert Store.open(tmp_path / "store").content_hash == Store.open(tmp_path / "clean").content_hash


def test_a_bad_row_costs_itself_alone_where_that_is_wanted(challenge: Path, tmp_path: Path) -> None:
    clean = prepare(PhysioNet2012(challenge), tmp_path / "clean", progress=False)
    path = challenge / "set-a" / "1003.txt"
    path.write_text(path.read_text() + "07:00,HR,high\nseven,HR,80\n07:00,HR\n07:00,HR,nan\n")
    report = prepare(PhysioNet2012(challenge), tmp_path / "store", on_error="drop_row", progress=False)
    assert report.rows_dropped == {
        "row does not have 3 cells": 1,
        "value is not a number": 1,
        "minute is not HH:MM": 1,
        "value is not a finite number": 1,
    }
    assert (report.splits, report.quarantined, report.left_out_by_source) == (clean.splits, 0, clean.left_out_by_source)
    listed = pd.read_csv(tmp_path / "store" / "dropped_rows.csv", dtype=str)
    assert listed["subject_id"].tolist() == ["1003"] * 4
    assert [f"row {row}" in reason for row, reason in zip((14, 12, 13, 15), listed["reason"], strict=True)] == [
        True
    ] * 4
    assert Store.open(tmp_path / "store").content_hash == Store.open(tmp_path / "clean").content_hash


def test_the_split_depends_on_the_seed_alone(challenge: Path, tmp_path: Path) -> None:
    def train(seed: int) -> list[str]:
        prepare(PhysioNet2012(challenge, seed=seed), tmp_path / "store", progress=False)
        return Store.open(tmp_path / "store").subject_ids("train", range(32))

    assert train(0) == train(0) != train(1)


def test_every_class_is_divided_by_the_same_shares() -> None:
    label = np.array([0.0] * 1000 + [1.0] * 100 + [np.nan] * 50, np.float32)
    split = stratified_split(label, seed=4)
    for of_class, size in ((label == 0, 1000), (label == 1, 100), (np.isnan(label), 50)):
        np.testing.assert_array_equal(np.bincount(split[of_class]), np.array([0.64, 0.16, 0.20]) * size)


BAD_FILES = {
    "header": ("Time,Value\n00:00,1\n", "row 0: the header is"),
    "cells": ("Time,Parameter,Value\n00:00,Age,70\n00:07,HR\n", r"row 2: b'00:07,HR' does not have the 3 cells"),
    "time": ("Time,Parameter,Value\n00:00,Age,70\nseven,HR,80\n", r"row 2, column 'Time': 'seven' is not HH:MM"),
    "value": ("Time,Parameter,Value\n00:00,Age,70\n00:07,HR,high\n", r"row 2, column 'Value': 'high' is not a number"),
    "empty value": ("Time,Parameter,Value\n00:00,Age,\n", r"row 1, column 'Value': '' is not a number"),
    "nan": ("Time,Parameter,Value\n00:00,Age,70\n00:07,HR,nan\n", r"row 2, column 'value': nan is not a finite number"),
    "copied file": (
        "Time,Parameter,Value\n00:00,RecordID,1004\n00:07,HR,80\n",
        r"row 1, column 'Value': '1004' is not the RecordID in the name of the file",
    ),
    "no events": ("Time,Parameter,Value\n00:00,RecordID,1003\n00:00,Weight,-1\n", "the stay holds no event"),
    "nothing": ("", "row 0: the header is"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_record_is_refused_or_set_aside(challenge: Path, tmp_path: Path, case: str) -> None:
    text, message = BAD_FILES[case]
    (challenge / "set-a" / "1003.txt").write_text(text)
    with pytest.raises(InputError, match=rf"set-a/1003.txt.*{message}"):
        prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    report = prepare(PhysioNet2012(challenge), tmp_path / "store", on_error="quarantine", progress=False)
    assert report.quarantined == 1
    assert sum(split.subjects for split in report.splits.values()) == 2 * STAYS - 1
    np.testing.assert_allclose(stay(Store.open(tmp_path / "store"), "1004")["value"].iloc[3], 64, rtol=1e-5)


def test_what_is_not_the_challenge_is_refused(challenge: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder set-a, set-b or set-c"):
        prepare(PhysioNet2012(tmp_path / "nowhere"), tmp_path / "store", progress=False)
    (challenge / "set-b" / "1003.txt").write_text((challenge / "set-a" / "1003.txt").read_text())
    with pytest.raises(InputError, match=r"set-b/1003.txt: subject '1003' is also in .*set-a/1003.txt"):
        prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    (challenge / "set-b" / "1003.txt").unlink()
    (challenge / "Outcomes-b.txt").unlink()
    with pytest.raises(InputError, match=r"Outcomes-b.txt: no such file"):
        prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)


def test_the_demo_file_can_be_made_again(challenge: Path, tmp_path: Path) -> None:
    make_demo(PhysioNet2012(challenge), tmp_path / "demo.parquet", stays=25)
    frame = pd.read_parquet(tmp_path / "demo.parquet")
    assert list(frame.columns) == list(pd.read_parquet(DEMO_FILE).columns)
    stays = frame.groupby("subject_id")[["label", "split"]].first()
    assert stays["split"].value_counts().to_dict() == {"train": 16, "valid": 4, "test": 5}
    assert stays["label"].sum() == 5
    last = frame[(frame["variable"] == "HR") & (frame["minute"] == 7)].groupby("subject_id")["value"].last()
    assert all(value == 60 + int(str(name)) % 1000 for name, value in last.items())


def test_the_shipped_demo_is_small_and_keeps_wild_values(demo_frame: pd.DataFrame) -> None:
    assert DEMO_FILE.stat().st_size < 1_000_000
    assert demo_frame["subject_id"].nunique() == 500
    assert demo_frame.groupby("subject_id")["label"].first().mean() == pytest.approx(0.14, abs=0.005)
    assert not (demo_frame["variable"] == "RecordID").any()
    assert demo_frame["minute"].between(0, 2880).all()
    assert demo_frame["variable"].nunique() == 41


def test_synthetic_severity_can_be_read_off_the_values_and_drives_the_label(tmp_path: Path) -> None:
    source = Synthetic(subjects=600, severities=2, seed=3)
    prepare(source, tmp_path / "store", progress=False)
    store = Store.open(tmp_path / "store")
    batch = store.gather("train", 0, np.arange(store.n_subjects("train")))
    truth = source.severity("train")
    assert truth.shape == (batch.n_sets, 2)
    np.testing.assert_allclose(truth.var(axis=0), 1.0, atol=0.2)

    # Least squares per set: values = loadings . severity + noise, so severity comes back up to the noise.
    level, unit = source.units()
    variable = batch.variable_N.numpy()
    reading = (store.vocabulary.unscale(variable, batch.value_N.numpy()) - level[variable]) / unit[variable]
    residual = reading - (source.loadings()[variable] * truth[batch.set_N.numpy()]).sum(axis=1)
    assert residual.std() == pytest.approx(source.noise, rel=0.02)

    mean = np.bincount(batch.subject_S, truth[:, 0]) / np.bincount(batch.subject_S)
    label = batch.label_B.numpy()
    assert label.mean() == pytest.approx(source.prevalence, abs=0.02)
    above = (mean[label == 1][:, None] > mean[label == 0]).mean()
    assert above > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 0}, "--subjects is 0"),
        ({"events_per_set": 30}, "only 20 variables"),
        ({"prevalence": 1.0}, "--prevalence"),
    ],
)
def test_impossible_synthetic_options_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Synthetic(**options)


def test_how_long_stays_last_and_when_patients_die_is_written_beside_the_store(challenge: Path, tmp_path: Path) -> None:
    said = {  # length, survival, died -> cells behind the id
        "1000": ("5,-1,0", "5,0,0,72,0,0,0,0"),
        "1001": ("8,-1,0", "8,1,0,144,0,0,0,0"),
        "1002": ("20,6,1", "20,1,1,96,1,1,1,1"),  # died in hospital on the sixth day
        "1003": ("7,200,0", "7,0,0,120,0,0,0,1"),  # after discharge: seen until then
        "1004": ("-1,2,1", ",,1,0,1,1,1,1"),
        "1005": ("9,-1,1", "9,1,,,,,,"),  # when is not known
        "1006": ("-1,-1,0", ",,,,0,0,0,0"),
    }
    path = challenge / "Outcomes-a.txt"
    header, *lines = path.read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] not in said]
    path.write_text("\n".join([header, *(f"{name},6,1,{one}" for name, (one, _) in said.items()), *kept]) + "\n")
    prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    table = (tmp_path / "store" / "tasks.csv").read_text().splitlines()
    assert table[0] == (
        "subject,length_of_stay,long_stay,hospital_death,hospital_death_hours,"
        "death_7_days,death_30_days,death_90_days,death_365_days"
    )
    assert table[1:8] == [f"{name},{right}" for name, (_, right) in said.items()]
    assert len(table) == 1 + 2 * STAYS
    opened = open_store(str(tmp_path / "store"))
    labels = str(tmp_path / "store" / "tasks.csv")
    for task, kind in (("length_of_stay", "regression"), ("long_stay", "auto"), ("hospital_death", "auto")):
        found = kind_of(open_task(opened, labels, task, at_hours=None, kind=kind))
        assert found == {"length_of_stay": "regression", "long_stay": "binary", "hospital_death": "time_to_event"}[task]


def test_outcomes_without_lengths_make_no_table_of_tasks(challenge: Path, tmp_path: Path) -> None:
    for path in challenge.glob("Outcomes-*.txt"):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("\n".join(f"{row[0]},{row[-1]}" for row in rows) + "\n")
    prepare(PhysioNet2012(challenge), tmp_path / "store", progress=False)
    assert not (tmp_path / "store" / "tasks.csv").exists()
