"""Prediction: images in, ranked classes out."""
