"""What the outcomes of a task are, split by split: said, a table of the run, and part of its data report."""

from __future__ import annotations

from dataclasses import dataclass

from seqsetvae import names
from seqsetvae.data.report_page import with_task
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import kind_of, names_of
from seqsetvae.tasks.kinds import KINDS
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.finetuning.features import labelled_rows

MOST_SAID = 6
"""Measures that are said; the table has all."""


@dataclass(frozen=True)
class TaskOverview:
    """Of every split of a store with a task: how many stays have an outcome, and measures of these, such as the prevalence."""

    task: str
    measures: dict[str, dict[str, float]]
    """By measure, then by split."""

    @classmethod
    def of(cls, store: Store, task: str) -> TaskOverview:
        kind, found = KINDS[kind_of(store)], TaskOverview(task, {})
        for split in store.splits:
            label = store.labels(split)
            known = label[labelled_rows(label)].astype("float64")
            measures: dict[str, float] = {"stays with an outcome": len(known)}
            measures |= kind.overview(known, names_of(store)) if len(known) else {}
            for name, value in measures.items():
                found.measures.setdefault(name, {})[split] = value
        return found

    def __str__(self) -> str:
        """A line for each measure.

        >>> print(TaskOverview("death", {"stays": {"train": 3200, "test": 100}, "prevalence": {"train": 0.14062, "test": 0.14}}))
        stays: train 3,200, test 100
        prevalence: train 0.141, test 0.14
        """
        lines = [
            f"{name}: {', '.join(f'{split} {shown(value)}' for split, value in of_split.items())}"
            for name, of_split in self.measures.items()
        ]
        left = len(lines) - MOST_SAID
        return "\n".join([*lines[:MOST_SAID], *([f"and {left} more"] if left > 0 else [])])

    def record(self, run: Run, store: Store) -> None:
        """A table of the run, and the data report of the store with a section about the task (stores of before have none)."""
        rows = [[self.task, split, name, x] for name, found in self.measures.items() for split, x in found.items()]
        run.log_table({"columns": ["task", "split", "measure", "value"], "data": rows}, names.ARTIFACT_TASK)
        splits = list(store.splits)
        cells = [
            [name, *(shown(found[split]) if split in found else "" for split in splits)]
            for name, found in self.measures.items()
        ]
        if (page := with_task(store.path, self.task, splits, cells)) is not None:
            run.log_text(page, names.ARTIFACT_DATA_REPORT)


def shown(value: float) -> str:
    """Counts as they are, shares and quantiles to three digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
