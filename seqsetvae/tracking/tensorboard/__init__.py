"""Runs of older trainings that were recorded for TensorBoard, brought into the MLflow store."""
