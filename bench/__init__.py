"""Benchmarks of the project: they print ratios with their spread and assert no times."""
