"""All kinds of tasks, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqsetvae.tasks.binary import Binary
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.multiclass import MultiClass
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tasks.regression import Regression
from seqsetvae.tasks.time_to_event import TimeToEvent

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Binary, MultiClass, MultiLabel, Regression, TimeToEvent)}


def restore(state: Mapping[str, Any] | None) -> Kind:
    """From :meth:`Kind.state`; a model of an earlier version has none, and is binary."""
    if state is None:
        return Binary()
    fields = {key: tuple(x) if isinstance(x, list) else x for key, x in state.items() if key != "name"}
    return KINDS[state["name"]](**fields)
