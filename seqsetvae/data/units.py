"""Units of the variables of a store, where its source has fixed ones."""

from __future__ import annotations

from collections.abc import Mapping

from seqsetvae.data.store import Store

PHYSIONET_2012 = {
    "ALP": "IU/L",
    "ALT": "IU/L",
    "AST": "IU/L",
    "Age": "years",
    "Albumin": "g/dL",
    "BUN": "mg/dL",
    "Bilirubin": "mg/dL",
    "Cholesterol": "mg/dL",
    "Creatinine": "mg/dL",
    "DiasABP": "mmHg",
    "FiO2": "fraction",
    "GCS": "points",
    "Gender": "0 female, 1 male",
    "Glucose": "mg/dL",
    "HCO3": "mmol/L",
    "HCT": "%",
    "HR": "beats/min",
    "Height": "cm",
    "ICUType": "type 1 to 4",
    "K": "mEq/L",
    "Lactate": "mmol/L",
    "MAP": "mmHg",
    "MechVent": "0 or 1",
    "Mg": "mmol/L",
    "NIDiasABP": "mmHg",
    "NIMAP": "mmHg",
    "NISysABP": "mmHg",
    "Na": "mEq/L",
    "PaCO2": "mmHg",
    "PaO2": "mmHg",
    "Platelets": "cells/nL",
    "RespRate": "breaths/min",
    "SaO2": "%",
    "SysABP": "mmHg",
    "Temp": "°C",
    "TroponinI": "µg/L",
    "TroponinT": "µg/L",
    "Urine": "mL",
    "WBC": "cells/nL",
    "Weight": "kg",
    "pH": "pH",
}
"""As the PhysioNet/Computing in Cardiology Challenge 2012 describes its variables."""
BY_SOURCE: Mapping[object, Mapping[str, str]] = {"physionet2012": PHYSIONET_2012, "demo": PHYSIONET_2012}
AS_RECORDED = "as recorded"
"""Stands for a unit that is not known."""


def units_of(store: Store) -> dict[str, str]:
    """The unit of each variable of a store, by its name."""
    known = BY_SOURCE.get(store.provenance.get("source"), {})
    return {name: known.get(name, AS_RECORDED) for name in store.vocabulary.names}


def with_unit(name: str, unit: str) -> str:
    """A variable as a heading; one whose unit nobody knows by its name alone.

    >>> with_unit("HR", "beats/min"), with_unit("HR", AS_RECORDED)
    ('HR, beats/min', 'HR')
    """
    return name if unit == AS_RECORDED else f"{name}, {unit}"
