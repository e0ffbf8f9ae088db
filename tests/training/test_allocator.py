"""Memory that a step has freed stays with the process: the next step takes it without asking the kernel."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from seqsetvae.training.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    blocks = [torch.ones(12_000_000) for _ in range(2)]  # 48 MB each: above what glibc keeps by itself

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted as Linux does")
def test_steps_take_no_new_pages_once_memory_is_kept():
    def page_faults(how: str) -> int:
        as_usual = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-c", STEPS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=as_usual)
        return int(done.stdout)

    kept, given_back = page_faults("kept"), page_faults("given back")
    assert kept < 100
    assert given_back > 10_000
