"""HTTP service: an image in, ranked labels out."""

__version__ = "0.2.0"
