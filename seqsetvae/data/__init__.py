"""From raw files to `EventBatch`: sources, preparation, the packed store, the loader."""
