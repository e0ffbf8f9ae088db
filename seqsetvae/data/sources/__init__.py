"""One small file per kind of raw data, all behind the interface in `base.py`."""
