"""Everything that talks to MLflow: the spooling writer, the read-only store, the state of runs."""
