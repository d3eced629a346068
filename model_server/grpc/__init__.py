"""The gRPC API: services, health, TLS credentials."""
