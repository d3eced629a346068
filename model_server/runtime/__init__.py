"""Load SavedModels and run them on TensorFlow's own runtime."""
