"""Several processes train one model: alike whatever their number, of one mind about the end, and as one MLflow run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.config import MonitorConfig, ObjectiveConfig, PretrainConfig
from seqsetvae.errors import InputError
from seqsetvae.training.plan import make_plan
from tests.support.mlflow_server import free_port
from tests.support.ranks import Ranks

OF_ONE_PROCESS = (
    r"system/|train_|patients_per|collapse/(decoder|level|probability|training_hours)|" + names.COLLAPSE_FINAL
)
"""Of the last batch of the first process, or what follows from it or from an estimate with noise, or of the clock."""


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    started = Ranks()
    yield started
    started.close()


def trained(config: PretrainConfig, **changes: Any) -> PretrainConfig:
    """With other settings of the trainer, and no model registered."""
    return replace(
        config, trainer=replace(config.trainer, **changes), tracking=replace(config.tracking, register_model=False)
    )


def runs() -> list[Any]:
    """Oldest first."""
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_runs(["1"], order_by=["attributes.start_time"])


def figures(run: Any, history: Callable[[str, str], list[tuple[int, float]]]) -> dict[str, list[float]]:
    keys = {key for key in run.data.metrics if not re.match(OF_ONE_PROCESS, key)}
    return {key: [value for _, value in history(run.info.run_id, key)] for key in keys}


@pytest.mark.slow
def test_1_2_and_4_processes_train_alike(tiny, ranks, history):
    """Of stays that are all alike: else those of one step are of like size, and the order is another one."""
    data = replace(tiny.data, batch_size=16, max_sequence_length=20)
    config = replace(tiny, data=data, monitor=MonitorConfig(pool_sets=100_000))
    for nodes, per_node in ((1, 1), (2, 1), (2, 2)):
        accumulating = trained(config, gradient_accumulation_steps=4 // (nodes * per_node))
        assert set(ranks.start(accumulating, nodes=nodes, per_node=per_node).codes()) == {0}, Path(
            "ranks.log"
        ).read_text()
    one, two, four = (figures(run, history) for run in runs())
    assert len(one) > 15
    for several in (two, four):
        assert several.keys() == one.keys()
        for key, values in one.items():
            # Estimated with noise dealt out by the order of the posteriors, which a last digit changes, and without the drift between
            # batches, of which one process has more.
            bound = 0.3 if key in ("collapse/mutual_information", "collapse/marginal_kl") else 1e-5
            assert several[key] == pytest.approx(values, rel=bound, abs=1e-5), key


@pytest.mark.slow
def test_a_signal_or_the_death_of_one_process_ends_all_and_the_run_goes_on(tiny, ranks, history):
    config = trained(tiny, max_epochs=5, checkpoint_every_n_steps=5)
    assert ranks.start(config, per_node=2).codes() == [0, 0], Path("ranks.log").read_text()
    (whole,) = runs()

    def hit(config: PretrainConfig, number: int, rank: int) -> list[int]:
        """Exit codes of a training of which one process gets a signal once it is under way."""
        before = newest_checkpoint()
        started = ranks.start(config, per_node=2)
        deadline = time.monotonic() + 60
        while newest_checkpoint() == before and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(started.pids[rank], number)
        return started.codes()

    assert hit(config, signal.SIGUSR1, 1) == [128 + signal.SIGUSR1] * 2
    assert runs()[-1].info.status == "KILLED"
    assert len(list(Path("mlruns").rglob("interrupted_*.ckpt"))) == 1
    resuming = trained(config, resume_from_checkpoint="last.ckpt")
    assert hit(resuming, signal.SIGKILL, 1) == [1, -signal.SIGKILL]
    assert runs()[-1].info.status == "FAILED"
    assert len(list(Path("mlruns").rglob("error_*.ckpt"))) == 1
    assert ranks.start(resuming, per_node=2).codes() == [0, 0], Path("ranks.log").read_text()
    assert len(runs()) == 2
    broken = runs()[-1]
    assert broken.info.status == "FINISHED"
    for key in (names.VAL_LOSS, names.GRADIENT_NORM, names.COLLAPSE_KL):
        assert dict(history(broken.info.run_id, key)) == pytest.approx(dict(history(whole.info.run_id, key)), rel=1e-4)


def newest_checkpoint() -> float:
    return max((path.stat().st_mtime for path in Path("mlruns").rglob("last.ckpt")), default=0.0)


@pytest.mark.slow
@pytest.mark.nightly
def test_two_torchrun_agents_train_as_two_nodes(tiny, ranks, history):
    """As on two machines: an agent on each, which find each other by the rendezvous."""
    config = trained(tiny, max_epochs=1)
    assert ranks.start(config, nodes=2, per_node=1).codes() == [0, 0], Path("ranks.log").read_text()
    Path("run.yaml").write_text(json.dumps(asdict(config)))
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "seqsetvae"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *rendezvous]
    agents = [
        subprocess.Popen(
            [*command, "-m", "seqsetvae", "pretrain", "--config", "run.yaml"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(said)
    forked, by_torchrun = runs()
    assert by_torchrun.info.status == "FINISHED"
    for key in (names.VAL_LOSS, names.GRADIENT_NORM, names.COLLAPSE_KL):
        assert dict(history(by_torchrun.info.run_id, key)) == pytest.approx(
            dict(history(forked.info.run_id, key)), rel=1e-5
        )


@pytest.mark.slow
def test_two_processes_rescue_a_run(tiny, ranks, history):
    config = replace(
        tiny,
        optimizer=replace(tiny.optimizer, lr=1e-2),
        objective=ObjectiveConfig(beta=300.0),
        monitor=MonitorConfig(on_collapse="rescue", update_frequency=2, grace_steps=20, early_stop_patience=1),
    )
    started = ranks.start(trained(config, max_epochs=9), per_node=2)
    assert started.codes() == [0, 0], Path("ranks.log").read_text()
    collapsed, rescued, *_ = runs()
    assert collapsed.data.tags[names.TAG_RESCUED_BY] == rescued.info.run_id
    assert rescued.data.tags[names.TAG_RESCUED_RUN] == collapsed.info.run_id
    assert collapsed.data.tags["collapse"] == "red"
    assert "RUNNING" not in {run.info.status for run in runs()}
    assert history(rescued.info.run_id, names.COLLAPSE_KL)


def test_two_machines_without_a_rendezvous_are_refused(tiny, monkeypatch):
    with pytest.raises(InputError, match=r"--trainer\.num_nodes is 2, but nothing tells .*torchrun --nnodes 2"):
        make_plan(replace(tiny, trainer=replace(tiny.trainer, num_nodes=2)))
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not"):
        make_plan(tiny)
    for name, value in {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"--trainer\.devices is 3, but torchrun has started 2 processes on each of 2"):
        make_plan(replace(tiny, trainer=replace(tiny.trainer, devices=3)))
    settled = make_plan(tiny).config.trainer
    assert (settled.devices, settled.num_nodes) == (2, 2)
