"""Pages: `/` to try the service, `/models` and `/compare` for its models, `/docs` for its API; and their files."""

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, render_template, send_from_directory

from gateway.http.revalidation import let_revalidate

STATIC = Path(__file__).parents[1] / "static"
# The pages connect only to this service, and show images that the visitor chose (blob:).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_pages() -> Blueprint:
    """Return the blueprint of `/`, `/models`, `/compare`, `/docs` and the files under `/static`."""
    pages = Blueprint("pages", __name__)

    @cache
    def page(template: str) -> str:
        return render_template(template, root="")

    @pages.get("/")
    def playground() -> Response:
        return finish_page(Response(page("playground.html"), mimetype="text/html"))

    @pages.get("/docs", strict_slashes=True)  # its links are relative to /
    def docs() -> Response:
        return _file("docs/index.html")

    @pages.get("/models", strict_slashes=True)
    def models() -> Response:
        return finish_page(Response(page("models.html"), mimetype="text/html"))

    @pages.get("/compare", strict_slashes=True)
    def comparison() -> Response:
        return finish_page(Response(page("comparison.html"), mimetype="text/html"))

    @pages.get("/static/<path:name>")
    def static_file(name: str) -> Response:
        return _file(name)

    return pages


def _file(name: str) -> Response:
    # Pages are small and have an ETag. Dates and ranges are ignored: their parsers raise errors for some texts.
    return finish_page(send_from_directory(STATIC, name, conditional=False))


def finish_page(response: Response) -> Response:
    """Add the policy, and let browsers revalidate a page or file: a response whose body depends on nothing else."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return let_revalidate(response, is_private=False)
