"""Pretraining by several real processes that cost no start.

They are forked from one that has loaded everything, each with the place that torchrun would give it.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqsetvae.config import PretrainConfig
from seqsetvae.errors import StoppedBySignal


@dataclass
class Started:
    """The processes of one training, which may be killed."""

    pids: list[int]
    _answers: Any

    def codes(self) -> list[int]:
        """Exit codes, by rank, once all have ended; minus the signal that killed one."""
        codes: list[int] = json.loads(self._answers.readline())
        return codes


class Ranks:
    """Starts trainings, one at a time; they say nothing but into `ranks.log`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.ranks"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, config: PretrainConfig, *, nodes: int = 1, per_node: int) -> Started:
        """`pretrain(config)` in the working directory, by so many processes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {"config": pickle.dumps(config).hex(), "nodes": nodes, "per_node": per_node, "folder": str(Path.cwd())}
        wanted["uri"] = os.environ["MLFLOW_TRACKING_URI"]
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        return Started(json.loads(self._process.stdout.readline()), self._process.stdout)

    def close(self) -> None:
        self._process.communicate()


def fork(wanted: dict[str, Any], rank: int, port: int) -> int:
    """The process of one rank. Its process id."""
    if child := os.fork():
        return child
    from lightning.pytorch.utilities import rank_zero_only

    from seqsetvae.training.fit import pretrain

    per_node = wanted["per_node"]
    place = {"RANK": rank, "LOCAL_RANK": rank % per_node, "GROUP_RANK": rank // per_node, "MASTER_PORT": port}
    place |= {"WORLD_SIZE": wanted["nodes"] * per_node, "LOCAL_WORLD_SIZE": per_node}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MLFLOW_TRACKING_URI=wanted["uri"])
    os.chdir(wanted["folder"])
    log = os.open("ranks.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    vars(rank_zero_only)["rank"] = rank  # read from the environment when Lightning was loaded
    code = 1
    try:
        pretrain(pickle.loads(bytes.fromhex(wanted["config"])))
        code = 0
    except StoppedBySignal as stop:
        code = stop.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def serve() -> None:
    """Start what standard input asks for, line by line."""
    import seqsetvae.training.fit  # noqa: F401  all that a training loads

    for line in sys.stdin:
        wanted = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [fork(wanted, rank, port) for rank in range(wanted["nodes"] * wanted["per_node"])]
        print(json.dumps(children), flush=True)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if __name__ == "__main__":
    serve()
