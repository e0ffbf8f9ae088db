"""An alert as an entry of a log, as a block on the console and as a message. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from seqsetvae.collapse.alerts import PRIMARY, Alert
from seqsetvae.collapse.diagnosis import Diagnosis, Level

CIRCLES = {Level.UNKNOWN: "⚪", Level.GREEN: "🟢", Level.YELLOW: "🟡", Level.ORANGE: "🟠", Level.RED: "🔴"}
LOG_WORDS = {
    Level.UNKNOWN: "WARNING",
    Level.GREEN: "INFO",
    Level.YELLOW: "WARNING",
    Level.ORANGE: "WARNING",
    Level.RED: "ERROR",
}


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

    >>> from seqsetvae.collapse.diagnosis import Indicator
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
    if diagnosis.probability is not None and diagnosis.level < Level.RED:
        lines.append(f"probability that the run ends collapsed: {diagnosis.probability:.0%}")
    if diagnosis.held_back:
        lines.append(f"not called a collapse yet: {diagnosis.held_back}")
    return [*lines, f"advice: {diagnosis.advice}"]
