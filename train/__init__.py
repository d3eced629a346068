"""Train, evaluate, export and verify the models that are served."""
