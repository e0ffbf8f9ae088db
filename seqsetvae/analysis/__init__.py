"""Figures, and what is read back from the MLflow store. The only home of matplotlib; what training logs is drawn here as well, and
handed in as a function.
"""
