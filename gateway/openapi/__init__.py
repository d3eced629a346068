"""The OpenAPI 3.1 document at /api/v1/openapi.json, which the page /docs displays.

The document is built from the code that handles requests: routes from the application's URL map, responses from the
types that the views return (by pydantic's JSON Schema), problems from the table in `gateway.http.problems`, options
from `gateway.http.request_parser`, limits and defaults from the settings. This package only adds the prose, and leaves
out what generators of clients misread; docs/decisions/0023-a-document-for-generators.md says what that is.

No framework fits. Of those tried, spectree 3.0 and APIFlask 3.1 came closest. spectree combines JSON and multipart in
one operation and can skip validation, but it does not support raw bodies or response headers, and it describes every
response as application/json, including problems. APIFlask does not allow a view whose body is either JSON or files.
Most of this package would still be written by hand, and their decorators would wrap the one view that must be fast.
"""
