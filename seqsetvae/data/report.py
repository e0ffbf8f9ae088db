"""What `prepare` did: counts per split, and everything that was left out or is worth a look."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from seqsetvae.data.overview import FILE, describe_lengths
from seqsetvae.data.packed import Packed
from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import LabelMatch

PAGE = "report.html"
"""Of the store: see :mod:`seqsetvae.data.report_page`."""
RULES = (
    "Times may come unsorted.",
    "Of repeated measurements of a variable in one set the last is kept.",
    "Static descriptors are ordinary variables in the set of minute 0.",
    "Variables that the train split does not contain are dropped from the other splits.",
    "A subject without a label is kept for pretraining; its label is missing, never 0.",
    "Values are stored as recorded; nothing is clipped.",
)


@dataclass
class SplitReport:
    """Counts of one split as stored."""

    subjects: int = 0
    sets: int = 0
    events: int = 0
    labelled: int = 0
    positive: int = 0
    quantiles: dict[str, list[float]] = field(default_factory=dict)
    """The 5, 50 and 95 percentiles of sets per stay, events per set, and days."""

    @property
    def prevalence(self) -> float:
        """Share of label 1 among the labelled subjects; NaN where there are none."""
        return self.positive / self.labelled if self.labelled else float("nan")

    def add(self, packed: Packed) -> None:
        self.subjects += packed.n_subjects
        self.sets += len(packed.minute_S)
        self.events += len(packed.value_N)
        self.labelled += int(np.isfinite(packed.label_B).sum())
        self.positive += int((packed.label_B == 1).sum())


@dataclass
class PrepareReport:
    """The report of one preparation; `print(report)` shows it."""

    source: str
    output: str
    vocabulary_of: str = ""
    """The model whose vocabulary it is; empty: that of the train split."""
    variables: int = 0
    splits: dict[str, SplitReport] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    """Of the settings and of the source, besides those that always hold."""
    labels: LabelMatch | None = None
    names_stripped: int = 0
    """Events whose variable was written with blanks around it."""
    near_duplicates: list[tuple[str, ...]] = field(default_factory=list)
    """Variables whose names differ only in case, blanks and the like."""
    rare_variables: int = 0
    """Left out because too few subjects have them."""
    subjects_without_frequent_variable: int = 0
    """Left out because all their variables were."""
    without_number: dict[str, float] = field(default_factory=dict)
    """Share of the train split's events that carry no number, by variable that has such events."""
    far_from_train: dict[str, dict[str, float]] = field(default_factory=dict)
    """By split and variable: share of its values outside the 0.1 and 99.9 percentiles of train, where that is large."""
    repeated_measurements: int = 0
    unknown_variables: dict[str, int] = field(default_factory=dict)
    """Dropped events by name of the variable, for variables that the train split does not contain, or the model does not know."""
    absent_variables: list[str] = field(default_factory=list)
    """That the model knows, but no stay has."""
    left_out_by_source: dict[str, int] = field(default_factory=dict)
    quarantined: int = 0
    first_reasons: list[str] = field(default_factory=list)
    rows_dropped: dict[str, int] = field(default_factory=dict)
    """By reason."""
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<PrepareReport {self.source} -> {self.output}: {sum(one.subjects for one in self.splits.values())} subjects>"

    def finish(self, source_counts: dict[str, int], quarantine: Quarantine, variables: int) -> None:
        """Take over what was counted elsewhere."""
        self.variables = variables
        self.left_out_by_source = source_counts
        self.quarantined = len(quarantine.rejected)
        self.first_reasons = [rejected.reason for rejected in quarantine.rejected[:3]]
        self.rows_dropped = dict(quarantine.rows_by_reason)

    @property
    def origin(self) -> dict[str, str]:
        """Whose vocabulary it is, for the manifest."""
        return {"vocabulary_of": self.vocabulary_of} if self.vocabulary_of else {}

    def to_dict(self) -> dict[str, object]:
        """JSON form for the manifest. The place of the output is left out: a store may move."""
        fields = asdict(self)
        del fields["output"]
        return fields | {"rules": [*self.rules, *RULES]}

    def __str__(self) -> str:
        whose = f" of {self.vocabulary_of}" if self.vocabulary_of else ""
        lines = [f"Prepared {self.source} -> {self.output}: {self.variables} variables{whose}"]
        for name, split in self.splits.items():
            unlabelled = split.subjects - split.labelled
            lines.append(
                f"  {name:<5} {split.subjects:>9,} subjects {split.sets:>11,} sets {split.events:>12,} events"
                + (f"  prevalence {split.prevalence:.1%}" if split.labelled else "")
                + (f"  ({unlabelled:,} without label)" if unlabelled else "")
            )
            lines += [f"        median (90 %): {describe_lengths(split.quantiles)}"] if split.quantiles else []
        lines.append(
            f"  all of this as a page: {self.output}/{PAGE}; count, missingness and quantiles of each variable: {FILE} beside it"
        )
        lines += [f"  rule: {rule}" for rule in self.rules]
        lines += [f"  labels: {self.labels}"] if self.labels else []
        if self.quarantined:
            lines.append(
                f"  quarantined subjects: {self.quarantined:,}, listed in {self.output}/quarantine.csv; the first:"
            )
            lines += [f"    {reason}" for reason in self.first_reasons]
        lines += [f"  {note}" for note in self.notes()]
        if self.rows_dropped:
            lines.append(f"  rows left out are listed in {self.output}/dropped_rows.csv")
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """What was left out and what is worth a look, a sentence each, none of which names a subject."""
        notes = []
        if self.repeated_measurements:
            notes.append(f"repeated measurements dropped (last kept): {self.repeated_measurements:,}")
        notes += [
            f"{rule.replace('_', ' ')} (dropped): {count:,}" for rule, count in self.left_out_by_source.items() if count
        ]
        if self.unknown_variables:
            most = sorted(self.unknown_variables.items(), key=lambda item: -item[1])[:10]
            listed = ", ".join(f"{name} ({count:,})" for name, count in most)
            who = f"{self.vocabulary_of} does not know" if self.vocabulary_of else "train does not contain"
            events = sum(self.unknown_variables.values())
            notes.append(
                f"events of variables that {who} (dropped): {events:,} of {len(self.unknown_variables):,}; {listed}"
            )
        if self.absent_variables:
            listed = ", ".join(self.absent_variables[:10]) + (", ..." if len(self.absent_variables) > 10 else "")
            notes.append(f"variables of the model that no stay has: {len(self.absent_variables):,}; {listed}")
        notes += [f"rows left out: {count:,} whose {reason}" for reason, count in self.rows_dropped.items()]
        notes += self._worth_a_look()
        return [*notes, *(f"warning: {warning}" for warning in self.warnings)]

    def _worth_a_look(self) -> list[str]:
        lines = []
        if self.names_stripped:
            lines.append(f"names of variables with blanks around them (stripped): {self.names_stripped:,} events")
        if self.rare_variables:
            lines.append(f"variables in too few subjects (left out): {self.rare_variables:,}")
        if self.subjects_without_frequent_variable:
            lines.append(f"subjects with no other variables (left out): {self.subjects_without_frequent_variable:,}")
        if self.without_number:
            most = sorted(self.without_number.items(), key=lambda item: -item[1])
            listed = ", ".join(f"{name} ({share:.0%})" for name, share in most[:5])
            lines.append(f"variables with events without a number: {len(most):,}, e.g. {listed}")
        if self.near_duplicates:
            listed = "; ".join(", ".join(map(repr, group)) for group in self.near_duplicates[:10])
            lines.append(f"warning: names that are nearly the same, kept apart: {listed}")
        for split, shares in self.far_from_train.items():
            listed = ", ".join(f"{name} ({share:.0%} of its values)" for name, share in list(shares.items())[:10])
            whose = self.vocabulary_of or "train"
            lines.append(f"warning: {split} has values far outside those of {whose}, perhaps in another unit: {listed}")
        return lines
