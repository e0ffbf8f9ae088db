"""Lightning: the training module, callbacks, checkpoints, and the fit that puts them together."""
