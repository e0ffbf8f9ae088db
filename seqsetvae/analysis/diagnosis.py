"""What a run suffers from, in words: collapse, over-fitting, instability, regularization, stagnation, as the source guides define them.

Pure: from the recorded metrics alone. A healthy run gets no finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqsetvae import names
from seqsetvae.analysis.findings import Finding
from seqsetvae.analysis.instability import instability
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.tracking.read.recorded_run import Series
from seqsetvae.tracking.read.smoothing import finite, head, running_mean, tail

KL_DEAD, KL_LOW, KL_HIGH = 0.01, 0.1, 100.0
"""The guides' KL of a collapse, the lower end of their normal range (0.1-10), and that of a possible over-regularization; nats per set."""
LEAST_POINTS = 10
"""Training points from which trends are judged."""
LEAST_VALIDATIONS = 4
OVERFIT = 0.02
"""Share by which the validation loss must rise above its lowest while training goes on to improve."""
GIVEN_UP = 0.05
"""Share by which the reconstruction may worsen while beta rises."""
STALLED = 0.005
"""Improvement of the reconstruction over the last half of a run, as a share of it, below which it stagnates."""
NEVER_LEARNED = 0.02
"""And the improvement over the whole run, below which it never got going."""


@dataclass(frozen=True)
class Evidence:
    """What is judged: metrics that hold numbers, and what the monitor said."""

    metrics: Mapping[str, Series]
    alerts: Sequence[Diagnosis] = ()
    """Changes of level by the run's own rules, oldest first: recorded or replayed."""
    params: Mapping[str, str] | None = None
    imported: bool = False
    """Whether its collapse metrics come without a judgement by our rules."""

    @property
    def watched(self) -> bool:
        return names.COLLAPSE_KL in self.metrics and not self.imported

    def get(self, key: str) -> Series | None:
        return finite(self.metrics.get(key))

    def param(self, key: str, default: str = "") -> str:
        return (self.params or {}).get(key, default)


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings, the worst first; none for a healthy run."""
    found = [
        collapse(evidence),
        instability(evidence.metrics, _number(evidence.param("trainer/gradient_clip_val"))),
        overfitting(evidence),
        regularization(evidence),
        stagnation(evidence),
    ]
    kept = [one for one in found if one is not None]
    if any(one.name == COLLAPSE and one.level == Level.RED for one in kept):
        # These two are what a collapse looks like, not further troubles.
        kept = [one for one in kept if one.name not in (STRONG, STAGNANT)]
    return sorted(kept, key=lambda one: -one.level)


def unjudged(evidence: Evidence) -> list[str]:
    """What could not be judged, and why."""
    said = []
    train, validated = evidence.get(names.TRAIN_LOSS), evidence.get(names.VAL_LOSS)
    if not evidence.watched:
        why = (
            "The run was imported from event files: its losses may be in other units than ours, and it has no settings of our monitor"
            if evidence.imported
            else "The run has no collapse metrics (it was not watched)"
        )
        said.append(f"{why}: a collapse is judged by its KL alone.")
    if train is None or len(train) < LEAST_POINTS:
        points = 0 if train is None else len(train)
        said.append(
            f"Only {points} points of {names.TRAIN_LOSS}: stability and stagnation are not judged below {LEAST_POINTS}."
        )
    if validated is None or len(validated) < LEAST_VALIDATIONS:
        times = 0 if validated is None else len(validated)
        said.append(f"Only {times} validations: over-fitting is not judged below {LEAST_VALIDATIONS}.")
    return said


COLLAPSE, OVERFITTING, STRONG, WEAK = "posterior collapse", "over-fitting", "too strong regularization", "KL beyond 100"
STAGNANT = "stagnating reconstruction"


def collapse(evidence: Evidence) -> Finding | None:
    """By the monitor's level where there was one, else by the guides' KL < 0.01."""
    kl = evidence.get(names.COLLAPSE_KL)
    kl = evidence.get(names.TRAIN_KL) if kl is None else kl
    kl = evidence.get(names.VAL_KL) if kl is None else kl
    own = [alert for alert in evidence.alerts if alert.detector == "primary"]
    reds = [alert for alert in own if alert.level == Level.RED]
    now = own[-1].level if own else Level.GREEN
    advice = list(dict.fromkeys(alert.advice for alert in [*reds[:1], *own[-1:]] if alert.level >= Level.ORANGE))
    if now >= Level.ORANGE:
        level = now
        said = [f"{now.word} since step {own[-1].step:,}: " + "; ".join(own[-1].reasons)]
    elif reds:
        level = Level.YELLOW
        back = next(alert for alert in own if alert.step > reds[-1].step and alert.level < Level.RED)
        said = [f"red from step {reds[-1].step:,} on, back since step {back.step:,}: the posterior has recovered"]
    elif not evidence.watched and kl is not None and tail(kl) < KL_DEAD:
        level = Level.RED
        said = [f"KL is {tail(kl):.3g} nats per set at the end, below {KL_DEAD} (it began at {head(kl):.3g})"]
    elif now == Level.YELLOW and own[-1].held_back:
        level = Level.YELLOW
        said = [f"it looks collapsed since step {own[-1].step:,}: {'; '.join(own[-1].reasons)}", own[-1].held_back]
    else:
        return None
    for key, words in (
        (names.COLLAPSE_ACTIVE_UNITS, "active units"),
        (names.COLLAPSE_MUTUAL_INFORMATION, "mutual information, nats"),
        (names.COLLAPSE_DECODER_INFORMATION, "information that reaches the decoder, nats per set"),
    ):
        if (series := evidence.get(key)) is not None:
            said.append(
                f"{words}: {series.value_T[-1]:.3g} at step {series.step_T[-1]:,} (highest {series.value_T.max():.3g})"
            )
    if stall := _stall(evidence):
        said.append(stall)
    if not advice:
        beta = _number(evidence.param("objective/max_beta"))
        lower = f" (it was {beta:g}; try {beta / 10:g})" if beta else ""
        advice = [
            f"Lower --objective.max_beta{lower}, give some --objective.free_bits, or lengthen --objective.beta_warmup_steps."
        ]
    if evidence.param("monitor/on_collapse") not in ("", "rescue") and level == Level.RED:
        advice.append(
            "Or train with --monitor.on_collapse rescue, which goes back to the last healthy checkpoint by itself."
        )
    return Finding(COLLAPSE, level, tuple(said), tuple(advice))


def overfitting(evidence: Evidence) -> Finding | None:
    """Validation loss rises from its lowest while the training loss still falls.

    By the reconstruction where it was recorded: beta, which changes during a run, does not stand in it.
    """
    key, pair = names.VAL_RECON, (evidence.get(names.VAL_RECON), evidence.get(names.TRAIN_RECON))
    if None in pair:
        key, pair = names.VAL_LOSS, (evidence.get(names.VAL_LOSS), evidence.get(names.TRAIN_LOSS))
    validated, trained = pair
    if validated is None or trained is None or len(validated) < LEAST_VALIDATIONS or len(trained) < LEAST_POINTS:
        return None
    best = int(np.argmin(validated.value_T))
    later = validated.value_T[best + 1 :]
    lowest, end = float(validated.value_T[best]), float(np.median(later[-3:])) if len(later) else -np.inf
    if len(later) < 2 or end < lowest + OVERFIT * abs(lowest):
        return None
    best_step = int(validated.step_T[best])
    around = np.abs(trained.step_T - best_step) <= max(1, (trained.step_T[-1] - trained.step_T[0]) // 20)
    if not around.any() or tail(trained) >= float(np.median(trained.value_T[around])):
        return None
    then = float(np.median(trained.value_T[around]))
    said = [
        f"{key} was lowest at step {best_step:,} ({lowest:.4g} nats per set) and is {end:.4g} at step {validated.step_T[-1]:,}: "
        f"{(end - lowest) / abs(lowest or 1.0):+.1%}",
        f"the same on the train split went on falling, from {then:.4g} to {tail(trained):.4g}",
    ]
    for name in ("val_auc", "val_auprc"):
        score = evidence.get(name)
        if score is not None and score.value_T[-1] < score.value_T.max() - 0.01:
            at = score.step_T[int(np.argmax(score.value_T))]
            said.append(f"{name} fell from {score.value_T.max():.3f} (step {at:,}) to {score.value_T[-1]:.3f}")
    return Finding(
        OVERFITTING,
        Level.ORANGE,
        tuple(said),
        (
            f"Use the checkpoint best_*.ckpt from about step {best_step:,}, or end the run there (--trainer.max_steps {best_step}).",
            "More --optimizer.weight_decay or --model.dropout, or a higher --objective.max_beta.",
            "A smaller --model.width, --model.history_layers or --model.latent_dim; or more patients.",
        ),
    )


def regularization(evidence: Evidence) -> Finding | None:
    """KL below the normal range, or reconstruction given up for it as beta rises: too strong. Above 100: out of range as well."""
    kl, recon, beta = (evidence.get(key) for key in (names.TRAIN_KL, names.TRAIN_RECON, names.BETA))
    kl = evidence.get(names.VAL_KL) if kl is None else kl
    if kl is None or len(kl) < LEAST_POINTS:
        return None
    if tail(kl) > KL_HIGH:
        return _too_high(evidence, kl)
    said = []
    if KL_DEAD <= tail(kl) < KL_LOW:
        said.append(
            f"KL is {tail(kl):.3g} nats per set at the end, below the normal range of {KL_LOW:g} to 10 (it began at {head(kl):.3g})"
        )
    given_up = _given_up(recon, kl, beta)
    if given_up:
        said.append(given_up)
    if not said:
        return None
    highest = None if beta is None else float(beta.value_T.max())
    lower = f" (it reached {highest:g}; try {highest / 3:.2g})" if highest else ""
    return Finding(
        STRONG,
        Level.ORANGE,
        tuple(said),
        (
            f"Lower --objective.max_beta{lower}, or let --objective.beta_schedule controller hold the KL at --objective.kl_target.",
            "Free bits (--objective.free_bits 0.01) leave each dimension some nats that cost nothing.",
        ),
    )


def _too_high(evidence: Evidence, kl: Series) -> Finding:
    said = [f"KL is {tail(kl):.4g} nats per set at the end, above {KL_HIGH:g} (normal: {KL_LOW:g} to 10)"]
    information = evidence.get(names.COLLAPSE_MUTUAL_INFORMATION)
    if information is not None:
        said.append(f"of it the mutual information explains {tail(information):.3g} nats")
    said.append(
        "the guides read this as too strong regularization; what it shows is that the posterior lies far from the prior, whatever beta is"
    )
    return Finding(
        WEAK,
        Level.ORANGE,
        tuple(said),
        (
            "Where beta has reached its height: raise --objective.max_beta, or hold the KL with --objective.beta_schedule controller.",
            "With free bits: they are paid in every dimension (free_bits x latent_dim nats at least), so lower --objective.free_bits.",
            "Fewer --model.latent_dim; and look for extreme values in the data (`seqsetvae check`).",
        ),
    )


def _given_up(recon: Series | None, kl: Series, beta: Series | None) -> str:
    """In words that the reconstruction has worsened as beta rose and KL fell; empty if not so."""
    if recon is None or beta is None or len(recon) < LEAST_POINTS:
        return ""
    smooth_T = running_mean(recon.value_T, max(3, len(recon) // 10))
    best = int(np.argmin(smooth_T))
    lowest, end = float(smooth_T[best]), tail(recon)
    beta_then, beta_now = float(np.interp(recon.step_T[best], beta.step_T, beta.value_T)), tail(beta)
    kl_then = float(np.interp(recon.step_T[best], kl.step_T, kl.value_T))
    if end < lowest + GIVEN_UP * abs(lowest) or beta_now <= 1.1 * beta_then or tail(kl) >= 0.5 * kl_then:
        return ""
    return (
        f"the reconstruction has worsened from {lowest:.4g} nats per set at step {recon.step_T[best]:,} to {end:.4g} while beta rose from "
        f"{beta_then:.3g} to {beta_now:.3g} and KL fell from {kl_then:.3g} to {tail(kl):.3g}"
    )


def stagnation(evidence: Evidence) -> Finding | None:
    """Reconstruction that does not fall any more over the last half of the run, or never did."""
    said = _stall(evidence)
    if not said:
        return None
    return Finding(
        STAGNANT,
        Level.YELLOW,
        (said,),
        (
            "If it is good enough, a shorter run would do (--trainer.max_epochs).",
            "Else more capacity: --model.width, --model.latent_dim, --model.history_layers; or a higher --optimizer.lr.",
        ),
    )


def _stall(evidence: Evidence) -> str:
    recon = evidence.get(names.TRAIN_RECON)
    if recon is None or len(recon) < 2 * LEAST_POINTS:
        return ""
    half = len(recon) // 2
    third = max(1, (len(recon) - half) // 3)
    middle, end = (float(np.median(part)) for part in (recon.value_T[half : half + third], recon.value_T[-third:]))
    whole = head(recon) - end
    if whole < NEVER_LEARNED * abs(head(recon)):
        return f"the reconstruction has hardly improved over the whole run: {head(recon):.4g} to {end:.4g} nats per set"
    # Noise of a batch must not look like progress, nor hide a lack of it: both ends are medians of a sixth of the run.
    if middle - end < STALLED * abs(middle):
        return (
            f"the reconstruction stagnates: {middle:.4g} nats per set after step {recon.step_T[half]:,}, {end:.4g} at the end "
            f"(step {recon.step_T[-1]:,})"
        )
    return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
