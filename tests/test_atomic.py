"""A file that is written atomically is never seen in part: not by a reader, not after an error, a full disk or a kill."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from seqsetvae.atomic import atomic_write

FULL_DISK = """
import errno, resource, signal, sys
from pathlib import Path
from seqsetvae.atomic import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the kernel ends the process where a disk would refuse
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(Path("kept")) as file:
        file.write(bytes(5000))
except OSError as error:
    sys.exit(3 if error.errno == errno.EFBIG else 4)
"""
KILLED = """
import os, signal
from pathlib import Path
from seqsetvae.atomic import atomic_write
with atomic_write(Path("kept")) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / "kept").write_bytes(b"before")
    with pytest.raises(KeyError), atomic_write(tmp_path / "kept") as file:
        file.write(b"half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"before"


@pytest.mark.parametrize(("program", "code", "left"), [(FULL_DISK, 3, 0), (KILLED, -signal.SIGKILL, 1)])
def test_a_full_disk_or_a_kill_leaves_what_was_there(tmp_path, program, code, left):
    (tmp_path / "kept").write_bytes(b"before")
    assert subprocess.run([sys.executable, "-c", program]).returncode == code
    assert (tmp_path / "kept").read_bytes() == b"before"
    assert len(list(tmp_path.glob(".kept.*.partial"))) == left


def test_a_reader_sees_the_old_or_the_new_while_two_threads_write(tmp_path):
    path, contents = tmp_path / "shared", [b"a" * 300_000, b"b" * 200_000]
    path.write_bytes(contents[0])

    def write(content: bytes) -> None:
        for _ in range(50):
            with atomic_write(path, durable=False) as file:
                file.write(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["shared"]


def test_no_folder_is_made():
    with pytest.raises(OSError) as raised, atomic_write(Path("missing", "file"), durable=True):  # noqa: PT011
        pass
    assert raised.value.errno == errno.ENOENT
