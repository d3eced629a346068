"""The two paths that Amazon SageMaker calls in a container, as aliases of existing routes.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html

They are served only if the setting says so: elsewhere they would bypass rules for `/api/` in a reverse proxy.
"""

from flask import Flask

PATHS = frozenset({"/ping", "/invocations"})


def register(app: Flask) -> None:
    """Serve `GET /ping` like `/readyz`, and `POST /invocations` like `/api/v1/predict`."""
    app.add_url_rule("/ping", endpoint="health.readyz", methods=["GET"], strict_slashes=True)
    app.add_url_rule("/invocations", endpoint="api.predict", methods=["POST"])
