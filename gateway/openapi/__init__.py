"""The API's own description: OpenAPI 3.1 at /api/v1/openapi.json, and the page /docs to read and try it.

The document is written from what answers requests: routes from the application's URL map, answers from the types that
the views return (by pydantic's JSON Schema), problems from the table of `gateway.http.problems`, fields from
`gateway.http.request_parser`, limits and defaults from the settings. Only prose is added here.

No framework does this for us. spectree 3.0 and APIFlask 3.1 came nearest when tried. spectree puts JSON and multipart
in one operation and can be told not to validate, but knows no raw bodies, has no place for the headers of answers, and
writes every answer as application/json, problems too. APIFlask refuses a view that takes its body as JSON or with
files, whichever comes. What was left to write by hand was most of this package, while their decorators would stand
around the one view that has to be fast.
"""
