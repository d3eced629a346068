"""Networks that PyTorch checkpoints contain the weights of, built for Keras."""
