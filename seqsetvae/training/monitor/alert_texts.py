"""An alert as a row of a table, as an entry of a log, as a block on the console and as a message. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from seqsetvae.collapse.diagnosis import Diagnosis, Indicator, Level

CIRCLES = {Level.GREEN: "🟢", Level.YELLOW: "🟡", Level.ORANGE: "🟠", Level.RED: "🔴"}
LOG_WORDS = {Level.GREEN: "INFO", Level.YELLOW: "WARNING", Level.ORANGE: "WARNING", Level.RED: "ERROR"}
PRIMARY = "primary"

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
LAST_COLUMNS = ("thresholds", "beta", "held_back", "advice", "time", "detector")
"""These are always there. What the rules `source` measure instead gets columns between them once it has occurred."""


@dataclass(frozen=True)
class Alert:
    """A diagnosis and when it was made, in seconds since the epoch."""

    diagnosis: Diagnosis
    time: float

    def plain(self) -> dict[str, Any]:
        """As a checkpoint may hold it: no classes of ours."""
        content = vars(self.diagnosis) | {
            "level": int(self.diagnosis.level),
            "indicators": [vars(one) for one in self.diagnosis.indicators],
            "reasons": list(self.diagnosis.reasons),
        }
        return {"time": self.time, "diagnosis": content}

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Alert:
        content = plain["diagnosis"]
        diagnosis = content | {
            "level": Level(content["level"]),
            "indicators": tuple(Indicator(**one) for one in content["indicators"]),
            "reasons": tuple(content["reasons"]),
        }
        return cls(Diagnosis(**diagnosis), plain["time"])


def as_row(alert: Alert) -> dict[str, str | int | float | None]:
    """Column -> cell.

    >>> kl = Indicator("kl", "KL divergence", 0.008, 0.01)
    >>> alert = Alert(Diagnosis(2000, Level.YELLOW, (kl,), (str(kl),), "Lower beta.", beta=0.5), 1734705022.123)
    >>> row = as_row(alert)
    >>> row["time"], row["level"], row["kl"], row["thresholds"], row["reasons"]
    ('2024-12-20T14:30:22Z', 'yellow', 0.008, 'kl < 0.01', 'KL divergence too low: 0.008000 < 0.01')
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
        "beta": number(diagnosis.beta),
        "held_back": diagnosis.held_back,
        "advice": diagnosis.advice,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(alert.time)),
        "detector": diagnosis.detector,
    }


def number(value: float | None) -> float | None:
    """Six digits, for people; None for what JSON has no word for.

    >>> number(1 / 3), number(float("nan"))
    (0.333333, None)
    """
    return None if value is None or not isfinite(value) else float(f"{value:.6g}")


def as_table(alerts: Iterable[Alert]) -> dict[str, list[Any]]:
    """All rows, as MLflow's tables have them: `columns`, and `data` row by row."""
    rows = [as_row(alert) for alert in alerts]
    measured = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS + LAST_COLUMNS)
    columns = [*COLUMNS, *measured, *LAST_COLUMNS]
    return {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}


def log_stamp(seconds: float) -> str:
    """Local time as the logging module writes it, such as 2024-12-20 14:30:22,123."""
    milliseconds = int(seconds * 1000)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds // 1000))
    return f"{clock},{milliseconds % 1000:03d}"


def log_entry(seconds: float, level: Level, message: str) -> str:
    """As the logging module has it, with a time in seconds since the epoch."""
    return f"{log_stamp(seconds)} - {LOG_WORDS[level]} - {message}"


def as_log_entry(alert: Alert) -> str:
    """As the guides' log has it, with the advice."""
    diagnosis = alert.diagnosis
    siren = "🚨 " if diagnosis.level == Level.RED else ""
    lines = [siren + headline(diagnosis), *(f"  - {line}" for line in evidence(diagnosis))]
    return log_entry(alert.time, diagnosis.level, "\n".join(lines))


def as_block(diagnosis: Diagnosis) -> str:
    """For the console.

    >>> kl = Indicator("kl", "KL divergence", 0.008, 0.01)
    >>> print(as_block(Diagnosis(2000, Level.YELLOW, (kl,), (str(kl),), "Lower beta.", beta=0.5)))
    🟡 Step 2000: posterior collapse warning!
      - KL divergence too low: 0.008000 < 0.01
      - beta: 0.5
      - advice: Lower beta.
    """
    lines = [f"{CIRCLES[diagnosis.level]} {headline(diagnosis)}", *(f"  - {line}" for line in evidence(diagnosis))]
    return "\n".join(lines)


def as_message(diagnosis: Diagnosis, before: Level, subject: str) -> tuple[str, str]:
    """Title and body for whoever is away: what it is about stands in both, since some services show only one of them."""
    about = subject or "seqsetvae"
    now = f"{diagnosis.level.word}{', no longer red' if before == Level.RED > diagnosis.level else ''}"
    title = f"{CIRCLES[diagnosis.level]} {about}: {headline(diagnosis)} ({now})"
    return title, "\n".join([f"{about} at step {diagnosis.step}: {now}", *evidence(diagnosis)])


def headline(diagnosis: Diagnosis) -> str:
    """What happened, and who says so where several detectors stand side by side."""
    return diagnosis.headline + ("" if diagnosis.detector == PRIMARY else f" [{diagnosis.detector}]")


def evidence(diagnosis: Diagnosis) -> Sequence[str]:
    """Reasons, beta, why it is not red, advice. Nothing to say when all is well again."""
    if diagnosis.level == Level.GREEN:
        return diagnosis.reasons
    lines = list(diagnosis.reasons)
    if diagnosis.beta is not None:
        lines.append(f"beta: {diagnosis.beta:.3g}")
    if diagnosis.held_back:
        lines.append(f"not called a collapse yet: {diagnosis.held_back}")
    return [*lines, f"advice: {diagnosis.advice}"]
