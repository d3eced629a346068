"""Load SavedModels, warm them up, and run them on TensorFlow's runtime."""
