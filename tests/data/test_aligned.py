"""Variables are matched by name: another order changes nothing, an unknown one is left out and counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqsetvae.data.aligned import align
from seqsetvae.data.packed import gather
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError


def part_of(vocabulary: Vocabulary, rows: list[int], shift: float = 0.0) -> Vocabulary:
    """Some variables of a vocabulary, in another order and with another centre."""
    names = tuple(vocabulary.names[row] for row in rows)
    return replace(
        vocabulary, names=names, center_V=vocabulary.center_V[rows] + shift, spread_V=vocabulary.spread_V[rows]
    )


def test_another_order_gives_the_same_values_of_the_same_variables(synthetic_store):
    vocabulary = synthetic_store.vocabulary
    aligned = align(synthetic_store, "train", part_of(vocabulary, [5, 4, 3, 2, 1, 0]))
    same = align(synthetic_store, "train", vocabulary)
    assert aligned.unknown == {}
    np.testing.assert_array_equal(5 - aligned.packed.variable_N, same.packed.variable_N)
    np.testing.assert_array_equal(aligned.packed.value_N, same.packed.value_N)
    np.testing.assert_array_equal(aligned.packed.first_event, same.packed.first_event)


def test_an_unknown_variable_is_left_out_and_values_are_scaled_by_the_models_statistics(synthetic_store):
    model = part_of(synthetic_store.vocabulary, [1, 2, 3, 4, 5], shift=7.0)
    aligned, whole = align(synthetic_store, "train", model), align(synthetic_store, "train", synthetic_store.vocabulary)
    left_out = whole.packed.variable_N == 0
    assert aligned.unknown == {synthetic_store.vocabulary.names[0]: int(left_out.sum())}
    np.testing.assert_array_equal(aligned.packed.value_N, whole.packed.value_N[~left_out])
    assert (np.diff(aligned.packed.first_event) > 0).all()
    batch = gather(aligned.packed, np.arange(3), model)
    number = batch.variable_N.numpy()
    expected = np.arcsinh((aligned.packed.value_N[: len(number)] - model.center_V[number]) / model.spread_V[number])
    np.testing.assert_allclose(batch.value_N.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_subjects_without_a_known_variable_are_counted_and_no_known_variable_is_an_error(synthetic_store):
    aligned = align(synthetic_store, "train", part_of(synthetic_store.vocabulary, [0]))
    assert aligned.packed.n_subjects + aligned.without_events == synthetic_store.n_subjects("train")
    other = replace(part_of(synthetic_store.vocabulary, [0]), names=("Pulse",))
    with pytest.raises(InputError, match="knows none of the 6 variables"):
        align(synthetic_store, "train", other)


@pytest.mark.parametrize("known", [[0, 1, 2, 3, 4, 5], [5, 1]])
def test_some_rows_of_several_shards_are_those_of_the_whole_split(synthetic_store, known):
    vocabulary = part_of(synthetic_store.vocabulary, known)
    assert len(synthetic_store.shards("train")) > 2
    whole = align(synthetic_store, "train", vocabulary).packed
    rows = np.array([0, 1, 7, 60, 61, synthetic_store.n_subjects("train") - 1])
    some = align(synthetic_store, "train", vocabulary, rows).packed
    found = {str(name): row for row, name in enumerate(whole.subject_id)}
    assert [str(name) for name in some.subject_id] == synthetic_store.subject_ids("train", rows)
    for row, name in enumerate(some.subject_id):
        one, same = some.rows(row, row + 1), whole.rows(found[str(name)], found[str(name)] + 1)
        np.testing.assert_array_equal(one.first_event, same.first_event)
        for key in ("label_B", "minute_S", "variable_N", "value_N"):
            np.testing.assert_array_equal(getattr(one, key), getattr(same, key))
        assert synthetic_store.row_of("train", str(name)) == rows[row]
    assert synthetic_store.row_of("train", "nobody") is None
    assert synthetic_store.row_of("valid", str(some.subject_id[0])) is None
