"""The TensorFlow Serving wire format: its official protos without TensorFlow, and tensors as numpy arrays."""
