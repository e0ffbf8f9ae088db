"""What an evaluation says beside its scores: what each threshold offers, how sure the risks are, and why the highest ones are so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seqsetvae import names
from seqsetvae.config import EvaluateConfig
from seqsetvae.curves import Band, bands
from seqsetvae.evaluation.doubt import COLUMNS, DoubtRow, doubt_rows, doubt_text
from seqsetvae.evaluation.explain import Explained, explain_riskiest
from seqsetvae.evaluation.predictions import Answered
from seqsetvae.evaluation.tables import record_curves
from seqsetvae.scores import Floats
from seqsetvae.tracking.write.run import Run


@dataclass(frozen=True)
class CloserLook:
    """Each part is empty where it was not asked for, or the answers are no risks."""

    curves: dict[str, dict[str, Band]]
    """By model, then by curve."""
    doubt: list[DoubtRow]
    explained: Explained | None

    @classmethod
    def take(
        cls,
        answered: Mapping[str, Answered],
        risks: Mapping[str, Floats],
        label_B: Floats,
        config: EvaluateConfig,
    ) -> CloserLook:
        """Look at some models, and at the risks of these and the baselines.

        Raises:
            InputError: of :func:`~seqsetvae.evaluation.explain.explain_riskiest`.
        """
        are_risks = next(iter(answered.values())).model.kind.name == "binary"
        return cls(
            {name: bands(label_B, said, config.bootstrap) for name, said in risks.items()} if are_risks else {},
            doubt_rows(answered, config.draws) if are_risks and config.draws else [],
            explain_riskiest(answered, config.explain) if config.explain else None,
        )

    @property
    def texts(self) -> list[str]:
        """For the terminal."""
        return [*([doubt_text(self.doubt)] if self.doubt else []), *([str(self.explained)] if self.explained else [])]

    def record(self, run: Run, label_B: Floats, head: str) -> None:
        """With the run."""
        if self.curves:
            record_curves(run, self.curves, label_B, head)
        if self.doubt:
            run.log_table(
                {"columns": list(COLUMNS), "data": [list(row) for row in self.doubt]}, names.ARTIFACT_EVALUATION_DOUBT
            )
        if self.explained is not None:
            self.explained.record(run)
