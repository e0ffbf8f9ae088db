"""What the head that fills in knows of a place, against loops over events; what it says before and after training; who learns from it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.errors import InputError
from seqsetvae.model.fill_head import Around, FillHead, around_last, around_sets
from seqsetvae.model.forecast_head import LEVELS, ascending, pinball
from seqsetvae.model.hiding import partly_hidden
from seqsetvae.model.vae import SeqSetVAE
from tests.model.test_forecast_head import TINY
from tests.model.test_history_heads import VARIABLES, random_batch

FILLING = ModelConfig(**TINY, fill_in=True)


def double(seed: int) -> EventBatch:
    batch = random_batch(seed)
    return replace(batch, value_N=batch.value_N.double())


def values_of(batch: EventBatch, place: int, variable: int, seen: bool) -> list[float]:
    """Numbers of a variable in a set: all, or those alone that the encoder sees."""
    assert batch.number_N is not None
    shown = torch.zeros_like(batch.number_N) if batch.hidden_N is None or not seen else batch.hidden_N
    here = (batch.set_N == place) & (batch.variable_N == variable) & batch.number_N & ~shown
    return [min(5.0, max(-5.0, value)) for value in batch.value_N[here].tolist()]


def known_by(batch: EventBatch, subject: int, variable: int, before: float) -> tuple[float, float, float] | None:
    """Last value, mean and minute of the last value before a time."""
    mine = [s for s in range(batch.n_sets) if batch.subject_S[s] == subject and batch.minute_S[s] < before]
    raw = [batch.value_N[(batch.set_N == s) & (batch.variable_N == variable) & batch.number_N].tolist() for s in mine]
    if not any(raw):
        return None
    every = [value for one in raw for value in one]
    last = max(place for place, one in enumerate(raw) if one)
    clipped = [min(5.0, max(-5.0, x)) for x in (np.mean(raw[last]), np.mean(every))]
    return float(clipped[0]), float(clipped[1]), float(batch.minute_S[mine[last]])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_known_around_a_set_is_what_a_loop_finds(seed: int) -> None:
    torch.manual_seed(seed)
    batch = partly_hidden(double(seed), values=0.4, variables=0.0)
    found = around_sets(batch, VARIABLES)
    for place in range(batch.n_sets):
        minute = float(batch.minute_S[place])
        for variable in range(VARIABLES):
            past = known_by(batch, int(batch.subject_S[place]), variable, minute)
            seen = values_of(batch, place, variable, seen=True)
            moved = 0.0 if not seen else float(np.mean(seen)) - (0.0 if past is None else past[0])
            expected = [*(past[:2] if past else (0.0, 0.0)), (minute - past[2]) / 60.0 if past else 0.0]
            expected += [moved if past else 0.0, 0.0 if past else moved]
            cell = (slice(None), place, variable)
            got = [*found.past_KXV[cell], found.age_XV[place, variable], *found.news_KXV[cell]]
            np.testing.assert_allclose([float(x) for x in got], expected, rtol=1e-9, atol=1e-9)
            assert bool(found.known_XV[place, variable]) == (past is not None)


def test_at_a_later_minute_the_last_set_is_past_and_at_its_own_it_is_news() -> None:
    batch = double(0)
    last_B = batch.last_set_B
    own = around_last(batch, VARIABLES, batch.minute_S[last_B])
    of_sets = around_sets(batch, VARIABLES)
    for name in ("past_KXV", "news_KXV"):
        torch.testing.assert_close(getattr(own, name), getattr(of_sets, name)[:, last_B])
    later = around_last(batch, VARIABLES, batch.minute_S[last_B] + 90.0)
    assert (later.news_KXV == 0).all()
    for subject, minute in enumerate((batch.minute_S[last_B] + 90.0).tolist()):
        for variable in range(VARIABLES):
            past = known_by(batch, subject, variable, minute)
            assert bool(later.known_XV[subject, variable]) == (past is not None)
            if past is not None:
                got = (*later.past_KXV[:, subject, variable].tolist(), float(later.age_XV[subject, variable]))
                np.testing.assert_allclose(got, (*past[:2], (minute - past[2]) / 60.0), rtol=1e-9)


def test_before_any_training_the_last_value_stays_and_the_loss_is_that_of_hidden_values_alone() -> None:
    torch.manual_seed(0)
    vae = SeqSetVAE(FILLING, VARIABLES).double()
    assert vae.fill_head is not None
    batch = partly_hidden(double(3), values=0.4, variables=0.0)
    around = around_sets(batch, VARIABLES)
    said = vae.fill_head(torch.randn(batch.n_sets, 8, dtype=torch.float64), around).detach()
    torch.testing.assert_close(said[2], around.past_KXV[0])
    losses = []
    for event in torch.nonzero(batch.hidden_N & batch.number_N).flatten().tolist():
        place, variable = int(batch.set_N[event]), int(batch.variable_N[event])
        value = min(5.0, max(-5.0, float(batch.value_N[event])))
        short = [value - float(q) for q in said[:, place, variable]]
        losses.append(np.mean([max(p * s, (p - 1.0) * s) for p, s in zip(LEVELS, short, strict=True)]))
    terms = vae(batch)
    assert terms.filled is not None
    assert terms.filled.item() == pytest.approx(float(np.mean(losses)), rel=1e-9)
    assert vae(double(3)).filled is None


def test_the_model_learns_nothing_from_it_and_is_weight_for_weight_the_one_without() -> None:
    torch.manual_seed(0)
    vae = SeqSetVAE(FILLING, VARIABLES)
    batch = partly_hidden(random_batch(1), values=0.4, variables=0.0)
    vae(batch).filled.backward()
    learning = {name for name, weight in vae.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning
    assert all(name.startswith("fill_head.") for name in learning)
    torch.manual_seed(0)
    without = SeqSetVAE(replace(FILLING, fill_in=False), VARIABLES).state_dict()
    own = {name: weight for name, weight in vae.state_dict().items() if not name.startswith("fill_head.")}
    assert own.keys() == without.keys()
    assert all(torch.equal(own[name], without[name]) for name in own)


def test_a_variable_that_follows_another_one_is_said_from_it() -> None:
    """y = last + 0.8 (what x has moved) + noise of 0.1; without x it stays. The bands are those of the noise."""
    dice = torch.Generator().manual_seed(0)
    rows = 4000
    last, moved = torch.randn(rows, generator=dice), torch.randn(rows, generator=dice)
    value = last + 0.8 * moved + 0.1 * torch.randn(rows, generator=dice)
    past = torch.zeros(2, rows, 2)
    past[0, :, 1] = last
    news = torch.zeros(2, rows, 2)
    news[0, :, 0] = moved
    around = Around(past, torch.ones(rows, 2, dtype=torch.bool), torch.zeros(rows, 2), news)
    head, state = FillHead(1, 2), torch.zeros(rows, 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 400)
        optimizer.zero_grad()
        pinball(head(state, around)[:, :, 1], value).mean().backward()
        optimizer.step()
    found = ascending(head(state, around)[:, :, 1]).detach()
    right = last + 0.8 * moved
    assert float((found[2] - right).abs().mean()) < 0.02
    assert float((found[4] - found[0]).mean()) == pytest.approx(2 * 1.645 * 0.1, rel=0.1)
    assert math.isclose(float((value <= found[3]).float().mean()), 0.75, abs_tol=0.03)


def test_too_many_variables_are_refused() -> None:
    with pytest.raises(InputError, match=r"--model\.fill_in: every pair of 501 variables"):
        SeqSetVAE(FILLING, 501)
