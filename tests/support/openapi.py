"""A test client that checks every response against the OpenAPI document, and sends forms as real clients do."""

import re
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, ValidationError
from werkzeug.test import TestResponse

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.http.problems import CONTENT_TYPE
from gateway.models.configured import ConfiguredModels
from gateway.openapi.problems import all_problems, problem_schema
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer
from tests.support.multipart import with_encoded_form

Json = dict[str, Any]
UNTYPED = "about:blank"


def default_document() -> Json:
    """Return the OpenAPI document of a gateway with jobs and otherwise default settings."""
    settings = Settings(jobs="sqlite", jobs_dir=Path(tempfile.mkdtemp()))
    app = create_app(
        settings, server=FakeModelServer(), fetcher=DisabledFetcher(), configured_models=ConfiguredModels(dict)
    )
    return app.test_client().get("/api/v1/openapi.json").get_json()


def without_other_members(document: Json) -> Json:
    """Return the document with schemas that forbid other members; it allows them itself, for later versions."""
    document = deepcopy(document)
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


class ResponseValidator:
    """Checks responses against the OpenAPI document.

    Args:
        document: The OpenAPI document.
    """

    def __init__(self, document: Json) -> None:
        self._document = without_other_members(document)
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in document["paths"]]

    @property
    def schemas(self) -> Json:
        """Schemas of the document, by name."""
        return self._document["components"]["schemas"]

    def operation(self, method: str, path: str) -> Json | None:
        """Return the operation of a request; None if the document has none, such as for HEAD."""
        template = next((template for pattern, template in self._paths if pattern.fullmatch(path)), None)
        return None if template is None else self._document["paths"][template].get(method.lower())

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
        """Check that the document describes a response.

        Args:
            method: HTTP method of the request.
            path: Its path.
            status: HTTP status code.
            headers: Headers of the response, case-insensitive.
            body: The parsed body if it is JSON, otherwise None.
        """
        operation = self.operation(method, path)
        if operation is None:
            return
        response = self._resolve(operation["responses"].get(str(status), operation["responses"]["default"]))
        for name, header in self._document["components"]["headers"].items():
            if name in headers:
                assert name in response["headers"], f"{method} {path}: {status} is not described with {name}"
            elif header.get("required"):
                assert "$ref" not in response["headers"].get(name, {}), f"{method} {path}: {status} without {name}"
        if "content" not in response:
            assert "Content-Type" not in headers, f"{method} {path}: {status} is described without a body"
            return
        media_type = headers["Content-Type"].partition(";")[0]
        assert media_type in response["content"], f"{method} {path}: {status} is not described as {media_type}"
        if body is not None:
            self.check_schema(response["content"][media_type]["schema"], body)
        if body is not None and media_type == CONTENT_TYPE:
            _check_problem(response["description"], status, body)

    def _resolve(self, response: Json) -> Json:
        reference = response.get("$ref", "")
        return self._document["components"]["responses"][reference.rpartition("/")[2]] if reference else response

    def check_schema(self, schema: Json, value: Any) -> None:
        """Check a value against a schema of the document.

        Raises:
            jsonschema.ValidationError: the value does not match it.
        """
        Draft202012Validator(schema | {"components": self._document["components"]}).validate(value)


def _check_problem(description: str, status: int, body: Json) -> None:
    """Check that a response is described with a problem's type and title, and that its members are those of its type.

    Raises:
        ValidationError: It is not.
    """
    is_described = f"- `{body['type']}`: {body['title']}." in description or body["type"] == UNTYPED
    if not is_described or body["status"] != status:
        raise ValidationError(f"{status} is not described with {body['type']}, {body['title']}, {body['status']}")
    own_members = next((members for problem, members in all_problems().items() if problem.type_uri == body["type"]), {})
    if body.keys() - {"field"} != {*problem_schema()["required"], *own_members}:
        raise ValidationError(f"{body['type']} is not described with {', '.join(body)}")


def validating_client(validator: ResponseValidator) -> type[FlaskClient]:
    """Return a client that checks every response against the document."""

    class ValidatingClient(FlaskClient):
        def open(self, *args: Any, **kwargs: Any) -> TestResponse:
            response = super().open(*args, **with_encoded_form(kwargs))
            request = response.request
            has_json = (response.mimetype or "").endswith(("/json", "+json")) and request.method != "HEAD"
            body = response.get_json(force=True) if has_json else None
            validator.check(request.method, request.path, response.status_code, response.headers, body)
            return response

    return ValidatingClient
