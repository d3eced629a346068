"""TLS of the gRPC port, from the file of --ssl_config_file."""

from pathlib import Path

import grpc

from model_server.errors import InvalidArgumentError
from model_server.text_proto import BOOL, STRING, message_class, read_file

SslConfig = message_class(
    "SSLConfig", {"server_key": STRING, "server_cert": STRING, "custom_ca": STRING, "client_verify": BOOL}
)
"""tensorflow_serving/config/ssl_config.proto; keys and certificates are PEM texts, not file names."""


def read_credentials(file: Path) -> grpc.ServerCredentials:
    """Read key and certificate of the server, and the authority that clients' certificates must come from.

    Raises:
        NotFoundError: there is no such file.
        InvalidArgumentError: it is no SSLConfig, or lacks what it takes.
    """
    config = read_file(file, SslConfig())
    for field in ("server_key", "server_cert"):
        if not getattr(config, field).startswith("-----BEGIN "):
            raise InvalidArgumentError(f"{file}: {field} must be a PEM text: -----BEGIN ..., line breaks as \\n")
    if config.client_verify and not config.custom_ca:
        raise InvalidArgumentError(f"{file}: client_verify needs custom_ca, which clients' certificates are signed by")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
