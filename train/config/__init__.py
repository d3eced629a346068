"""Training configurations: YAML files in `train/configs/`, checked before anything starts."""
