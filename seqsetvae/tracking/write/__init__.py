"""From a training to its store: by way of a journal on the local disk, so that nothing waits for the store."""
