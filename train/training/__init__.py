"""Training runs: epochs and steps, optimisers, checkpoints, early stopping."""
