"""Training runs: batches, optimisers, checkpoints and early stopping."""
