"""Scores of subgroups of the evaluated stays, by the descriptors of PhysioNet 2012 where a store has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seqsetvae.evaluation.hand_features import KINDS
from seqsetvae.scores import Interval
from seqsetvae.tasks.kind import Kind

Array = NDArray[np.float64]

ICU_TYPES = {1: "coronary care", 2: "cardiac surgery", 3: "medical", 4: "surgical"}


def subgroups(x_BF: Array, variables: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Members of each subgroup, from hand-made features: age below or from 65, sex, type of ICU. None where a variable is missing.

    >>> last = np.array([[70.0, 1.0], [40.0, 0.0]])  # Age, Gender
    >>> found = subgroups(np.hstack([last] * len(KINDS)), ["Age", "Gender"])
    >>> {name: members.tolist() for name, members in found.items()}
    {'age below 65': [False, True], 'age 65 and above': [True, False], 'female': [False, True], 'male': [True, False]}
    """
    last_BV = x_BF[:, : x_BF.shape[1] // len(KINDS)]
    column = {name: last_BV[:, row] for row, name in enumerate(variables)}
    found: dict[str, NDArray[np.bool_]] = {}
    if "Age" in column:
        found |= {"age below 65": column["Age"] < 65, "age 65 and above": column["Age"] >= 65}
    if "Gender" in column:
        found |= {"female": column["Gender"] == 0, "male": column["Gender"] == 1}
    if "ICUType" in column:
        found |= {f"ICU: {name}": column["ICUType"] == number for number, name in ICU_TYPES.items()}
    return found


def subgroup_rows(
    label_B: Array,
    risks: Mapping[str, Array],
    groups: Mapping[str, NDArray[np.bool_]],
    repeats: int,
    kinds: Mapping[str, Kind],
) -> list[tuple[str, str, int, int, Interval, Interval]]:
    """(subgroup, model, stays, positives, the first two scores of the kind); subgroups with too few outcomes are left out."""
    rows = []
    for group, members_B in groups.items():
        inside = label_B[members_B]
        for name, said in risks.items():
            kind = kinds[name]
            if kind.enough(inside):
                found = kind.with_intervals(inside, said[members_B], repeats)
                first, second = (found[key] for key in list(kind.headings)[:2])
                rows.append((group, name, len(inside), kind.events(inside), first, second))
    return rows
