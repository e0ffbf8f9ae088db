"""One small file per kind of raw data, all behind the interface in `base.py`."""

from seqsetvae.data.sources.base import SPLITS, Chunk, Source
from seqsetvae.data.sources.demo import Demo
from seqsetvae.data.sources.physionet2012 import PhysioNet2012

__all__ = ["SPLITS", "Chunk", "Demo", "PhysioNet2012", "Source"]
