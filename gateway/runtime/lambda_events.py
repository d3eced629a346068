"""Events of API gateways as requests to the application, for platforms that call a function and open no port.

AWS's two formats are apig-wsgi's; others are brought to the older of them:

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
"""What a platform passes to a function: the request, and where it comes from."""
Reply: TypeAlias = dict[str, Any]
"""What the function returns."""
Handler: TypeAlias = Callable[[Event | bytes | str, object], Reply]

AWS_HTTP_API = "2.0"
PREDICT = "/api/v1/predict"
NOT_FROM_GATEWAY = "request not from api gw"
"""What callers of the function that `make_digit_handler` takes the place of look for."""


def make_handler(app: Flask) -> Handler:
    """Make a function that answers events as the application answers requests.

    It takes the event, as a dictionary or as its JSON, and the platform's context, which is not looked at; it returns
    `statusCode`, `headers`, `body` and `isBase64Encoded`, which all these platforms make a response of.

    Raises, when called:
        ValueError: the event is no JSON.
        KeyError: it is of none of the formats above.
    """
    answer = make_lambda_handler(app, binary_support=True)

    def handler(event: Event | bytes | str, context: object) -> Reply:
        return answer(_as_aws(_read(event)), context)

    return handler


def make_digit_handler(app: Flask) -> Handler:
    """Make a function that takes an image in an event's body and returns the number of its class and nothing else.

    The body is the JSON of `POST /api/v1/predict`, such as `{"image_base64": "…", "image_url": ""}`; the default model
    answers, whatever the event's path. It returns `{"result": 7}`, or `{"errMsg": "…"}` when there is no answer.
    """
    handler = make_handler(app)

    def digit_handler(event: Event | bytes | str, context: object) -> Reply:
        given = _read(event)
        if "requestContext" not in given:
            return {"errMsg": NOT_FROM_GATEWAY}
        headers = {
            name: value for name, value in (given.get("headers") or {}).items() if name.lower() != "content-type"
        }
        asked = {
            "path": PREDICT,
            "httpMethod": "POST",
            "headers": {**headers, "Content-Type": "application/json"},
            "body": given.get("body"),
            "isBase64Encoded": given.get("isBase64Encoded", False),
        }
        reply = handler(asked, context)
        answer = json.loads(reply["body"])
        if reply["statusCode"] != HTTPStatus.OK:
            return {"errMsg": answer["detail"]}
        if "class_id" not in answer:
            return {"errMsg": "Several images were sent; expected one, in image_base64 or image_url."}
        return {"result": answer["class_id"]}

    return digit_handler


def _read(event: Event | bytes | str) -> Event:
    """Take the event as some runtimes pass it, in JSON."""
    if isinstance(event, bytes | str):
        decoded: Event = json.loads(event)
        return decoded
    return event


def _as_aws(event: Event) -> dict[str, Any]:
    """Bring an event of any format to one of AWS's."""
    context = event.get("requestContext") or {}
    if event.get("version") == AWS_HTTP_API or "multiValueHeaders" in event or "elb" in context:
        return dict(event)
    http = context.get("http", {})
    path, _, query = str(event.get("path") or event["rawPath"]).partition(
        "?"
    )  # Tencent's may have the query at its end
    return {
        "requestContext": context,
        "path": path,
        "httpMethod": event.get("httpMethod") or http["method"],
        "headers": event.get("headers"),
        "multiValueQueryStringParameters": _query(event) or parse_qs(query),
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }


def _query(event: Event) -> dict[str, Any]:
    """Find the query: of Tencent's two `queryString` is the whole; `queryParameters` is Alibaba's name."""
    for name in ("queryString", "queryParameters", "queryStringParameters"):
        if event.get(name):
            return dict(event[name])
    return {}
