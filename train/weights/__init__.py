"""Files of weights, read as arrays by name, and the PyTorch names and layouts of Keras' weights."""
