"""Trains, evaluates, exports and verifies the served models."""
