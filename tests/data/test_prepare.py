"""What a store holds depends on the data alone: not on the order of rows, the size of chunks or shards, the time or the place."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsetvae.data import shard_writer
from seqsetvae.data.demo_store import demo_store, open_store
from seqsetvae.data.packed import Packed, write_packed
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import PatientEhr, Synthetic, patient_ehr
from seqsetvae.data.staging import staged_store
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError

Edit = Callable[..., Path]


def prepared(folder: Path, output: Path, **options: Any) -> Store:
    prepare(PatientEhr(folder), output, progress=False, **options)
    return Store.open(output)


def stays(folder: Path) -> list[Path]:
    return sorted(folder.glob("patient_ehr/*/*.parquet"))


def test_rows_in_any_order_make_the_same_store(ehr_folder: Path, tmp_path: Path) -> None:
    for path in stays(ehr_folder):
        frame = pd.read_parquet(path).drop_duplicates(["minute", "variable"], keep="last")
        frame.to_parquet(path, index=False)
    before = prepared(ehr_folder, tmp_path / "a")
    for seed, path in enumerate(stays(ehr_folder)):
        pd.read_parquet(path).sample(frac=1.0, random_state=seed).to_parquet(path, index=False)
    after = prepared(ehr_folder, tmp_path / "b")
    assert after.content_hash == before.content_hash


def test_the_data_report_is_that_of_pandas(ehr_folder: Path, tmp_path: Path) -> None:
    report = prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    packed = Store.open(tmp_path / "store").shard("train", 0)
    frame = pd.DataFrame(
        {
            "stay": np.repeat(np.arange(packed.n_subjects), np.diff(packed.events_before_B)),
            "set": np.repeat(np.arange(len(packed.minute_S)), np.diff(packed.first_event)),
            "minute": np.repeat(packed.minute_S, np.diff(packed.first_event)),
            "variable": packed.variable_N,
            "value": packed.value_N.astype(float),
        }
    )
    found, shares = report.splits["train"].quantiles, [0.05, 0.5, 0.95]
    by_stay = frame.groupby("stay")
    np.testing.assert_allclose(found["sets_per_stay"], by_stay["set"].nunique().quantile(shares))
    np.testing.assert_allclose(found["days"], (by_stay["minute"].max() / 1440).quantile(shares))
    per_set = frame.groupby("set").size()
    np.testing.assert_allclose(found["events_per_set"], np.quantile(per_set, shares, method="inverted_cdf"))
    table = pd.read_csv(tmp_path / "store" / "variables.csv")
    by_variable = frame.groupby("variable")
    assert table["events"].tolist() == by_variable.size().tolist()
    np.testing.assert_allclose(table["median"], by_variable["value"].median(), rtol=1e-4)
    np.testing.assert_allclose(
        table["missing_in_stays"], 1 - by_variable["stay"].nunique() / packed.n_subjects, atol=1e-4
    )
    assert "median (90 %): sets per stay " in str(report)
    page = (tmp_path / "store" / "report.html").read_text()
    by_size = table.sort_values("events", ascending=False, kind="stable")
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in re.findall(r"<tr>(.*)</tr>", page)]
    assert [[row[0], row[3]] for row in rows if len(row) == 9] == [
        [name, f"{split.events:,}"] for name, split in report.splits.items()
    ]
    assert [row[0] for row in rows if len(row) == 10] == by_size["variable"].tolist()


def test_small_chunks_make_the_same_store(ehr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepared(ehr_folder, tmp_path / "a")
    monkeypatch.setattr(patient_ehr, "EVENTS_PER_CHUNK", 1)  # one stay per chunk: names appear late and are renumbered
    after = prepared(ehr_folder, tmp_path / "b")
    assert after.content_hash == before.content_hash


def test_shard_size_changes_neither_statistics_nor_batches(ehr_folder: Path, tmp_path: Path) -> None:
    one = prepared(ehr_folder, tmp_path / "a")
    many = prepared(ehr_folder, tmp_path / "b", shard_events=500)
    assert len(one.shards("train")) == 1
    assert len(many.shards("train")) > 1
    for name in ("count_V", "min_V", "max_V", "median_V", "iqr_V"):
        left, right = (getattr(store.vocabulary.statistics, name) for store in (one, many))
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(one.vocabulary.statistics.std_V, many.vocabulary.statistics.std_V, rtol=1e-12)
    rows = np.arange(one.n_subjects("train"))
    whole = one.gather("train", 0, rows)
    parts = [many.gather("train", i, np.arange(shard.subjects)) for i, shard in enumerate(many.shards("train"))]
    np.testing.assert_array_equal(whole.value_N.numpy(), np.concatenate([part.value_N.numpy() for part in parts]))
    np.testing.assert_array_equal(whole.row_B.numpy(), np.concatenate([part.row_B.numpy() for part in parts]))


def test_of_repeated_measurements_the_last_recorded_stays(ehr_folder: Path, tmp_path: Path, edit_stay: Edit) -> None:
    before = prepare(PatientEhr(ehr_folder), tmp_path / "a", progress=False)
    path = edit_stay(lambda f: pd.concat([f, f.iloc[[0]].assign(value=111.0), f.iloc[[0]].assign(value=222.0)]))
    after = prepare(PatientEhr(ehr_folder), tmp_path / "a", progress=False)
    assert after.repeated_measurements == before.repeated_measurements + 2
    assert after.splits == before.splits
    store = Store.open(tmp_path / "a")
    batch = store.gather("train", 0, np.array([0]))
    first = pd.read_parquet(path).iloc[0]
    at = (batch.minute_S[batch.set_N] == first["minute"]) & (
        batch.variable_N == store.vocabulary.index(first["variable"])
    )
    raw = store.vocabulary.unscale(batch.variable_N[at].numpy(), batch.value_N[at].numpy())
    assert raw == pytest.approx([222.0], rel=1e-5)


def test_variables_that_train_lacks_are_dropped_counted_and_listed(
    ehr_folder: Path, tmp_path: Path, edit_stay: Edit
) -> None:
    clean = prepare(PatientEhr(ehr_folder), tmp_path / "a", progress=False)
    edit_stay(lambda f: pd.concat([f, f.iloc[[0, 1]].assign(variable="Ferritin")]), split="valid")
    report = prepare(PatientEhr(ehr_folder), tmp_path / "a", progress=False)
    assert report.unknown_variables == clean.unknown_variables | {"Ferritin": 2}
    assert report.splits == clean.splits
    assert "Ferritin (2)" in str(report)
    assert "Ferritin" not in Store.open(tmp_path / "a").vocabulary.names
    edit_stay(lambda f: f.assign(variable="Ferritin"), split="valid")
    with pytest.raises(InputError, match="no variable of this stay occurs in the train split"):
        prepare(PatientEhr(ehr_folder), tmp_path / "a", progress=False)


def test_the_vocabulary_has_seen_nothing_but_train(ehr_folder: Path, tmp_path: Path, edit_stay: Edit) -> None:
    before = prepared(ehr_folder, tmp_path / "a").vocabulary.to_table()
    for split in ("valid", "test"):
        edit_stay(lambda f: f.assign(value=1e6), split=split)
    assert prepared(ehr_folder, tmp_path / "a").vocabulary.to_table().equals(before)


def test_published_scaling_and_embedding_are_taken_over(ehr_folder: Path, tmp_path: Path) -> None:
    vocabulary = prepared(ehr_folder, tmp_path / "a", scaling="stats").vocabulary
    published = pd.read_csv(ehr_folder / "stats.csv").set_index("variable").loc[list(vocabulary.names)]
    np.testing.assert_array_equal(vocabulary.center_V, published["mean"])
    np.testing.assert_array_equal(vocabulary.spread_V, published["std"].where(published["std"] > 0, 1.0))
    assert (published["std"] == 0).any()
    embedding = pd.read_csv(ehr_folder / "cached.csv").set_index("Key").loc[list(vocabulary.names)]
    np.testing.assert_array_equal(vocabulary.embedding, embedding.to_numpy(np.float32))
    report = prepare(PatientEhr(ehr_folder), tmp_path / "a", scaling="stats", progress=False)
    assert any("standard deviation of 0; 1 is used" in warning for warning in report.warnings)


def test_the_folder_of_the_splits_itself_is_accepted(ehr_folder: Path, tmp_path: Path) -> None:
    outer, inner = prepared(ehr_folder, tmp_path / "a"), prepared(ehr_folder / "patient_ehr", tmp_path / "b")
    assert outer.content_hash == inner.content_hash


def fail_at_second_shard(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    real = write_packed

    def write(path: Path, packed: Packed) -> None:
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"half a sha")
            raise error
        real(path, packed)

    monkeypatch.setattr(shard_writer, "write_packed", write)


@pytest.mark.parametrize(
    ("error", "caught", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError, "the disk is full. .* nothing was changed"),
        (OSError(errno.EROFS, "Read-only file system"), InputError, "cannot be written .*Read-only"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failure_leaves_an_earlier_store_untouched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    caught: type[BaseException],
    message: str | None,
) -> None:
    prepare(Synthetic(subjects=50), tmp_path / "store", progress=False)
    before = Store.open(tmp_path / "store").content_hash
    fail_at_second_shard(error, monkeypatch)
    with pytest.raises(caught, match=message):
        prepare(Synthetic(subjects=60), tmp_path / "store", progress=False)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["store"]
    assert Store.open(tmp_path / "store").content_hash == before


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from seqsetvae.data.staging import staged_store\n"
            "with staged_store(Path(sys.argv[1])) as folder:\n"
            "    (folder / 'events').write_text('half'); print('written', flush=True); time.sleep(60)",
            str(tmp_path / "store"),
        ],
        stdout=subprocess.PIPE,
    )
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert len(list(tmp_path.glob("store.partial-*"))) == 1
    with staged_store(tmp_path / "store"):
        assert len(list(tmp_path.glob("store.partial-*"))) == 1  # its own
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_store_that_a_kill_left_moved_aside_comes_back_and_no_half_one_stays(tmp_path: Path) -> None:
    prepare(Synthetic(subjects=50), tmp_path / "store [1]", progress=False)
    before = Store.open(tmp_path / "store [1]").content_hash
    with subprocess.Popen(["true"]) as gone:
        pass
    left = f"{socket.gethostname()}-{gone.pid}"
    (tmp_path / "store [1]").rename(tmp_path / f"store [1].old-{left}")
    # As after a kill in a container: the one before had the number that this process has now.
    (tmp_path / f"store [1].partial-{socket.gethostname()}-{os.getpid()}").mkdir()
    with pytest.raises(RuntimeError, match="in the middle"), staged_store(tmp_path / "store [1]"):
        raise RuntimeError("in the middle")
    assert [path.name for path in tmp_path.iterdir()] == ["store [1]"]
    assert Store.open(tmp_path / "store [1]").content_hash == before


def test_a_store_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    prepare(Synthetic(subjects=50), tmp_path / "store", progress=False)
    prepare(Synthetic(subjects=60), tmp_path / "store", progress=False)
    assert Store.open(tmp_path / "store").n_subjects("train") == 38
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match="exists and is not a prepared store"):
        prepare(Synthetic(subjects=50), tmp_path / "other", progress=False)
    with pytest.raises(InputError, match="cannot be written"):
        prepare(Synthetic(subjects=50), tmp_path / "other" / "thesis.tex" / "store", progress=False)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_a_store_that_moved_or_was_made_again_has_the_same_hash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare(Synthetic(subjects=50, seed=1), tmp_path / name, progress=False)
    (tmp_path / "b").rename(tmp_path / "c")
    hashes = {Store.open(tmp_path / name).content_hash for name in ("a", "c")}
    prepare(Synthetic(subjects=50, seed=2), tmp_path / "a", progress=False)
    assert len(hashes) == 1
    assert Store.open(tmp_path / "a").content_hash not in hashes


def test_a_store_pickles_as_its_path(synthetic_store: Store) -> None:
    synthetic_store.labels("train")
    data = pickle.dumps(synthetic_store)
    assert len(data) < 1000
    again = pickle.loads(data)
    rows = np.array([5, 2])
    np.testing.assert_array_equal(
        again.gather("test", 0, rows).value_N, synthetic_store.gather("test", 0, rows).value_N
    )


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a prepared store"):
        Store.open(tmp_path)
    prepare(Synthetic(subjects=50), tmp_path / "store", progress=False)
    store = Store.open(tmp_path / "store")
    with pytest.raises(InputError, match="no split 'dev'; the store has train, valid, test"):
        store.n_subjects("dev")

    shard = tmp_path / "store" / "test-00000.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data[:-8])
    with pytest.raises(InputError, match=f"test-00000.arrow: {len(data) - 8} bytes long instead of {len(data)}"):
        Store.open(tmp_path / "store")
    shard.unlink()
    with pytest.raises(InputError, match=r"test-00000.arrow: missing"):
        Store.open(tmp_path / "store")
    shard.write_bytes(b"\0" * len(data))
    with pytest.raises(InputError, match=r"test-00000.arrow: not a readable shard"):
        Store.open(tmp_path / "store").labels("test")

    manifest = tmp_path / "store" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(
        InputError, match=r"store format 99, but this version reads 2. It was prepared by a newer seqsetvae"
    ):
        Store.open(tmp_path / "store")
    manifest.write_text("{")
    with pytest.raises(InputError, match=r"manifest.json: not readable"):
        Store.open(tmp_path / "store")


def test_the_demo_is_prepared_once_and_repaired_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = open_store("demo")
    assert [store.n_subjects(split) for split in store.splits] == [320, 80, 100]
    assert store.path.parent == tmp_path / "seqsetvae"
    made = (store.path / "manifest.json").stat().st_mtime_ns
    assert open_store("demo").content_hash == store.content_hash
    assert (store.path / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(InputError, match="set XDG_CACHE_HOME to one that can be written"):
        demo_store(store.path / "manifest.json")
    (store.path / "train-00000.arrow").unlink()
    assert demo_store(tmp_path / "seqsetvae").content_hash == store.content_hash


@pytest.mark.slow
def test_processes_that_prepare_the_demo_at_once_agree(tmp_path: Path) -> None:
    code = "from seqsetvae.data.demo_store import open_store; print(open_store('demo').n_events('train'))"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1
    assert len(list((tmp_path / "seqsetvae").glob("demo-*"))) == 1
