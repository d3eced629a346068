"""From image bytes to model input and from probabilities to labels: pure functions over numpy arrays."""
