"""Options of the gRPC channel to the model server: balancing, retries, reconnection."""

import json

# Of several servers, one that answers no calls, such as a frozen one, is ejected for a while; a single server never is
# (https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md).
OUTLIER_DETECTION = {
    "interval": "1s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "60s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 80,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 2,
    },
    "childPolicy": [{"round_robin": {}}],
}

# gRPC's own retries, a third of a second in all, for a broken connection or a server with no free thread and no room in
# its batching queue. Every call is safe to repeat: none changes anything on the server. The throttle bounds them to a
# tenth of the calls that succeed, so that they do not multiply the calls to a server that has too many already
# (https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"outlier_detection_experimental": OUTLIER_DETECTION}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    # Half of the tokens can be spent: enough for all calls in flight when a server dies, and no more.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}

MAX_RETRY_BYTES = 2**30

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default, gRPC waits up to two minutes before it reconnects.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    # Despite its name, the time limit of one attempt: a busy server needs a while, a lost packet must not cost 20 s.
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_retries", 1),
    # By default, gRPC does not retry calls of more than 256 KiB; a batch is larger.
    ("grpc.per_rpc_retry_buffer_size", MAX_RETRY_BYTES),
    # How long an unreachable server may leave bytes unacknowledged (TCP_USER_TIMEOUT in tcp(7)) before its calls go to
    # another. gRPC sets it only together with keepalive pings, and servers punish more than one ping in five minutes.
    ("grpc.keepalive_time_ms", 600_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # The model server is in the same network, never behind the proxy for outside connections.
    ("grpc.enable_http_proxy", 0),
)
