"""The compiled model: the same numbers, and no new compilation for every new shape."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tests.model.conftest import stays


@pytest.mark.slow
def test_a_compiled_model_is_the_model_and_is_compiled_a_few_times_only(vae, noise):
    compiled = copy.deepcopy(vae)
    # Not inductor: it needs a C++ compiler, and what is looked at here happens before it, and before gradients are traced.
    count = CompileCounterWithBackend("eager")
    compiled.compile(dynamic=True, backend=count)
    grids = set()
    for first in range(0, 72, 6):
        batch = stays(list(range(first, first + 6)))
        grids.add(batch.grid)
        eps = noise[: batch.n_sets]
        torch.testing.assert_close(
            compiled(batch, eps).elbo_B(batch), vae(batch, eps).elbo_B(batch), rtol=1e-10, atol=0
        )
    assert len(grids) > 8  # PyTorch gives up compiling after eight
    assert count.frame_count < 8
