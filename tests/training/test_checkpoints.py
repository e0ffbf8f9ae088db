"""Checkpoints: which ones a run leaves, that nothing is half-written, and that they alone rebuild the model."""

from __future__ import annotations

import signal
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError
from seqsetvae.training.checkpoint_writing import AtomicCheckpointIO
from seqsetvae.training.checkpoints import load_model, read_checkpoint
from seqsetvae.training.fit import pretrain
from seqsetvae.training.signals import Signals, StoppedAtOnce


def test_a_finished_run_leaves_last_best_and_final_which_rebuild_the_model(tiny, capsys):
    result = pretrain(tiny)
    folder = result.final_checkpoint.parent
    names = sorted(path.name for path in folder.iterdir())
    assert names[2:] == ["early_0000001.ckpt", "final_0000020.ckpt", "last.ckpt"]
    assert len(names) == 5
    assert all(name.startswith("best_00000") for name in names[:2])
    best = min(names[:2], key=lambda name: float(name.split("_")[2].removesuffix(".ckpt")))
    assert f"Best:  {best}, of step {int(best.split('_')[1])}, by its validation NLL of " in capsys.readouterr().out

    batch = open_store("demo").gather("valid", 0, np.arange(5))
    vae, recipe = load_model(folder / "last.ckpt")
    again, _ = load_model(result.final_checkpoint)
    assert not vae.training
    assert recipe.run_id == result.run_id
    assert recipe.variables == list(open_store("demo").vocabulary.names)
    noise = torch.randn(batch.n_sets, tiny.model.latent_dim)
    with torch.no_grad():
        torch.testing.assert_close(vae(batch, noise).elbo_B(batch), again(batch, noise).elbo_B(batch), rtol=0, atol=0)
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 20


def test_a_failed_write_leaves_the_earlier_checkpoint_untouched(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"seqsetvae": {}, "x": torch.ones(2)}, path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        AtomicCheckpointIO().save_checkpoint({"x": _CannotBeSaved()}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class _CannotBeSaved:
    def __reduce__(self):
        raise TypeError("no")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    torch.save({"seqsetvae": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"evil\.ckpt cannot be read.*pickled code, which is never run"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"seqsetvae": {}, "x": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read as a checkpoint"):
        read_checkpoint(path)


def test_a_second_ctrl_c_waits_until_a_checkpoint_is_written(tmp_path):
    """An exception that breaks into PyTorch's writer aborts the process."""

    class Impatient:
        """As it is pickled, someone presses Ctrl-C."""

        def __reduce__(self):
            signal.raise_signal(signal.SIGINT)
            return OrderedDict, ()

    with pytest.raises(StoppedAtOnce), Signals() as signals:
        AtomicCheckpointIO(signals).save_checkpoint({"step": 3, "other": Impatient()}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 3, "other": {}}
    with pytest.raises(StoppedAtOnce), Signals():
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_comes_while_python_frees_an_object_is_not_lost(capfd):
    """What is raised in a finalizer goes no further than to standard error."""

    class Freed:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedAtOnce, match="SIGTERM"), Signals():
        Freed()
        time.sleep(5)
    assert "Traceback" not in capfd.readouterr().err
