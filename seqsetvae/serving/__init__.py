"""Files that MLflow runs to serve a registered model. Nothing in the package imports them."""
