"""Data sets: reading, downloading, splitting and decoding labelled images."""
