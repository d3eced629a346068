"""Exported versions: SavedModels with signatures, golden images and warm-up requests."""
