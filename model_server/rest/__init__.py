"""The REST API: HTTP, paths, and JSON compatible with RapidJSON."""
