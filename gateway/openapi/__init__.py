"""The API's own description: OpenAPI 3.1 at /api/v1/openapi.json, and the page /docs to read and try it.

The document is written from what answers requests: routes from the application's URL map, answers from the types that
the views return (by pydantic's JSON Schema), problems from the table of `gateway.problems`, fields from
`gateway.inputs`, limits and defaults from the settings. Only prose is added here.

No framework does this for us. spectree 3.0 and APIFlask 3.1 came nearest when tried. spectree puts JSON and multipart
in one operation and can be told not to validate, but knows no raw bodies, answers every status as application/json,
and has no place for the headers of answers or for examples. APIFlask types JSON or a form, not both, without a hook
that rewrites its document. What was left to write by hand was most of this package, and their decorators would stand
around the one view that has to be fast.
"""
