"""What a person reads on the page of a pretraining run in MLflow: Markdown, the verdict first, since the UI folds the rest away."""

from __future__ import annotations

from collections.abc import Mapping

from seqsetvae import names
from seqsetvae.collapse.alert_texts import CIRCLES
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.tracking.compat.experiment_page import artifact_links, picture
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.monitor.collapse_outcome import CollapseOutcome
from seqsetvae.training.plan import Plan

HEADLINES = {
    Level.UNKNOWN: "Not known whether the latents are in use",
    Level.GREEN: "Healthy",
    Level.YELLOW: "One indicator is out of range",
    Level.ORANGE: "Close to collapse",
    Level.RED: "Posterior collapse",
}


def describe_end(
    run: Run, plan: Plan, outcome: CollapseOutcome | None, metrics: Mapping[str, float], remark: str, drawn: bool
) -> str:
    """Of a run that came to its end, or that the monitor ended.

    Args:
        run: that it is about.
        plan: what it was to do.
        outcome: what the monitor saw; None if nobody watched.
        metrics: of the last validation.
        remark: what else there is to know; may be empty.
        drawn: whether the run has collapse figures.
    """
    parts = [f"{headline(outcome)} {validation(metrics)}".strip(), remark]
    measured = outcome is not None and outcome.last is not None
    if drawn and measured:
        parts.append(picture(run.run_id, names.ARTIFACT_COLLAPSE_THUMBNAIL, "Indicators of collapse over the run"))
    if outcome is not None and outcome.last is not None:
        parts.append(indicators(outcome.last, plan.config.monitor))
    parts.append(settings(plan.words()))
    files = {names.ARTIFACT_CONFIG: "settings", names.ARTIFACT_CHECKPOINTS: "checkpoints"}
    if outcome is not None:
        files |= {names.ARTIFACT_COLLAPSE_REPORT: "the monitor's report"}
    if outcome is not None and outcome.worst > Level.GREEN:
        files |= {names.ARTIFACT_ALERTS: "alerts"}
    parts.append(artifact_links(run.experiment_id, run.run_id, files))
    return "\n\n".join(part for part in parts if part)


def headline(outcome: CollapseOutcome | None) -> str:
    """The verdict in a few words.

    >>> headline(CollapseOutcome(Level.RED, Level.RED, 102, 108, None, None))
    '⚪ **Not measured:** the run was too short.'
    >>> headline(None)
    '⚪ **Not watched for collapse.**'
    """
    if outcome is None:
        return "⚪ **Not watched for collapse.**"
    if outcome.last is None:
        return "⚪ **Not measured:** the run was too short."
    words = HEADLINES[outcome.level]
    if outcome.first_red_step is not None:
        step = f"step {outcome.first_red_step}"
        words = f"{words} since {step}" if outcome.level == Level.RED else f"{words} after a collapse at {step}"
    if outcome.stopped_at is not None:
        words += f", ended at step {outcome.stopped_at}"
    last = outcome.last
    return (
        f"{CIRCLES[outcome.level]} **{words}.** {last.active_units} of {last.latent_dim} latent dimensions in use, mutual information "
        f"{last.mutual_information:.2f} nats."
    )


def validation(metrics: Mapping[str, float]) -> str:
    """The last validation in words; empty without one.

    >>> validation({"val_loss": 24.66, "val_recon": 20.313, "val_kl": 4.347})
    'Validation: −ELBO **24.66** = reconstruction 20.31 + KL 4.35 nats per set.'
    """
    if not {names.VAL_LOSS, names.VAL_RECON, names.VAL_KL} <= metrics.keys():
        return ""
    loss, recon, kl = (metrics[key] for key in (names.VAL_LOSS, names.VAL_RECON, names.VAL_KL))
    return f"Validation: −ELBO **{loss:.2f}** = reconstruction {recon:.2f} + KL {kl:.2f} nats per set."


def indicators(last: CollapseStatistics, config: SettledMonitor) -> str:
    """The last update as a list, each figure beside its threshold."""
    lines = [
        f"KL {last.kl:.3g} nats per set (collapse: below {config.kl_threshold:g})",
        f"mutual information {last.mutual_information:.3g} of at most {last.mutual_information_ceiling:.2f} nats "
        f"(below {config.mutual_information_threshold:g})",
        f"active units {last.active_units} of {last.latent_dim}, {last.active_units_ratio:.0%} "
        f"(below {config.active_units_threshold:.0%})",
    ]
    if last.heard is not None:
        lines.append(f"decoder gets {last.heard:.3g} nats per set (below {config.decoder_use_threshold:g})")
    return "\n".join([f"At the end, step {last.step}:\n", *(f"- {line}" for line in lines)])


def settings(plan: Mapping[str, str]) -> str:
    """The words of a plan as a list.

    >>> print(settings({"data": "demo: train 320"}))
    Settings:
    <BLANKLINE>
    - **data** demo: train 320
    """
    return "\n".join(["Settings:\n", *(f"- **{topic}** {text}" for topic, text in plan.items())])
