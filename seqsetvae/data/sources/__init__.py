"""One small file per kind of raw data, all behind the interface in `base.py`."""

from seqsetvae.data.sources.base import SPLITS, Chunk, Source
from seqsetvae.data.sources.demo import Demo
from seqsetvae.data.sources.meds import Meds
from seqsetvae.data.sources.patient_ehr import PatientEhr
from seqsetvae.data.sources.physionet2012 import PhysioNet2012
from seqsetvae.data.sources.synthetic import Synthetic

SOURCES: dict[str, type[Source]] = {
    source.name: source for source in (PatientEhr, PhysioNet2012, Meds, Synthetic, Demo)
}
"""By the word that stands after `seqsetvae prepare`."""

__all__ = ["SOURCES", "SPLITS", "Chunk", "Demo", "Meds", "PatientEhr", "PhysioNet2012", "Source", "Synthetic"]
