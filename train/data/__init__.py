"""Data sets: labelled images are downloaded, listed, split and decoded."""
