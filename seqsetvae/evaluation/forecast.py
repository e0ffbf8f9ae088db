"""`forecast`: what a model expects behind a time of each stay, as a table and, of one stay, a figure; held against what came."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.analysis.output_folder import writable, write
from seqsetvae.config import ForecastConfig, TrackingConfig
from seqsetvae.console import console
from seqsetvae.data.aligned import align, listed
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import up_to_hours
from seqsetvae.data.units import AS_RECORDED, units_of
from seqsetvae.errors import InputError
from seqsetvae.evaluation.forecast_bands import stretch_on
from seqsetvae.evaluation.held_out import HeldOut, held_out
from seqsetvae.evaluation.visualize.stay import TRACES, choose_stay
from seqsetvae.figures.stay_forecast import ExpectedTrace, draw_stay_forecast
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.forecasting import BANDS, forecast_table, rows_of_variables, window_of
from seqsetvae.training.pretrained.loading import find_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forecasts:
    """What was made."""

    table: pd.DataFrame
    """As :meth:`~seqsetvae.training.pretrained.exported.Pretrained.forecast` returns it."""
    held_out: HeldOut | None
    """How it did on what came later; None where nothing did."""


@console()
def forecast(config: ForecastConfig, tracking: TrackingConfig) -> Forecasts:
    """Write the table and the figure; say how the forecasts did where the stays go on.

    Raises:
        InputError: no such model, store, patient or variable; the model foresees nothing, or not so many hours; a file cannot be written.
    """
    writable(Path(config.output).parent, "forecast.output")
    folder = writable(Path(config.figure).parent, "forecast.figure")
    model, _ = find_model(config.model, tracking)
    window_of(model.vae, config.horizon)
    shown_K = rows_of_variables(model.vocabulary, config.variables or None)
    store = open_store(config.store)
    aligned = align(store, config.split, model.vocabulary)
    whole = aligned.packed
    cut = whole if config.hours is None else up_to_hours(whole, config.hours)
    stretch = None
    if config.calibrate_on and has_valid_stays(store):
        stretch = stretch_on(model.vae, model.vocabulary, store, config.horizon, config.calibrate_on)
    table = forecast_table(model.vae, model.vocabulary, cut, config.horizon, config.variables or None, stretch)
    scored = held_out(table, whole, cut, model.vocabulary, config.horizon)
    row = choose_stay(store, config, np.arange(store.n_subjects(config.split)), "forecast")
    picture = one_stay(model, store, config, whole, cut, table, shown_K, row)
    write_table(Path(config.output), table, "forecast.output")
    write(folder, {Path(config.figure).name: picture}, "forecast.figure")
    _log.info(f"{config.output}: {len(table):,} rows of {cut.n_subjects:,} stays; one of them in {config.figure}")
    if aligned.unknown:
        _log.info(f"  variables unknown to the model are left out: {listed(aligned.unknown)}")
    bands = "bands are the model's own" if stretch is None else "bands are set right on validation stays"
    came = f"Held against what came, the mean of each variable's values of a stay within {config.horizon:g} hours; {bands}:\n{scored}"
    _log.info(
        came if scored else "  nothing was recorded behind it: with --at 24h the forecast is held against what came"
    )
    return Forecasts(table, scored)


def has_valid_stays(store: Store) -> bool:
    """Whether bands can be set right; if not, it is said."""
    if "valid" in store.splits:
        return True
    _log.info(f"  {store.path} has no split valid, on whose stays bands are set right: they are the model's own")
    return False


def write_table(path: Path, table: pd.DataFrame, flag: str) -> None:
    """A Parquet file, there whole or not at all. Raises :class:`InputError` that names the flag where it cannot be written."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer)
    write(path.parent, {path.name: buffer.getvalue()}, flag)


def one_stay(
    model: Pretrained,
    store: Store,
    config: ForecastConfig,
    whole: Packed,
    cut: Packed,
    table: pd.DataFrame,
    shown_K: NDArray[np.int64],
    row: int,
) -> bytes:
    """The figure of the stay in a row of the split: its most frequent variables."""
    subject = store.subject_ids(config.split, [row])[0]
    here = np.flatnonzero(np.array(cut.subject_id, dtype=object) == subject)
    if not len(here):
        raise InputError(
            f"The stay in row {row} of split {config.split!r} of {store.path} has no event by then that the model knows."
        )
    stay = whole.take(np.flatnonzero(np.array(whole.subject_id, dtype=object) == subject))
    now = float(cut.end_B[here[0]]) / 60.0
    hour_N = stay.minute_N / 60.0
    number_N = ~np.isnan(stay.value_N) & (hour_N <= now + config.horizon)
    count_V = np.bincount(stay.variable_N[number_N], minlength=len(model.vocabulary))
    chosen = shown_K[np.argsort(-count_V[shown_K], kind="stable")][:TRACES]
    said, units = table[table["subject"] == subject].set_index("variable"), units_of(store)
    traces = []
    for variable in chosen.tolist():
        name = model.vocabulary.names[variable]
        mine_N = number_N & (stay.variable_N == variable)
        traces.append(
            ExpectedTrace(
                name=name,
                unit=units.get(name, AS_RECORDED),
                hour_T=hour_N[mine_N],
                recorded_T=stay.value_N[mine_N].astype(np.float64),
                chance=float(said.loc[name, "chance"]),
                quantile_Q=said.loc[name, list(BANDS)].to_numpy(dtype=np.float64),
            )
        )
    who = f"patient {config.patient}" if config.patient is not None else f"row {row} of the split"
    title = f"Forecast over {config.horizon:g} hours: {config.model} on {Path(config.store).name}, {config.split}"
    return draw_stay_forecast(
        traces, now, config.horizon, title, f"One stay, {who}, forecast {now:.1f} hours after its start"
    )
