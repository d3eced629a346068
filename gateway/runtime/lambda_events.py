"""Conversion of API gateway events to requests, for platforms that call a function instead of opening a port.

apig-wsgi handles the two formats of AWS. Other formats are converted to the older of them:

- AWS API Gateway, REST (1.0) and HTTP (2.0), function URLs and load balancers:
  https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
- Tencent SCF behind API Gateway: https://www.tencentcloud.com/document/product/583/12513
- Alibaba Function Compute 3 by HTTP trigger and function URL:
  https://www.alibabacloud.com/help/en/functioncompute/fc/http-trigger-invoking-function
- Alibaba API Gateway before Function Compute:
  https://www.alibabacloud.com/help/en/api-gateway/traditional-api-gateway/user-guide/use-function-compute-as-the-backend-service-of-an-api-operation
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from apig_wsgi import make_lambda_handler
from flask import Flask

Event: TypeAlias = Mapping[str, Any]
"""The request that a platform passes to a function, with its context."""
Reply: TypeAlias = dict[str, Any]
"""The response that the function returns to the platform."""
Handler: TypeAlias = Callable[[Event | bytes | str, object], Reply]

AWS_HTTP_API = "2.0"
PREDICT = "/api/v1/predict"
NOT_FROM_GATEWAY = "request not from api gw"
"""The error that callers of the function that `make_digit_handler` replaces check for."""


def make_handler(app: Flask) -> Handler:
    """Return a function that answers events with the application.

    It accepts the event, as a dictionary or as JSON, and the platform's context, which is ignored. It returns
    `statusCode`, `headers`, `body` and `isBase64Encoded`, from which all these platforms make a response.

    The function raises:
        ValueError: the event is not JSON.
        KeyError: the event has none of the formats above.
    """
    handle_aws_event = make_lambda_handler(app, binary_support=True)

    def handler(event: Event | bytes | str, context: object) -> Reply:
        return handle_aws_event(_to_aws_event(_parse_event(event)), context)

    return handler


def make_digit_handler(app: Flask) -> Handler:
    """Return a function that classifies the image in an event's body and returns only the number of its class.

    The body is the JSON of `POST /api/v1/predict`, such as `{"image_base64": "…", "image_url": ""}`. The function uses
    the default model, whatever the event's path. It returns `{"result": 7}`, or `{"errMsg": "…"}` if it fails.
    """
    handler = make_handler(app)

    def digit_handler(event: Event | bytes | str, context: object) -> Reply:
        outer_event = _parse_event(event)
        if "requestContext" not in outer_event:
            return {"errMsg": NOT_FROM_GATEWAY}
        headers = {
            name: value for name, value in (outer_event.get("headers") or {}).items() if name.lower() != "content-type"
        }
        predict_event = {
            "path": PREDICT,
            "httpMethod": "POST",
            "headers": {**headers, "Content-Type": "application/json"},
            "body": outer_event.get("body"),
            "isBase64Encoded": outer_event.get("isBase64Encoded", False),
        }
        reply = handler(predict_event, context)
        document = json.loads(reply["body"])
        if reply["statusCode"] != HTTPStatus.OK:
            return {"errMsg": document["detail"]}
        if "class_id" not in document:
            return {"errMsg": "Several images were sent; expected one, in image_base64 or image_url."}
        return {"result": document["class_id"]}

    return digit_handler


def _parse_event(event: Event | bytes | str) -> Event:
    """Return the event as a dictionary; some runtimes pass it as JSON."""
    if isinstance(event, bytes | str):
        decoded: Event = json.loads(event)
        return decoded
    return event


def _to_aws_event(event: Event) -> dict[str, Any]:
    """Convert an event of any format to a format of AWS."""
    context = event.get("requestContext") or {}
    if event.get("version") == AWS_HTTP_API or "multiValueHeaders" in event or "elb" in context:
        return dict(event)
    http = context.get("http", {})
    # The path of Tencent's events may end with the query.
    path, _, query = str(event.get("path") or event["rawPath"]).partition("?")
    return {
        "requestContext": context,
        "path": path,
        "httpMethod": event.get("httpMethod") or http["method"],
        "headers": event.get("headers"),
        "multiValueQueryStringParameters": _query_parameters(event) or parse_qs(query),
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }


def _query_parameters(event: Event) -> dict[str, Any]:
    """Return the query parameters: Tencent's complete ones are in `queryString`, Alibaba's in `queryParameters`."""
    for name in ("queryString", "queryParameters", "queryStringParameters"):
        if event.get(name):
            return dict(event[name])
    return {}
