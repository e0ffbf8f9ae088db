"""The command line, and the one place that hands figures to training."""
