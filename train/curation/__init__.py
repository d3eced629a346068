"""Finds likely label errors, and unlabelled images whose labels would teach most."""
