"""Answers that are kept: computed once for all who ask the same, in memory or in Redis."""
