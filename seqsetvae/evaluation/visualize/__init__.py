"""`visualize`: a trained model on the stays of a store, as the arrays that :mod:`seqsetvae.figures.latent` draws."""
