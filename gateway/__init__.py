"""HTTP service: an image in, ranked labels out."""
