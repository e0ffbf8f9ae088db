"""`prepare` may be killed anywhere: no half store ever opens, an earlier one stays, and the same command then makes the same store."""

from __future__ import annotations

import hashlib
import random
import signal
from pathlib import Path

import pytest

from seqsetvae.data.store import MANIFEST, Store
from seqsetvae.data.verified import verify
from seqsetvae.errors import InputError
from tests.faults.life import STRUCK, Fault, live
from tests.faults.tally import Tally

pytestmark = pytest.mark.slow
KILLS = 2
FILES = 20
"""Operations of Python on files of a life; Arrow's are met by random moments."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def command(seed: int) -> list[str]:
    # Numbered as they come, v10 is before v2: the train split's shards are written a second time.
    made = ["--subjects", "400", "--variables", "12", "--sets", "20", "--seed", str(seed)]
    return ["prepare", "synthetic", *made, "--shard_events", "3000", "--progress", "false", "--output", "store"]


def files(folder: Path) -> dict[str, str]:
    """Path -> hash of every file below."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_killed_prepare_leaves_a_whole_store_or_none_and_the_next_one_makes_the_same(
    tmp_path: Path, tally: Tally, how_many: int
) -> None:
    (undisturbed := tmp_path / "undisturbed").mkdir()
    seconds, right = 0.0, []
    for seed in (0, 1):
        life = live(undisturbed, command(seed))
        assert life.code == 0, life.output
        seconds = life.seconds
        right.append(files(undisturbed / "store"))
    assert right[0] != right[1]
    wrong = []
    for number in range(how_many or KILLS):
        dice = random.Random(number)
        (work := tmp_path / str(number)).mkdir()
        before = None
        if number % 2:
            live(work, command(0))
            before = right[0]
        signum = dice.choice(SIGNALS)
        moment = dice.random() < 0.5
        fault = (
            Fault("moment", dice.uniform(0.05, seconds), signum)
            if moment
            else Fault("file", dice.randint(1, FILES), signum)
        )
        live(work, command(1), fault)
        problems = opened_wrongly(work, [right[1], *([before] if before else [])])
        life = live(work, command(1))
        if life.code or files(work / "store") != right[1]:
            problems.append(f"the next prepare: {life.output}")
        left = sorted(path.name for path in work.iterdir() if path.name not in ("store", "output.txt", STRUCK))
        problems += [f"left: {name}" for name in left]
        tally.add(f"prepare: {signal.Signals(signum).name}, {fault.where}", not problems)
        wrong += [f"{number}, {fault}: {problem}" for problem in problems]
    assert wrong == []


def opened_wrongly(work: Path, whole: list[dict[str, str]]) -> list[str]:
    """Folders that open as a store although they are not one of these."""
    found = []
    for folder in (path.parent for path in work.rglob(MANIFEST)):
        try:
            verify(Store.open(folder))
        except InputError:
            continue
        if files(folder) not in whole:
            found.append(f"{folder.name} opens, and is half a store")
    return found
