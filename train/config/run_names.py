"""Names of the files in the folder of a run from which a further run may start."""

CONFIG_FILE = "config.yaml"
MODEL_FILE = "model.keras"
