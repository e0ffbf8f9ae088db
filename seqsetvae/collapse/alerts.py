"""`Alert`: a diagnosis that changed the level of a run, and how it is written down and read back without loss. Pure.

Two forms: plain values, as a checkpoint may hold them, and a row of the table that people see in MLflow (`alerts.json`), whose last
column is the whole alert once more, exactly.
"""

from __future__ import annotations

import json
import math
import time
from calendar import timegm
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seqsetvae.collapse.diagnosis import Diagnosis, Indicator, Level
from seqsetvae.errors import InputError

FORMAT = 2
"""Version of what :meth:`Alert.encode` gives."""
PRIMARY = "primary"
"""The detector that acts; an early warning beside it has another name."""
EXACT = "alert"
"""Column with the whole alert as JSON."""
COLUMN_OF = {"active_units": "active_units_ratio"}
"""Indicators whose column says more than their name: it is the ratio that has the threshold."""
COLUMNS = (
    "step",
    "level",
    "reasons",
    "kl",
    "active_units_ratio",
    "mutual_information",
    "decoder_use",
)
LAST_COLUMNS = ("thresholds", "probability", "beta", "held_back", "advice", "time", "detector", EXACT)
"""These are always there. What else was measured gets columns between them once it has occurred."""


@dataclass(frozen=True)
class Alert:
    """A diagnosis and when it was made, in seconds since the epoch."""

    diagnosis: Diagnosis
    time: float

    def encode(self) -> dict[str, Any]:
        """As plain values that JSON has words for: no classes of ours; NaN and inf as text."""
        diagnosis = vars(self.diagnosis) | {
            "level": int(self.diagnosis.level),
            "indicators": [
                vars(one) | {"value": _written(one.value), "threshold": _written(one.threshold)}
                for one in self.diagnosis.indicators
            ],
            "reasons": list(self.diagnosis.reasons),
            "beta": None if self.diagnosis.beta is None else _written(self.diagnosis.beta),
        }
        return {"format": FORMAT, "time": self.time, "diagnosis": diagnosis}

    @classmethod
    def decode(cls, plain: Mapping[str, Any]) -> Alert:
        """What :meth:`encode` was given.

        Raises:
            InputError: it was written by a newer version.
        """
        if plain.get("format", FORMAT) > FORMAT:
            raise InputError(
                f"An alert has format {plain['format']}; this version of seqsetvae knows {FORMAT} at most. Install the newer one."
            )
        content = plain["diagnosis"]
        indicators = [
            one | {"value": float(one["value"]), "threshold": float(one["threshold"])} for one in content["indicators"]
        ]
        beta = content["beta"]
        diagnosis = content | {
            "level": Level(content["level"]),
            "indicators": tuple(Indicator(**one) for one in indicators),
            "reasons": tuple(content["reasons"]),
            "beta": None if beta is None else float(beta),
        }
        return cls(Diagnosis(**diagnosis), plain["time"])


def _written(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def as_row(alert: Alert) -> dict[str, str | int | float | None]:
    """Column -> cell.

    >>> kl = Indicator("kl", "KL divergence", 0.008, 0.01)
    >>> alert = Alert(Diagnosis(2000, Level.YELLOW, (kl,), (str(kl),), "Lower beta.", beta=0.5), 1734705022.123)
    >>> row = as_row(alert)
    >>> row["time"], row["level"], row["kl"], row["thresholds"], row["reasons"]
    ('2024-12-20T14:30:22Z', 'yellow', 0.008, 'kl < 0.01', 'KL divergence too low: 0.008000 < 0.01')
    >>> from_row(row) == alert
    True
    """
    diagnosis = alert.diagnosis
    indicators = {COLUMN_OF.get(one.name, one.name): one for one in diagnosis.indicators}
    limits = [f"{name} {'<' if one.fires_below else '>'} {one.threshold:g}" for name, one in indicators.items()]
    return {
        "step": diagnosis.step,
        "level": diagnosis.level.word,
        "reasons": "; ".join(diagnosis.reasons),
        **{name: number(one.value) for name, one in indicators.items()},
        "thresholds": "; ".join(limits),
        "probability": number(diagnosis.probability),
        "beta": number(diagnosis.beta),
        "held_back": diagnosis.held_back,
        "advice": diagnosis.advice,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(alert.time)),
        "detector": diagnosis.detector,
        EXACT: json.dumps(alert.encode(), ensure_ascii=False, allow_nan=False),
    }


def from_row(row: Mapping[str, Any]) -> Alert:
    """The alert of a row; of a table from before the exact column was written, without its indicators and to the second."""
    if exact := row.get(EXACT):
        return Alert.decode(json.loads(exact))
    beta = row.get("beta")
    diagnosis = Diagnosis(
        step=int(row["step"]),
        level=Level[str(row["level"]).upper()],
        indicators=(),
        reasons=tuple(str(row["reasons"] or "").split("; ")),
        advice=str(row["advice"] or ""),
        held_back=str(row.get("held_back") or ""),
        beta=None if beta is None else float(beta),
        detector=str(row.get("detector") or PRIMARY),
    )
    return Alert(diagnosis, _seconds(row.get("time")))


def _seconds(stamp: str | None) -> float:
    return float(timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))) if stamp else 0.0


def number(value: float | None) -> float | None:
    """Six digits, for people; None for what JSON has no word for.

    >>> number(1 / 3), number(float("nan"))
    (0.333333, None)
    """
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def as_table(alerts: Iterable[Alert]) -> dict[str, list[Any]]:
    """All rows, as MLflow's tables have them: `columns`, and `data` row by row."""
    rows = [as_row(alert) for alert in alerts]
    measured = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS + LAST_COLUMNS)
    columns = [*COLUMNS, *measured, *LAST_COLUMNS]
    return {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
