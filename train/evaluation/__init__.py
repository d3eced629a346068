"""Metrics, calibration and model cards."""
