"""The two paths that Amazon SageMaker asks a container for, as further paths of routes that there are anyhow.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html

They are there only where the setting asks for them: elsewhere they would be a second door, which a rule about
`/api/` in front of the gateway does not know of.
"""

from flask import Flask

PATHS = frozenset({"/ping", "/invocations"})


def register(app: Flask) -> None:
    """Let `GET /ping` answer as `/readyz` and `POST /invocations` as `/api/v1/predict` do."""
    app.add_url_rule("/ping", endpoint="health.readyz", methods=["GET"])
    app.add_url_rule("/invocations", endpoint="api.predict", methods=["POST"])
