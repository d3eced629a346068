"""The gRPC services of TensorFlow Serving, for programs that call or answer it; others need its protos alone."""

import tfs_api.protos  # noqa: F401  # the services import these, for which TensorFlow's must be found first

from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc  # isort: skip

__all__ = ["model_service_pb2_grpc", "prediction_service_pb2_grpc"]
