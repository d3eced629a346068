"""Alternatives to this project for comparison. Each takes POST /predict with a form part `image`."""
