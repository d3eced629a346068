"""The project's own benchmarks: they print ratios and their spread, and assert no time."""
