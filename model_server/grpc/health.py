"""The health service that load balancers and Kubernetes ask: Check of grpc.health.v1.

See https://github.com/grpc/grpc/blob/master/doc/health-checking.md. As in tensorflow_model_server there is the server
as a whole and no single service. Watch is not offered: each of its streams would hold a thread.
"""

from typing import Any

import grpc

from model_server.text_proto import ENUM_NUMBER, STRING, message_class

CheckRequest = message_class("HealthCheckRequest", {"service": STRING})
CheckResponse = message_class("HealthCheckResponse", {"status": ENUM_NUMBER})

SERVING = 1
"""HealthCheckResponse.SERVING."""


def health_service() -> grpc.GenericRpcHandler:
    """Make the service; it says SERVING as long as calls reach it, which is from the start's end until the stop."""
    check = grpc.unary_unary_rpc_method_handler(
        _check, request_deserializer=CheckRequest.FromString, response_serializer=CheckResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _check(request: Any, context: grpc.ServicerContext) -> Any:  # generated messages have no types
    if request.service:
        context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    return CheckResponse(status=SERVING)
