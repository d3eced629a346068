"""The model server as the gateway sees it: its interface, the gRPC client and micro-batching."""
