"""Vocabularies of many thousand variables: the plain formula's likelihood, without a number for each pair of a set and a variable."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seqsetvae import objective
from seqsetvae.app.main import main
from seqsetvae.model.set_decoder import CodedSetDecoder, SetDecoder, make_decoder
from seqsetvae.model.set_encoder import EventEmbedding
from tests.model.conftest import SMALL, stays

VARIABLES = 20_000
CELLS = 2**18
"""13 sets at a time."""


@pytest.fixture
def batch():
    one = stays([3, 17, 40])
    drawn_N = torch.randint(VARIABLES, one.variable_N.shape, generator=torch.Generator().manual_seed(0))
    return replace(one, variable_N=drawn_N)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return CodedSetDecoder(SMALL, VARIABLES).double()


@pytest.fixture
def history_SD(batch):
    return torch.randn(batch.n_sets, SMALL.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def plain_log_likelihood(decoder: CodedSetDecoder, history_SD: torch.Tensor, batch) -> torch.Tensor:
    """By the formula of torch.distributions, with all S x V numbers."""
    code_SK = decoder.code(history_SD)
    width = code_SK.shape[1]
    variables = Categorical(logits=decoder.logits(code_SK)[batch.set_N])
    mean_VK, raw_VK, bias_V2 = decoder.value_weight_VC.split([width, width, 2], dim=1)
    cell = (batch.set_N, batch.variable_N)
    mean_N = (code_SK @ mean_VK.T + bias_V2[:, 0])[cell]
    scale_N = SMALL.scale_floor + F.softplus(code_SK @ raw_VK.T + bias_V2[:, 1])[cell]
    return variables.log_prob(batch.variable_N) + Normal(mean_N, scale_N).log_prob(batch.value_N)


def test_likelihood_and_gradients_are_those_of_the_plain_formula(decoder, history_SD, batch, monkeypatch):
    monkeypatch.setattr(objective, "CELLS_AT_A_TIME", CELLS)
    parameters = list(decoder.parameters())
    log_variable_N, log_value_N = decoder(history_SD).log_prob(batch)
    found = torch.autograd.grad((log_variable_N + log_value_N).sum(), parameters)
    plain_N = plain_log_likelihood(decoder, history_SD, batch)
    torch.testing.assert_close(log_variable_N + log_value_N, plain_N, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, torch.autograd.grad(plain_N.sum(), parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    cells = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.cells = max(self.cells, one.numel())
        return made


def test_nothing_of_the_size_of_sets_by_variables_exists_forward_or_backward(decoder, history_SD, batch, monkeypatch):
    monkeypatch.setattr(objective, "CELLS_AT_A_TIME", CELLS)
    weights = max(parameter.numel() for parameter in decoder.parameters())
    assert batch.n_sets * VARIABLES > weights > CELLS  # else the test could not tell
    with Largest() as largest:
        log_variable_N, log_value_N = decoder(history_SD).log_prob(batch)
        (log_variable_N + log_value_N).sum().backward()
    assert largest.cells == weights
    with Largest() as largest:
        plain_log_likelihood(decoder, history_SD, batch)
    assert largest.cells >= batch.n_sets * VARIABLES


def test_the_size_of_the_vocabulary_chooses_the_decoder():
    assert isinstance(make_decoder(SMALL, 41), SetDecoder)
    assert isinstance(make_decoder(SMALL, 5000), CodedSetDecoder)
    given = make_decoder(replace(SMALL, decoder_code_width=3), 41)
    assert isinstance(given, CodedSetDecoder)
    assert given.logits.in_features == 3


def test_frozen_embeddings_give_the_same_events_projected_by_variable_or_by_event():
    torch.manual_seed(0)
    embed = EventEmbedding(50, 8, torch.randn(50, 12)).double()
    variable_N = torch.randint(50, (200,))
    value_N = torch.randn(200, dtype=torch.float64)
    whole_ND = embed(variable_N, value_N)  # more events than variables
    parts = [embed(variable_N[i : i + 20], value_N[i : i + 20]) for i in range(0, 200, 20)]
    torch.testing.assert_close(torch.cat(parts), whole_ND, rtol=1e-12, atol=1e-12)
    assert isinstance(embed.project, nn.Linear)


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_a_run_with_20_000_variables_trains_is_watched_and_is_drawn(tmp_path, capsys):
    def seqsetvae(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        assert ended.value.code == 0, said
        return said.out

    seqsetvae("prepare", "synthetic", "--output", "store", "--variables", str(VARIABLES), "--subjects", "80")
    tiny = ["--width", "16", "--latent_dim", "4", "--levels", "1", "--history_layers", "1", "--heads", "2"]
    quiet = ["--progress_bar", "false", "--log_system_metrics", "false", "--register_model", "false"]
    steps = ["--max_steps", "10", "--check_frequency", "5", "--on_collapse", "warn", "--checkpoint_every_n_steps", "10"]
    assert "Finished" in seqsetvae("pretrain", "--store", "store", *tiny, *quiet, *steps)
    last = next((tmp_path / "mlruns").rglob("last.ckpt"))
    # One stay has too few sets for a map of them, which knows nothing of variables.
    one = ["--batch_size", "1", "--max_batches", "1", "--save_dir", "drawn"]
    seqsetvae("visualize", "--model", str(last), "--store", "store", *one)
    assert (tmp_path / "drawn" / "reconstruction_errors.png").stat().st_size > 10_000
