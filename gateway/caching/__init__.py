"""A cache of predictions: each is computed once for all requests with the same image, in memory or in Redis."""
