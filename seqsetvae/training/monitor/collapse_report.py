"""The report at the end of a monitored run, as in the source guides."""

from __future__ import annotations

from pathlib import Path

from seqsetvae.collapse.attribution import Lost
from seqsetvae.collapse.detector import DetectorState
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.training.clock import clock


def final_report(
    state: DetectorState,
    config: SettledMonitor,
    last: CollapseStatistics | None,
    *,
    planned_steps: int,
    done_steps: int,
    seconds: float,
    backup: Path | None,
    log_file: str,
    outcome: str,
    lost: Lost | None = None,
) -> str:
    """What the monitor saw, by which settings, and what that was worth.

    Args:
        state: of the primary detector.
        config: thresholds, rules and frequencies.
        last: the last update; None if there was none.
        planned_steps: optimizer steps of the whole run.
        done_steps: optimizer steps that were made.
        seconds: what these took.
        backup: the model from before the collapse, if one was kept.
        log_file: where the log is.
        outcome: how the run ended, in a few words.
        lost: which dimensions, layers and subgroups have gone silent.

    >>> state = DetectorState(checks=80, warnings=15, first_red_step=4000, level=3)
    >>> from seqsetvae.config import MonitorConfig
    >>> from seqsetvae.config.settling import settle_monitor
    >>> given = MonitorConfig(rules="source", fast_detection=True, check_frequency=20, early_stop_patience=100)
    >>> config = settle_monitor(given, total_steps=24_000)
    >>> print(final_report(state, config, None, planned_steps=24_000, done_steps=6000, seconds=21_600.0,
    ...     backup=Path("model_before_collapse_step_4000.ckpt"), log_file="collapse_detection.log", outcome="stopped"))
    🎯 Posterior collapse detection: summary
    =======================================
    Outcome: stopped
    Total checks: 80
    Warnings: 15
    Collapse detected: yes
    Collapse at step: 4000
    Model from before the collapse: model_before_collapse_step_4000.ckpt
    Log file: collapse_detection.log
    Steps: 6000 of 24000 planned, in 6:00:00
    Saved by stopping early: 18.0 hours
    <BLANKLINE>
    Settings:
    Rules: source
    KL threshold: 0.005
    Variance threshold: 0.05
    Active units threshold: 0.15
    Check frequency: 20
    Early stop patience: 100
    <BLANKLINE>
    Final statistics: none, the run was too short for a measurement
    """
    title = "🎯 Posterior collapse detection: summary"
    red = state.first_red_step is not None
    lines = [
        title,
        "=" * len(title),
        f"Outcome: {outcome}",
        f"Total checks: {state.checks}",
        f"Warnings: {state.warnings}",
        f"Collapse detected: {'yes' if red else 'no'}",
        *([f"Collapse at step: {state.first_red_step}"] if red else []),
        *([f"Gone silent: {lost}"] if lost is not None and (lost.dimensions or lost.parts) else []),
        *(["Recovered from it: yes"] if red and state.level < Level.RED else []),
        *([f"Model from before the collapse: {backup}"] if backup is not None else []),
        f"Log file: {log_file}",
        f"Steps: {done_steps} of {planned_steps} planned, in {clock(seconds)}",
    ]
    # A run that was ended by somebody, or something, else has not been saved from anything.
    if state.level == Level.RED and 0 < done_steps < planned_steps:
        saved = (planned_steps - done_steps) * seconds / done_steps
        lines.append(f"Saved by stopping early: {f'{saved / 3600:.1f} hours' if saved >= 360 else clock(saved)}")
    return "\n".join([*lines, "", *settings(config), "", *statistics(last)])


def settings(config: SettledMonitor) -> list[str]:
    """What the rules in force were told."""
    source = config.rules == "source"
    return [
        "Settings:",
        f"Rules: {config.rules}",
        f"KL threshold: {config.kl_threshold:g}",
        *([f"Variance threshold: {config.var_threshold:g}"] if source else []),
        f"Active units threshold: {config.active_units_threshold:g}",
        *([] if source else [f"Mutual information threshold: {config.mutual_information_threshold:g}"]),
        *([] if source else [f"Decoder use threshold: {config.decoder_use_threshold:g}"]),
        f"Check frequency: {'100, 50 from step 1000, 20 from step 5000' if config.adaptive else config.check_frequency}",
        *([] if source else [f"Checks that confirm: {config.confirm_checks}"]),
        *([] if source else [f"Grace period: until step {config.grace_steps}"]),
        f"Early stop patience: {config.early_stop_patience}",
    ]


def statistics(last: CollapseStatistics | None) -> list[str]:
    """The last update, with units."""
    if last is None:
        return ["Final statistics: none, the run was too short for a measurement"]
    use = "not measured" if last.decoder_use is None else f"{last.decoder_use:.4f} nats per set"
    heard = (
        "not measured: whether the latents are in use is not known"
        if last.decoder_information is None
        else f"{last.decoder_information:z.4f} +- {last.decoder_information_error or 0.0:.4f} nats per set (a lower bound, at most 2.08)"
    )
    return [
        f"Final statistics, at step {last.step}:",
        f"KL divergence: {last.kl:.6f} nats per set",
        f"Active units: {last.active_units} of {last.latent_dim}",
        f"Mutual information: {last.mutual_information:.4f} nats of at most {last.mutual_information_ceiling:.2f} "
        f"(ln {last.sets}: {last.sets} sets were pooled)",
        f"Information that reaches the decoder: {heard}",
        f"Decoder use: {use}",
        f"Collapsed dimensions: {last.collapsed_dimensions_ratio:.1%}",
        f"Mean posterior variance: {last.mean_variance:.4f} (the prior's is 1)",
        *([] if last.recon is None else [f"Reconstruction loss: {last.recon:.4f} nats per set"]),
        *([] if last.beta is None else [f"Beta: {last.beta:.4g}"]),
    ]
