"""The address that an install of 0.1.0 has written down for MLflow; newer ones name :mod:`seqsetvae.tracking.compat.run_backend`."""

from seqsetvae.tracking.compat.run_backend import CondaFallback

__all__ = ["CondaFallback"]
