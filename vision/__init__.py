"""Image bytes -> model input, and model output -> labels: pure functions over numpy arrays."""
