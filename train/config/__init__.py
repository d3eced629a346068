"""Training configurations: YAML files in `train/configs/`, checked before a run starts."""
