"""From a source to a store: check, arrange, fit the vocabulary on the train split, write shards."""

from __future__ import annotations

from pathlib import Path

from seqsetvae.data.arrange import SET_WINDOW
from seqsetvae.data.external import ExternalPreparation, KnownVocabulary
from seqsetvae.data.preparation import Preparation, Rules
from seqsetvae.data.quarantine import OnError, Quarantine
from seqsetvae.data.report import PrepareReport
from seqsetvae.data.sources.base import Source, WithoutNumber
from seqsetvae.data.staging import staged_store
from seqsetvae.data.vocabulary import Scaling
from seqsetvae.errors import InputError

SHARD_EVENTS = 4_000_000
LONGEST_WINDOW = 366 * 24 * 60.0
"""Minutes of the longest window of a set: a year."""


def prepare(
    source: Source,
    output: Path,
    *,
    on_error: OnError = "stop",
    scaling: Scaling = "robust",
    set_window: float = SET_WINDOW,
    without_number: WithoutNumber | None = None,
    min_subjects: int | None = None,
    shard_events: int = SHARD_EVENTS,
    known: KnownVocabulary | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Read a source and write it as a store; an earlier store at `output` is replaced when all went well.

    Args:
        source: Raw data.
        output: Folder of the new store.
        on_error: `stop` at the first row or subject that cannot be used; `quarantine`: leave out such subjects, and those with such
            rows, and list them with their reasons in quarantine.csv; `drop_row`: leave out a bad row alone, count it by reason and
            list it in dropped_rows.csv.
        scaling: Center and spread of each variable: `robust` takes median and interquartile range of the train split, `stats`
            mean and std of the source's stats.csv.
        set_window: Minutes of the clock whose events are one set. 0: only events of exactly the same time.
        without_number: `refuse` events that carry no number, or `keep` them: such an event is its variable, and where it has a text in
            place of a number, `variable//text`. None: what suits the source.
        min_subjects: Leave out variables that occur in fewer subjects of the train split. None: what suits the source.
        shard_events: Events per shard file, about.
        known: Vocabulary of a model that the data are an external cohort for; it brings scaling and `set_window`, and what it does not
            know is left out and counted. None: fitted on the train split.
        progress: Show a progress bar.

    Raises InputError naming file, row or column; nothing is written then.
    """
    if shard_events < 1:
        raise InputError(f"--shard_events is {shard_events}, but must be at least 1.")
    if scaling not in ("robust", "stats"):
        raise InputError(f"--scaling is {scaling!r}, but must be 'robust' or 'stats'.")
    if not 0.0 <= set_window <= LONGEST_WINDOW:
        raise InputError(f"--set_window is {set_window}, but must be between 0 and {LONGEST_WINDOW:g} minutes.")
    if without_number not in (None, "refuse", "keep"):
        raise InputError(f"--without_number is {without_number!r}, but must be 'refuse' or 'keep'.")
    least = source.min_subjects if min_subjects is None else min_subjects
    if least < 1:
        raise InputError(f"--min_subjects is {least}, but must be at least 1.")
    rules = Rules(set_window, without_number or source.without_number, least)
    if known is not None:
        rules = _rules_of(known, rules, scaling, min_subjects)
    report = PrepareReport(source.name, str(output), rules=[*rules.describe(), *source.stated_rules()])
    with staged_store(Path(output)) as folder:
        report.labels = source.label_match()
        settings = source, folder, Quarantine(on_error), report, rules, shard_events, progress
        run = Preparation(*settings) if known is None else ExternalPreparation(*settings, known=known)
        if known is not None:
            report.vocabulary_of = known.model
        run.write_splits()
        run.write_vocabulary(scaling)
        run.write_manifest(scaling)
        source.write_tasks(folder)
    return report


def _rules_of(known: KnownVocabulary, rules: Rules, scaling: Scaling, min_subjects: int | None) -> Rules:
    """Those of the data that the model was trained on. Raises InputError where others were asked for."""
    window = known.vocabulary.set_window
    if scaling != "robust" or min_subjects is not None or rules.set_window not in (SET_WINDOW, window):
        raise InputError(
            f"--vocabulary_of {known.model} brings scaling, variables and set window ({window:g} minutes) with it: leave out --scaling, "
            "--min_subjects and --set_window."
        )
    return Rules(window, "keep" if known.bare else rules.without_number, 1)
