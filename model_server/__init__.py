"""Embedded stand-in for tensorflow_model_server 2.20, for development and tests on one machine.

The same flags, the same gRPC and REST APIs and the same answers, on TensorFlow's own runtime. What differs on
purpose:

- SIGTERM and SIGINT let requests in progress end; the real server dies at once.
- A tensor of the wrong rank for a model with convolutions is refused; it ends the real server.
- A call without rows to a model that batches is refused; the real server does not answer it until another call joins
  its batch.
- A version that is still being copied is waited for, a complete one that cannot be loaded fails at once; the real
  server loads what is there and tries again, up to five minutes by default (`lifecycle`).
- A relative base path counts from the working directory; the real server refuses it.
- A taken REST port ends the start; the real server goes on without REST.

Flags without effect are in `options.WITHOUT_EFFECT`; docs/model_server.md tells the rest.
"""
