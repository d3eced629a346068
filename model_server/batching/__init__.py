"""Batching: queues of calls, the threads that compute batches, and a servable in front of them."""
