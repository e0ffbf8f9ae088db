"""`evaluate --explain`: why the stays of highest risk have it, event by event, as a table and a figure of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqsetvae import names
from seqsetvae.data.packed import Packed
from seqsetvae.evaluation.predictions import Answered
from seqsetvae.evaluation.tables import label
from seqsetvae.extras import require
from seqsetvae.figures.contributions import Contributor, draw_contributions
from seqsetvae.tracking.write.run import Run

COLUMNS = ("model", "row", "risk", "hour", "variable", "value", "by_value", "by_deletion")


@dataclass(frozen=True)
class Explained:
    """Of some stays, one after the other."""

    rows: list[list[object]]
    """A row for each event, as :data:`COLUMNS`; stays are called by their row among the labelled ones of the split."""
    agreement: dict[str, float]
    """Rank correlation of the two ways, mean over the stays of each model; NaN where there is none."""
    figure: bytes
    """The stay of highest risk, by the first model."""

    def __str__(self) -> str:
        said = [f"{label(name)} {value:.2f}" for name, value in self.agreement.items()]
        return f"Contributions by value and by deletion go together with a mean rank correlation of {', '.join(said)}."

    def record(self, run: Run) -> None:
        """With the run."""
        run.log_table({"columns": list(COLUMNS), "data": self.rows}, names.ARTIFACT_EVALUATION_CONTRIBUTIONS)
        run.log_figure(self.figure, names.ARTIFACT_EVALUATION_CONTRIBUTIONS_FIGURE)


def explain_riskiest(answered: Mapping[str, Answered], stays: int) -> Explained:
    """The stays that each model gives the highest answers.

    Raises:
        InputError: captum is not installed, or the answers are several numbers.
    """
    require("explain", "--evaluate.explain")
    from seqsetvae.training.finetuning.explaining import contributions

    rows: list[list[object]] = []
    agreement: dict[str, float] = {}
    shown: tuple[str, Sequence[Contributor]] | None = None
    for name, (model, packed, risk_B) in answered.items():
        vocabulary = model.pretrained.vocabulary
        found = []
        for row in np.argsort(-risk_B.reshape(len(risk_B), -1)[:, 0], kind="stable")[:stays].tolist():
            stay = packed.rows(row, row + 1)
            said = contributions(model.net, vocabulary, stay)
            found.append(said.agreement)
            events = list(events_of(stay, vocabulary.names, said.by_value_N, said.by_deletion_N))
            rows += [[name, row, float(risk_B[row]), *vars(one).values()] for one in events]
            shown = shown or (f"{label(name)}: the stay in row {row}, answer {float(risk_B[row]):.3f}", events)
        agreement[name] = float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
    assert shown is not None
    return Explained(rows, agreement, draw_contributions(shown[1], shown[0]))


def events_of(
    stay: Packed, variables: Sequence[str], by_value_N: np.ndarray, by_deletion_N: np.ndarray
) -> list[Contributor]:
    """The events of one stay, None in place of NaN, which JSON does not have."""
    columns = (
        (stay.minute_N / 60.0).tolist(),
        stay.variable_N.tolist(),
        stay.value_N.tolist(),
        by_value_N.tolist(),
        by_deletion_N.tolist(),
    )
    return [
        Contributor(round(hour, 3), variables[variable], _there(value), by_value, _there(by_deletion))
        for hour, variable, value, by_value, by_deletion in zip(*columns, strict=True)
    ]


def _there(value: float) -> float | None:
    return None if np.isnan(value) else value
