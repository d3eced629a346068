"""The configured models: which version of each answers, and how it is called."""
