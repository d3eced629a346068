"""Calls computed together: queues, the threads that take batches from them, and the servable in front."""
