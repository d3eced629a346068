"""The use case: images in, ranked classes out."""
