"""Several processes that train one model: how they are started, find each other, and come to one mind.

A process knows its place by the variables that `torchrun` sets (RANK, WORLD_SIZE, ...). On one machine `--trainer.devices` starts the
others itself, as copies of the command; on several machines torchrun or a scheduler does.

What is agreed upon goes from host to host (gloo), also beside GPUs: no GPU is waited for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from seqsetvae.config import TrainerConfig
from seqsetvae.errors import InputError, RunFailure

T = TypeVar("T")

STEPS_BETWEEN_QUESTIONS = 10
"""Optimizer steps after which the processes ask each other: asking makes them wait for each other."""
PATIENCE = timedelta(minutes=30)
"""For a process that does not answer, such as one that still reads its data."""
LAST_WORDS = 60.0
"""Seconds that the other processes have to end after the first."""


def started() -> tuple[int, int] | None:
    """Processes on this machine, and machines, where something else has started several; None where this process is the only one.

    Raises:
        InputError: of the variables that tell, some are missing or are no numbers.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    wanted = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in wanted if not os.environ.get(name)]:
        raise InputError(
            f"RANK is set, as by torchrun, but {', '.join(missing)} is not: the processes could not find each other. Start them with "
            "torchrun, or unset RANK."
        )
    try:
        world = int(os.environ["WORLD_SIZE"])
        here = int(os.environ.get("LOCAL_WORLD_SIZE") or world)
    except ValueError as error:
        raise InputError(f"WORLD_SIZE or LOCAL_WORLD_SIZE is no number ({error}). torchrun sets them.") from None
    if world % here:
        raise InputError(f"{here} of {world} processes are on this machine: every machine needs the same number.")
    return here, world // here


@contextlib.contextmanager
def together(trainer: TrainerConfig) -> Iterator[None]:
    """Within, all processes of a settled run are there and know each other; those of this machine are started where nobody has.

    Raises:
        InputError: this Python cannot be started again, as in a notebook.
    """
    world = trainer.devices * trainer.num_nodes
    if world == 1 or dist.is_initialized():
        yield
        return
    others = [] if started() else start_others(world)
    backend = "cpu:gloo,cuda:nccl" if trainer.accelerator == "gpu" else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
        yield
    finally:
        for other in others:
            end(other)


def start_others(world: int) -> list[subprocess.Popen[bytes]]:
    """Start this command again for each other process of this machine, and take the first place oneself."""
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        raise InputError(
            f"--trainer.devices {world} starts this program again for each device, which a notebook does not allow: use the command."
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    places |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    command = [sys.executable, *sys.orig_argv[1:]]
    others = [
        subprocess.Popen(command, env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(1, world)
    ]
    os.environ.update(places, RANK="0", LOCAL_RANK="0")
    return others


def end(other: subprocess.Popen[bytes]) -> None:
    """Wait for a process that has nothing more to do; one that hangs is ended."""
    try:
        other.wait(LAST_WORDS)
    except subprocess.TimeoutExpired:
        other.kill()
        other.wait()


def from_first(value: T) -> T:
    """What the first process has, on all of them.

    Raises:
        RunFailure: it has ended.
    """
    if not dist.is_initialized():
        return value
    held: list[Any] = [value]
    try:
        dist.broadcast_object_list(held, src=0)
    except RuntimeError:
        raise RunFailure("Another process of this run has ended: see what it says.") from None
    told: T = held[0]
    return told
