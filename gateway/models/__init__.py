"""Which models are configured, which version of each answers, and how it is called."""
