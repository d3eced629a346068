"""How far scores may differ from the recorded ones of a committed model."""

SCORE_TOLERANCE = 0.02
"""Int8 kernels of other processors round differently, by up to 0.02 for the images of `digits`."""
