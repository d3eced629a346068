"""The REST API: sockets, paths, and JSON as RapidJSON reads and writes it."""
