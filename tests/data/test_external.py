"""An external cohort is prepared as a model's own data were, and nothing of it that the model does not know is lost in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqsetvae.app.main import main
from seqsetvae.config import PretrainConfig
from seqsetvae.data.external import KnownVocabulary
from seqsetvae.data.packed import concatenate
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import PatientEhr, Synthetic
from seqsetvae.data.store import ALL, Store
from seqsetvae.errors import InputError
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import export, read_vocabulary
from tests.support.meds_data import write_meds


def cohort(root: Path, rows: dict[str, list[tuple[str, float, float]]]) -> PatientEhr:
    """One stay in each split: (variable, minute, value)."""
    for split in ("train", "valid", "test"):
        (root / "patient_ehr" / split).mkdir(parents=True)
        frame = pd.DataFrame(rows.get(split, [("EEG", 0, 1.0)]), columns=["variable", "minute", "value"])
        frame.to_parquet(root / "patient_ehr" / split / f"{split}-1.parquet", index=False)
    return PatientEhr(root)


@pytest.fixture
def known(synthetic_store: Store, untrained, tmp_path: Path) -> KnownVocabulary:
    """Of a model that was exported and read back: six variables, of which one may come without a number."""
    vocabulary = replace(synthetic_store.vocabulary, bare_V=np.arange(6) == 5, set_window=30.0)
    model = untrained(vocabulary)
    recipe = Recipe.of(PretrainConfig(model=model.config), vocabulary, 1, "0" * 32)
    export(replace(model, recipe=recipe), tmp_path / "model")
    return KnownVocabulary(str(tmp_path / "model"), read_vocabulary(tmp_path / "model"))


def test_the_models_own_data_come_out_as_they_were(tmp_path: Path, untrained) -> None:
    source = Synthetic(subjects=200, variables=6, sets=4, events_per_set=3)
    prepare(source, tmp_path / "own", progress=False)
    own = Store.open(tmp_path / "own")
    known = KnownVocabulary("m", own.vocabulary)
    prepare(source, tmp_path / "again", known=known, progress=False)
    again = Store.open(tmp_path / "again")
    assert again.content_hash == own.content_hash
    assert again.provenance["vocabulary_of"] == "m"


def test_what_the_model_does_not_know_is_left_out_and_counted(known: KnownVocabulary, tmp_path: Path) -> None:
    first, second, last = known.vocabulary.names[0], known.vocabulary.names[1], known.vocabulary.names[5]
    rows = {
        "train": [(first, 0, 1.0), ("EEG", 1, 5.0), ("EEG", 7, 5.0), (second, 29, 2.0), (second, 31, 3.0)],
        "valid": [("EEG", 0, 1.0)],
        "test": [(last, 0, float("nan")), (first, 5, float("nan")), (first, 200, 7.0)],
    }
    report = prepare(cohort(tmp_path / "raw", rows), tmp_path / "store", known=known, progress=False)
    store = Store.open(tmp_path / "store")
    assert store.splits == ("train", "test")
    assert store.vocabulary.names == known.vocabulary.names
    assert store.vocabulary.spread_V.tolist() == known.vocabulary.spread_V.tolist()
    packed = concatenate([store.shard(ALL, 0), store.shard(ALL, 1)])
    assert packed.variable_N.tolist() == [0, 1, 1, 5, 0]
    assert packed.minute_S.tolist() == [29.0, 31.0, 0.0, 200.0]  # windows of 30 minutes
    assert report.unknown_variables == {"EEG": 3, f"{first} without a number": 1}
    assert report.subjects_without_frequent_variable == 1
    assert report.absent_variables == list(known.vocabulary.names[2:5])
    table = pd.read_csv(tmp_path / "store" / "variables.csv").set_index("variable")
    assert table.loc[first, ["events", "with_number", "missing_in_stays", "median"]].tolist() == [2, 2, 0, 4.0]
    assert table.loc[last, ["events", "with_number", "missing_in_stays"]].tolist() == [1, 0, 0.5]
    assert np.isnan(table.loc[last, "median"])
    said = str(report)
    assert f"{known.model} does not know (dropped): 4 of 2; EEG (3), " in said
    assert "variables of the model that no stay has: 3; " in said


def test_another_unit_is_seen_against_the_models_percentiles(known: KnownVocabulary, tmp_path: Path) -> None:
    name = known.vocabulary.names[0]
    low, high = known.vocabulary.statistics.low_V[0], known.vocabulary.statistics.high_V[0]
    rows = {"train": [(name, 100.0 * n, high + (high - low)) for n in range(9)]}
    report = prepare(cohort(tmp_path / "raw", rows), tmp_path / "store", known=known, progress=False)
    assert report.far_from_train == {"train": {name: 1.0}}
    assert "perhaps in another unit" in str(report)


def test_what_the_model_decides_is_not_asked_for(known: KnownVocabulary, tmp_path: Path) -> None:
    source = cohort(tmp_path / "raw", {"train": [("EEG", 0, 1.0)]})
    for settings in ({"scaling": "stats"}, {"min_subjects": 5}, {"set_window": 5.0}):
        with pytest.raises(InputError, match="leave out --scaling, --min_subjects and --set_window"):
            prepare(source, tmp_path / "store", known=known, progress=False, **settings)
    with pytest.raises(InputError, match=r"knows no variable of any stay.*The stays have EEG"):
        prepare(source, tmp_path / "store", known=known, progress=False)
    assert not (tmp_path / "store").exists()


def test_meds_as_an_external_cohort_from_the_command_line(known: KnownVocabulary, tmp_path: Path, capsys) -> None:
    first, last = known.vocabulary.names[0], known.vocabulary.names[5]
    rows = [(1, 0.0, first, 3.0, None), (1, 60.0, last, None, None), (1, 60.0, "DRUG//1", None, None)]
    meds = write_meds(tmp_path / "meds", {"held_out/0": rows})
    words = [
        "prepare",
        "meds",
        "--input",
        str(meds),
        "--output",
        str(tmp_path / "store"),
        "--vocabulary_of",
        known.model,
    ]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert "does not know (dropped): 1 of 1; DRUG//1 (1)" in capsys.readouterr().out
    assert Store.open(tmp_path / "store").shard("test", 0).variable_N.tolist() == [0, 5]
    with pytest.raises(SystemExit) as ended:
        main([*words[:-1], "models:/nothing/1"])
    assert ended.value.code == 2
