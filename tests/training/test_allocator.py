"""Memory that a step has freed stays with the process: the next step takes it without asking the kernel."""

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
    blocks = [torch.ones(1_000_000) for _ in range(20)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted as Linux does")
def test_steps_take_few_new_pages_once_memory_is_kept():
    def page_faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert 10 * page_faults("kept") < page_faults("given back")
