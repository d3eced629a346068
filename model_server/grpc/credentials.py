"""TLS credentials of the gRPC port, from the file of --ssl_config_file."""

from pathlib import Path

import grpc

from model_server.errors import InvalidArgumentError
from model_server.protos import server_config_pb2
from model_server.text_format import read_message


def read_credentials(file: Path) -> grpc.ServerCredentials:
    """Read the server's key and certificate, and the authority for clients' certificates.

    Args:
        file: An SSLConfig in text format. It contains PEM texts, not file names.

    Raises:
        NotFoundError: The file cannot be read.
        InvalidArgumentError: It is not an SSLConfig, or a PEM text is missing.
    """
    config = read_message(file, server_config_pb2.SSLConfig())
    for field in ("server_key", "server_cert"):
        if not getattr(config, field).startswith("-----BEGIN "):
            raise InvalidArgumentError(
                f"{file}: {field} must be a PEM text (-----BEGIN ...) with line breaks written as \\n, not a file name"
            )
    if config.client_verify and not config.custom_ca:
        raise InvalidArgumentError(
            f"{file}: client_verify needs custom_ca, the certificate of the authority that signs clients' certificates"
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
