"""Serve TensorFlow Lite models by LiteRT, without TensorFlow."""
