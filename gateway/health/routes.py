"""Health checks for orchestrators, the version, and metrics for Prometheus."""

from flask import Blueprint, Response, jsonify
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.health.readiness import Readiness
from gateway.observability import metrics


def create_health(readiness: Readiness, collector: Collector | None = None) -> Blueprint:
    """Return the routes /livez, /readyz, /version and /metrics.

    Only at these paths: nginx in front has limits of their own for them.

    Args:
        readiness: Checks the default model.
        collector: Further metrics.
    """
    health = Blueprint("health", __name__)

    @health.get("/livez", strict_slashes=True)
    def livez() -> Response:
        """Report that this process responds, without any call to the model server."""
        return jsonify({"status": "live"})

    @health.get("/readyz", strict_slashes=True)
    def readyz() -> Response:
        """Check now whether the default model answers; a problem document if not."""
        served = readiness.check()
        return jsonify({"status": "ready", "model": {"name": served.name, "version": served.version}})

    @health.get("/version", strict_slashes=True)
    def version() -> Response:
        """Report the version of the gateway."""
        return jsonify({"name": "image-gateway", "version": __version__})

    @health.get("/metrics", strict_slashes=True)
    def prometheus() -> Response:
        page, content_type = metrics.render(collector)
        return Response(page, content_type=content_type)

    return health
