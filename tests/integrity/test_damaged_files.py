"""Flipped bits, cut-off and left-over files: found before anything is built on them, and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from seqsetvae.app.main import main
from seqsetvae.atomic import sweep
from seqsetvae.data.demo_store import demo_store, open_store
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import MANIFEST, VOCABULARY, Store
from seqsetvae.data.verified import verify
from seqsetvae.errors import InputError
from seqsetvae.training.checkpoint_writing import AtomicCheckpointIO
from seqsetvae.training.checkpoints import read_checkpoint
from seqsetvae.training.pretrained.exported import export, read_pretrained
from tests.integrity.planting import plant

FLIPS = 60


def flip(path: Path, bit: int) -> bytes:
    """Turn one bit of a file over; its content before. Neither its size nor its time tells."""
    before, times = path.read_bytes(), path.stat()
    content = bytearray(before)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return before


def bits_of(path: Path, count: int) -> list[int]:
    return np.random.default_rng(0).integers(0, 8 * path.stat().st_size, count).tolist()


def content(store: Store) -> list[object]:
    """Everything that a batch or a figure is made of."""

    def arrays(packed: Packed) -> list[object]:
        ids = [str(one) for one in packed.subject_id]
        rest = (
            packed.label_B,
            packed.first_set,
            packed.first_event,
            packed.minute_S,
            packed.variable_N,
            packed.value_N,
        )
        return [ids, *(one.tobytes() for one in rest)]

    shards = [arrays(store.shard(split, n)) for split in store.splits for n in range(len(store.shards(split)))]
    vocabulary = store.vocabulary
    return [vocabulary.names, vocabulary.center_V.tobytes(), vocabulary.spread_V.tobytes(), store.content_hash, shards]


@pytest.mark.parametrize("file", [MANIFEST, VOCABULARY, "train-00000.arrow", "valid-00000.arrow"])
def test_a_flipped_bit_of_a_store_is_found_or_changes_nothing(stays, file):
    store = Store.open(stays)
    whole = content(store)
    found = 0
    for bit in bits_of(stays / file, FLIPS):
        before = flip(stays / file, bit)
        try:
            damaged = Store.open(stays)
            verify(damaged, again=True)
            assert content(damaged) == whole, f"bit {bit} of {file}"
        except InputError as error:
            found += str(stays) in str(error)
        (stays / file).write_bytes(before)
    assert found == FLIPS or file == MANIFEST, "what stands in the manifest for people may change"


def test_the_first_opening_reads_every_byte_and_the_next_ones_none(stays, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = stays / "valid-00000.arrow"
    for file in stays.iterdir():
        file.chmod(0o444)
    stays.chmod(0o555)  # nothing is written into a store
    open_store(stays)
    assert list(json.loads((tmp_path / "cache" / "seqsetvae" / "verified.json").read_text())) == [str(stays)]
    shard.chmod(0o644)
    before = flip(shard, 5000)
    open_store(stays)  # by size and time it is the file that was verified
    os.utime(shard)
    with pytest.raises(InputError, match=r"valid-00000\.arrow was damaged or changed after it was prepared"):
        open_store(stays)
    shard.write_bytes(before)
    open_store(stays)
    stays.chmod(0o755)


def test_without_a_cache_every_opening_verifies(stays, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    open_store(stays)
    flip(stays / "test-00000.arrow", 8000)
    with pytest.raises(InputError, match=r"test-00000\.arrow"):
        open_store(stays)


def test_check_reads_every_byte_whatever_was_verified_before(stays, capsys):
    open_store(stays)
    flip(stays / "test-00000.arrow", 8000)
    with pytest.raises(SystemExit) as ended:
        main(["check", "--store", str(stays)])
    assert ended.value.code == 2
    assert "test-00000.arrow was damaged or changed" in capsys.readouterr().err


def test_a_damaged_demo_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = content(demo_store())
    [folder] = (tmp_path / "seqsetvae").glob("demo-*")
    flip(folder / "train-00000.arrow", 12345)
    os.utime(folder / "train-00000.arrow")
    assert content(open_store("demo")) == whole


def test_times_and_values_that_no_model_can_take_are_named_by_row_and_variable(stays):
    subject, variable = plant(stays, "valid", 7, value=np.inf)
    with pytest.raises(InputError, match=rf"row 7 of split 'valid' .* has a value of '{variable}' that is NaN") as said:
        open_store(stays)
    assert subject not in str(said.value)
    plant(stays, "valid", 7, value=1.0)
    plant(stays, "test", 19, minute=np.inf)
    with pytest.raises(InputError, match=r"row 19 of split 'test' .* has a time that is NaN or inf"):
        open_store(stays)


@pytest.mark.parametrize("file", [MANIFEST, VOCABULARY, "train-00000.arrow"])
def test_an_empty_file_of_a_store_is_named(stays, file):
    (stays / file).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{file.replace('.', '[.]')}: (empty|not readable)"):
        open_store(stays)


@pytest.fixture
def checkpoint(tmp_path: Path, untrained, stays: Path) -> Path:
    model = untrained(Store.open(stays).vocabulary)
    weights = {f"vae.{key}": value for key, value in model.vae.state_dict().items()}
    saved = {"seqsetvae": vars(model.recipe), "state_dict": weights, "global_step": 7}
    AtomicCheckpointIO().save_checkpoint(saved, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_flipped_bit_of_a_checkpoint_is_found_or_changes_nothing(checkpoint):
    whole = read_checkpoint(checkpoint)
    found = 0
    for bit in bits_of(checkpoint, 200):
        before = flip(checkpoint, bit)
        try:
            read = read_checkpoint(checkpoint)
            assert read.keys() == whole.keys()
            assert read["seqsetvae"] == whole["seqsetvae"], f"bit {bit}"
            assert all(torch.equal(one, whole["state_dict"][key]) for key, one in read["state_dict"].items()), (
                f"bit {bit}"
            )
        except InputError as error:
            found += str(checkpoint) in str(error)
        checkpoint.write_bytes(before)
    assert found > 100, "most of the file is weights and settings"


def test_a_damaged_checkpoint_is_refused_by_every_verb_that_reads_one(checkpoint, stays, capsys):
    content = checkpoint.read_bytes()
    at = content.index(b"vae.history") if b"vae.history" in content else len(content) // 2
    flip(checkpoint, 8 * at)
    for verb in (
        ["pretrain", "--store", str(stays), "--resume_from_checkpoint", str(checkpoint)],
        ["finetune", "--store", str(stays), "--model", str(checkpoint)],
        ["visualize", "--store", str(stays), "--model", str(checkpoint)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(verb)
        assert ended.value.code == 2
        assert "last.ckpt was damaged: the checksum of" in capsys.readouterr().err


def test_empty_files_are_called_empty(checkpoint, untrained, stays):
    checkpoint.write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.ckpt is empty: writing it was cut off"):
        read_checkpoint(checkpoint)
    export(untrained(Store.open(stays).vocabulary), Path("backbone"))
    Path("backbone/weights.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"weights\.safetensors is empty"):
        read_pretrained(Path("backbone"))


def test_what_dead_processes_left_half_written_is_swept(tmp_path):
    """A real process that is killed while it writes; one that lives, and a machine that shares the folder, keep theirs."""
    script = (
        "import os, signal, sys; from pathlib import Path; from seqsetvae.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "last.ckpt")], check=False)
    [left] = tmp_path.iterdir()
    alive = tmp_path / f".best.ckpt.{os.getppid()}.1.partial"
    alive.write_bytes(b"half")
    os.utime(alive, (0, 0))
    assert sweep(tmp_path) == [], "it may be of another machine, which writes at this moment"
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    assert sweep(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == [alive]
    assert sweep(tmp_path / "none") == []
