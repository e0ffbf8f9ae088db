"""What the heads on the history are asked for, against loops over stays, sets and events."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqsetvae.batch import EventBatch, lay_out
from seqsetvae.config import ModelConfig
from seqsetvae.model.history_heads import READ_KINDS, history_targets
from seqsetvae.model.vae import SeqSetVAE

VARIABLES, HOURS = 5, (1.0, 6.0)


def random_batch(seed: int) -> EventBatch:
    """Some stays, the shortest of a single set; a quarter of the events carry no number, some variables come twice in a set."""
    dice = np.random.default_rng(seed)
    sets_B = [1, *dice.integers(2, 9, 4)]
    minutes = [np.concatenate([[0.0], dice.choice(600, n - 1, replace=False) + 1.0]) for n in sets_B]
    per_set = dice.integers(1, 7, sum(sets_B))
    n_events = int(per_set.sum())
    numbers = dice.random(n_events) < 0.75
    first_slot_B, grid = lay_out(np.array(sets_B))
    return EventBatch(
        variable_N=torch.from_numpy(dice.integers(0, VARIABLES, n_events)),
        value_N=torch.from_numpy(np.where(numbers, dice.normal(0.0, 2.0, n_events), 0.0).astype(np.float32)),
        set_N=torch.from_numpy(np.repeat(np.arange(len(per_set)), per_set)),
        minute_S=torch.from_numpy(np.concatenate([np.sort(one) for one in minutes])),
        subject_S=torch.from_numpy(np.repeat(np.arange(len(sets_B)), sets_B)),
        position_S=torch.from_numpy(np.concatenate([np.arange(n) for n in sets_B])),
        label_B=torch.zeros(len(sets_B)),
        row_B=torch.arange(len(sets_B)),
        first_slot_B=torch.from_numpy(first_slot_B),
        grid=grid,
        number_N=torch.from_numpy(numbers),
    )


def events_of(batch: EventBatch) -> list[tuple[int, float, int, float | None]]:
    """(subject, minute, variable, value)."""
    assert batch.number_N is not None
    return [
        (int(batch.subject_S[s]), float(batch.minute_S[s]), int(v), float(y) if there else None)
        for s, v, y, there in zip(batch.set_N, batch.variable_N, batch.value_N, batch.number_N, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_targets_are_what_a_loop_over_events_finds(seed: int) -> None:
    batch = random_batch(seed)
    targets = history_targets(batch, VARIABLES, HOURS)
    events = events_of(batch)
    for place in range(batch.n_sets):
        subject, now = int(batch.subject_S[place]), float(batch.minute_S[place])
        mine = [event for event in events if event[0] == subject]
        for variable in range(VARIABLES):
            past = [(t, y) for _, t, v, y in mine if v == variable and t <= now]
            values = [(t, y) for t, y in past if y is not None]
            said = dict(zip(READ_KINDS, targets.past_KSV[:, place, variable].tolist(), strict=True))
            assert said["log_count"] == pytest.approx(math.log1p(len(past)))
            assert bool(targets.known_SV[place, variable]) == bool(values)
            if values:
                # Of a variable that comes several times in a set the mean counts for `last`, `min` and `max`.
                per_set = [np.mean([y for u, y in values if u == t]) for t in sorted({t for t, _ in values})]
                numbers = [y for _, y in values]
                right = {"last": per_set[-1], "mean": np.mean(numbers), "min": min(per_set), "max": max(per_set)}
                right |= {"first": per_set[0]}
                assert said["log_age"] == pytest.approx(math.log1p((now - values[-1][0]) / 60), abs=1e-4)
                for kind, value in {**right, "std": np.std(numbers)}.items():
                    assert said[kind] == pytest.approx(float(np.clip(value, -5, 5)), abs=1e-4), kind
            for number, hours in enumerate(HOURS):
                later = [y for _, t, v, y in mine if v == variable and now < t <= now + 60 * hours]
                numbers = [y for y in later if y is not None]
                assert bool(targets.measured_WSV[number, place, variable]) == bool(later)
                assert bool(targets.valued_WSV[number, place, variable]) == bool(numbers)
                mean = float(np.clip(np.mean(numbers), -5, 5)) if numbers else 0.0
                assert float(targets.later_WSV[number, place, variable]) == pytest.approx(mean, abs=1e-4)
        for number, hours in enumerate(HOURS):
            assert bool(targets.whole_WS[number, place]) == (now + 60 * hours <= max(t for _, t, _, _ in mine))


def test_without_heads_the_model_is_what_it_was_and_with_them_only_the_history_is_asked_for_more() -> None:
    tiny = {"width": 8, "latent_dim": 4, "levels": 1, "heads": 2, "ff_dim": 8, "history_layers": 1}
    plain, more = (
        SeqSetVAE(ModelConfig(**tiny), 5),
        SeqSetVAE(ModelConfig(**tiny, remember=True, foresee_hours=list(HOURS)), 5),
    )
    assert plain.history_heads is None
    more.load_state_dict(plain.state_dict(), strict=False)
    batch = random_batch(0)
    noise_SZ = torch.randn(batch.n_sets, 4)
    without, with_heads = plain(batch, noise_SZ), more(batch, noise_SZ)
    assert without.history is None
    assert torch.equal(without.loss(0.1), with_heads.loss(0.1))
    assert with_heads.history is not None
    (with_heads.history.remember + with_heads.history.foresee).backward()
    assert float(more.history.project.weight.grad.abs().sum()) > 0.0  # type: ignore[union-attr, operator]
    assert all(parameter.grad is None for parameter in more.set_decoder.parameters())
