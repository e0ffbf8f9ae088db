"""`seqsetvae.cli:main`, the entry point that installed commands name."""

from seqsetvae.app.main import main

__all__ = ["main"]
