"""The HTTP side of the gateway: the context of a request, its parsing and its response."""
