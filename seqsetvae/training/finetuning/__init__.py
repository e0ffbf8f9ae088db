"""From a pretrained model to a classifier: features, heads, an unfrozen backbone, members of several seeds, the model that is served."""
