"""Embedded stand-in for tensorflow_model_server 2.20, for development and tests on one machine.

It has the same flags, the same gRPC and REST APIs, and returns the same responses: SavedModels on TensorFlow's own
runtime, TensorFlow Lite models on LiteRT. Intended differences:

- SIGTERM and SIGINT let requests in progress finish; the real server exits at once.
- A tensor of the wrong rank for a model with convolutions is refused; it crashes the real server.
- A TensorFlow Lite file, or an input for one, that would crash the real server is refused.
- A call without rows to a model that batches is refused; the real server does not answer it until another call joins
  its batch.
- A version that is still being copied is not loaded until it is complete; the real server loads an incomplete one and
  retries, for up to five minutes by default (see `versions.lifecycle`).
- A relative base path is relative to the working directory; the real server refuses it.
- A REST port that is in use makes the start fail; the real server continues without REST.

Flags without effect are in `options.WITHOUT_EFFECT`; docs/reference/model_server.md describes the rest.
"""
