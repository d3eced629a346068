"""The health service for load balancers and Kubernetes: Check of grpc.health.v1.

See https://github.com/grpc/grpc/blob/master/doc/health-checking.md. As in tensorflow_model_server, only the server as a
whole, named by an empty string, has a status. Watch is not offered, because each of its streams would occupy a thread.
"""

import grpc

from model_server.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse


def health_service() -> grpc.GenericRpcHandler:
    """Return the service. It answers SERVING whenever calls reach it: from the end of start-up until the stop."""
    check = grpc.unary_unary_rpc_method_handler(
        _check,
        request_deserializer=HealthCheckRequest.FromString,
        response_serializer=HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _check(request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
    if request.service:
        context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    return HealthCheckResponse(status=HealthCheckResponse.SERVING)
