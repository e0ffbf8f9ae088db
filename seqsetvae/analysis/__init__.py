"""What is read back from the MLflow store: diagnosis in words, the collapse rules replayed, a report."""
