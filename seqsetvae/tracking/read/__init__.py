"""From a store: what its runs have recorded, all at once or while they are written."""
