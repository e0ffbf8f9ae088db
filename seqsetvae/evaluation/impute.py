"""`impute`: values that were not measured, as a table; of one stay each value as if it had not been recorded, as a figure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from seqsetvae.analysis.output_folder import writable, write
from seqsetvae.config import ImputeConfig, TrackingConfig
from seqsetvae.console import console
from seqsetvae.data.aligned import align, listed
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import Store
from seqsetvae.data.times import microseconds
from seqsetvae.data.units import AS_RECORDED, units_of
from seqsetvae.errors import InputError
from seqsetvae.evaluation.forecast import has_valid_stays, write_table
from seqsetvae.evaluation.held_out import HeldOut
from seqsetvae.evaluation.left_out import leave_out
from seqsetvae.evaluation.visualize.stay import choose_stay, most_recorded, one_packed
from seqsetvae.figures.latent.arrays import VariableTrace
from seqsetvae.figures.stay_forecast import draw_stay_imputed
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.imputing import Questions, Widening, impute_table
from seqsetvae.training.pretrained.imputing import impute as ask
from seqsetvae.training.pretrained.loading import find_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImputedValues:
    """What was made."""

    table: pd.DataFrame
    """As :meth:`~seqsetvae.training.pretrained.exported.Pretrained.impute` returns it."""
    own: HeldOut | None
    """How the model's own bands did on values of the split that were left out."""
    widened: HeldOut | None
    """How the bands of the table did."""


@console()
def impute(config: ImputeConfig, tracking: TrackingConfig) -> ImputedValues:
    """Write the table and the figure; say how the model did on recorded values that it did not see.

    Raises:
        InputError: no such model, store, patient or variable; the table of points cannot be used; a file cannot be written.
    """
    folder = writable(Path(config.figure).parent, "impute.figure")
    writable(Path(config.output).parent, "impute.output")
    model, _ = find_model(config.model, tracking)
    store = open_store(config.store)
    aligned = align(store, config.split, model.vocabulary)
    at = last_sets(aligned.packed) if config.points is None else read_table(Path(config.points))
    row = choose_stay(store, config, np.arange(store.n_subjects(config.split)), "impute")
    widening = own = widened = None
    if config.left_out and has_valid_stays(store):
        known = leave_out(model.vae, model.vocabulary, store, "valid", config.left_out)
        widening = known.widening(len(model.vocabulary))
        tried = known
        if config.split != "valid":
            tried = leave_out(model.vae, model.vocabulary, store, config.split, config.left_out)
        own, widened = (tried.scores(len(model.vocabulary), one) for one in (None, widening))
    # Minutes of points are those of the stay.
    since = replace(aligned.packed, start_B=np.zeros_like(aligned.packed.start_B))
    table = impute_table(model.vae, model.vocabulary, since, at, widening)
    picture = one_stay(model, store, config, row, widening)
    write_table(Path(config.output), table, "impute.output")
    write(folder, {Path(config.figure).name: picture}, "impute.figure")
    _log.info(f"{config.output}: {len(table):,} values; one stay, filled in value by value, in {config.figure}")
    if model.vae.fill_head is None:
        _log.info("  said by the decoder; a model that was pretrained with --model.fill_in true has a head for it")
    if aligned.unknown:
        _log.info(f"  variables unknown to the model are left out: {listed(aligned.unknown)}")
    if widened is not None:
        _log.info(f"Recorded values that were left out one by one, with the model's own bands:\n{own}")
        _log.info(f"and with those of the table, as wide as validation stays need:\n{widened}")
    return ImputedValues(table, own, widened)


def last_sets(packed: Packed) -> pd.DataFrame:
    """A point at the last set of each stay."""
    return pd.DataFrame({"subject": [str(one) for one in packed.subject_id], "minute": packed.end_B})


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file. Raises :class:`InputError` where it is none."""
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"subject": str})
    except (OSError, ValueError) as error:
        raise InputError(f"--impute.points {path}: cannot be read ({' '.join(str(error).split())[:200]}).") from error


def one_stay(model: Pretrained, store: Store, config: ImputeConfig, row: int, widening: Widening | None) -> bytes:
    """The figure of the stay in a row of the split: at each of its sets its most frequent variables, each hidden in turn.

    Raises:
        InputError: the model knows none of its variables.
    """
    vocabulary = model.vocabulary
    stay = one_packed(store, config.split, vocabulary, row)
    set_N, number_N = stay.set_N, ~np.isnan(stay.value_N)
    shown_K = most_recorded(stay, len(vocabulary))
    # A place for each set and variable: none hides another.
    places = len(stay.minute_S) * len(shown_K)
    points = Questions(
        stay_P=np.zeros(places, dtype=np.int64),
        microsecond_P=microseconds(np.repeat(stay.minute_S, len(shown_K)).astype(np.float64)),
        place_Q=np.arange(places),
        variable_Q=np.tile(shown_K, len(stay.minute_S)),
    )
    said_LQ = ask(model.vae, vocabulary, stay, points).quantiles(points.variable_Q, widening)
    raw_LSK = vocabulary.said(np.broadcast_to(points.variable_Q, said_LQ.shape), said_LQ).reshape(
        len(said_LQ), -1, len(shown_K)
    )
    hour_S, units, traces = stay.minute_S / 60.0, units_of(store), []
    for place, variable in enumerate(shown_K.tolist()):
        there_S = np.isfinite(raw_LSK[2, :, place])
        here_N = np.flatnonzero((stay.variable_N == variable) & number_N & there_S[set_N])
        low_S, _, middle_S, _, high_S = raw_LSK[:, there_S, place]
        # As a trace wants it: recorded values at sets of the curve.
        number_S = np.cumsum(there_S) - 1
        traces.append(
            VariableTrace(
                name=vocabulary.names[variable],
                unit=units.get(vocabulary.names[variable], AS_RECORDED),
                hour_S=hour_S[there_S],
                hour_T=hour_S[there_S][number_S[set_N[here_N]]],
                recorded_T=stay.value_N[here_N].astype(np.float64),
                low_S=low_S,
                middle_S=middle_S,
                high_S=high_S,
            )
        )
    who = f"patient {config.patient}" if config.patient is not None else f"row {row} of the split"
    title = f"Filled in: {config.model} on {Path(config.store).name}, {config.split}"
    return draw_stay_imputed(
        traces, title, f"One stay, {who}; at each set a variable is said without its own value there"
    )
