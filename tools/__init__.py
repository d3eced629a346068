"""Commands for this repository: run the local stack, measure it, regenerate files, check deployments."""
