"""Why each problem happens, and a request that leads to it, for the pages about problems."""

from collections.abc import Mapping
from typing import Any, NamedTuple

SERVICE = "http://localhost:8080"
PREDICT = f"{SERVICE}/api/v1/predict"
PHOTO = "-F image=@examples/macaws.jpg"
MANY_PHOTOS = "$(printf -- '-F image=@examples/macaws.jpg %.0s' $(seq 65))"


class Cause(NamedTuple):
    """Why a problem happens.

    Attributes:
        reasons: What usually leads to it, the most frequent first; text with code between backticks.
        request: A command that leads to it, run in the folder of the repository; empty if no request does so by itself.
        condition: What has to be so beforehand, as a sentence; empty if the request suffices with the default settings
            and the committed models.
        detail: The `detail` of the response to the request; empty if it is the meaning of the problem.
        members: Members of that response that differ from the examples of the OpenAPI document.
    """

    reasons: tuple[str, ...]
    request: str = ""
    condition: str = ""
    detail: str = ""
    members: Mapping[str, Any] = {}


CAUSES: Mapping[str, Cause] = {
    "bad-request": Cause(
        (
            "An option has a name that does not exist, or a value outside its range.",
            "The body is empty, or is not valid JSON or multipart.",
            "The header `Content-Type` of multipart was set by hand, without the boundary.",
            "The image in JSON is not base64.",
        ),
        f"curl {PHOTO} '{PREDICT}?top_k=many'",
        detail="top_k must be a whole number of at least 1, not 'many'.",
        members={"field": "top_k"},
    ),
    "key-missing": Cause(
        ("The service requires API keys, and the request has none.", "A proxy in front removes the header."),
        f"curl {PHOTO} {PREDICT}",
        "The operator has set GATEWAY_API_KEYS_FILE.",
    ),
    "key-unknown": Cause(
        ("The key is mistyped or cut off.", "The operator has removed it.", "It belongs to another service."),
        f"curl -H 'Authorization: Bearer igk_camera.wrong' {PHOTO} {PREDICT}",
        "The operator has set GATEWAY_API_KEYS_FILE.",
    ),
    "job-not-found": Cause(
        (
            "The id is mistyped.",
            "The job has expired.",
            "The request has another API key than the one that created the job.",
        ),
        f"curl {SERVICE}/api/v1/jobs/none",
        detail="Job 'none' does not exist, or it has expired. Check the id, and use the API key that the job was "
        "created with.",
    ),
    "model-not-found": Cause(
        ("The name of the model is mistyped.", "The operator does not serve this model, or has removed it."),
        f"curl {PHOTO} {SERVICE}/api/v1/models/imagnet/predict",
        detail="No model named 'imagnet' is served. Served: imagenet, cifar10, digits.",
    ),
    "not-found": Cause(
        (
            "The path is mistyped, or has a slash at its end.",
            "The route is turned off, such as `/api/v1/jobs` without GATEWAY_JOBS.",
            "The service is published below a path that the URL lacks.",
        ),
        f"curl {PHOTO} {SERVICE}/api/v1/predictt",
        detail="There is no route POST /api/v1/predictt. Did you mean POST /api/v1/predict?",
    ),
    "version-not-found": Cause(
        (
            "The version was replaced by a newer one and is no longer served.",
            "The label is not in the configuration of the model server.",
        ),
        f"curl {PHOTO} {SERVICE}/api/v1/models/imagenet/versions/99/predict",
        detail="No version 99 of imagenet is served. Served: 1.",
        members={"versions": [1], "labels": []},
    ),
    "method-not-allowed": Cause(
        ("A browser or a command sends `GET` to a route that takes images by `POST`.",),
        f"curl {PREDICT}",
        detail="/api/v1/predict takes POST; this was GET. Send an image, for example with `curl -F image=@photo.jpg "
        "URL`.",
    ),
    "body-timeout": Cause(
        (
            "The connection is too slow for the size of the image.",
            "The client declares a body and stops sending it.",
        ),
        f"curl --limit-rate 10k -F image=@photo.jpg {PREDICT}",
        "photo.jpg has 5 MB, and no proxy in front waits for all of it.",
    ),
    "body-too-large": Cause(
        (
            "A photo as it comes from the camera has more bytes than the limit.",
            "Several images together have more bytes than the limit. In JSON, base64 adds a third.",
            "The file behind an image URL is too large.",
        ),
        f"head -c 11000000 /dev/zero | curl -H 'Content-Type: image/jpeg' --data-binary @- {PREDICT}",
        detail="The body is 11 MB; at most 10 MB is accepted. Send a smaller image.",
    ),
    "image-too-large": Cause(
        ("The image is a panorama, a scan or a poster.", "Its file is small, but unpacks to very many pixels."),
        f"curl -F image=@poster.png {PREDICT}",
        "poster.png is 10,000 pixels wide and high.",
    ),
    "too-many-images": Cause(
        ("The images of a whole folder are sent in one request.", "The rate limit is lower than the batch."),
        f"curl {MANY_PHOTOS} {PREDICT}",
        detail="The request carries 65 images; at most 64 are accepted.",
    ),
    "uri-too-long": Cause(
        ("An image is sent in the URL, as a data URI.", "An image URL with a very long signature is in the query."),
        f"curl \"{PREDICT}?image=$(head -c 9000 /dev/zero | tr '\\0' A)\"",
        detail="The request line is longer than 8 KiB. Send images in the body, not in the URL.",
    ),
    "unsupported-image-format": Cause(
        (
            "The file is not an image, such as a PDF, or the HTML page of an error.",
            "The file is empty, or has the name of an image but other content.",
            "The image is in a format that is not accepted, such as SVG.",
        ),
        f"curl -F image=@README.md {PREDICT}",
        detail="This is plain text. Accepted formats: jpeg, png, webp, gif, bmp, avif, heic, tiff. Send the content of "
        "an image file.",
        members={"field": "image"},
    ),
    "unsupported-media-type": Cause(
        (
            "The header `Content-Type` is missing or names something else than what is sent.",
            "The body is compressed, such as with `Content-Encoding: gzip`.",
        ),
        f"curl -H 'Content-Type: text/plain' -d hello {PREDICT}",
        detail="The media type 'text/plain' is not accepted. The body is plain text. Send multipart/form-data with a "
        "part `image`, application/json with `url`, `image` (base64) or `instances` (several), or the bytes themselves "
        "as image/* or application/octet-stream.",
    ),
    "fetch-failed": Cause(
        (
            "The page behind the URL does not exist, requires a login, or blocks programs.",
            "The other server is slow or down.",
        ),
        f"curl -F url=https://example.com/missing.jpg {PREDICT}",
        "The service can reach the internet.",
    ),
    "fetch-refused": Cause(
        (
            "The host has an address of a private network or of this machine, or is not known.",
            "The URL has a port other than those for the web.",
        ),
        f"curl -F url=http://localhost:9/cat.jpg {PREDICT}",
        detail="Images are not fetched from port 9 of localhost; allowed ports: 80, 443. Send the image itself.",
        members={"field": "url"},
    ),
    "idempotency-key-reused": Cause(
        ("A program sends the same value for every job.", "A request was changed before it was repeated."),
        f"curl -H 'Idempotency-Key: one' {PHOTO} {SERVICE}/api/v1/jobs\n"
        f"curl -H 'Idempotency-Key: one' -F image=@examples/warplane.jpg {SERVICE}/api/v1/jobs",
        detail="The Idempotency-Key was sent before with other images or options. Send a new key for a new job, or the "
        "same request again.",
    ),
    "model-not-explainable": Cause(
        ("The model was exported elsewhere, without the signature `explain`.",),
        f"curl {PHOTO} '{SERVICE}/api/v1/models/mine/predict?explain=true'",
        "The model `mine` has no signature `explain`.",
    ),
    "unreadable-image": Cause(
        (
            "The upload or download of the image was cut off.",
            "The file was changed by a program, for example opened as text and saved.",
        ),
        f"head -c 20000 examples/macaws.jpg | curl -F image=@- {PREDICT}",
        detail="JPEG: the image is truncated, corrupt, or of an unsupported kind. Check that the file opens in a "
        "viewer, or convert it to JPEG or PNG.",
        members={"field": "image"},
    ),
    "unusable-archive": Cause(
        (
            "The file is not a ZIP archive, or was cut off.",
            "The archive has a password, or unpacks to too many bytes.",
        ),
        f"curl -F archive=@LICENSE {SERVICE}/api/v1/jobs",
        detail="The archive has no end: 11.3 kB arrived. It is not a ZIP archive, or was cut off. Send all of it.",
    ),
    "rate-limited": Cause(
        (
            "A program sends requests faster than the operator allows. Each image of a batch counts.",
            "Several users share one API key or one address.",
        ),
        f"for n in 1 2 3; do curl {PHOTO} {PREDICT}; done",
        "The operator has set `GATEWAY_RATE_LIMIT=2/minute`.",
    ),
    "too-many-jobs": Cause(
        ("Jobs are created faster than they are finished.", "Webhooks of finished jobs cannot be delivered."),
        f"for n in $(seq 11); do curl -F archive=@photos.zip {SERVICE}/api/v1/jobs; done",
        "photos.zip has thousands of images.",
    ),
    "headers-too-large": Cause(
        ("A browser sends large cookies that other services of the same host have set.", "A token is very long."),
        f"curl -H \"X-Note: $(head -c 9000 /dev/zero | tr '\\0' A)\" {PREDICT}",
        detail="One header is longer than 8 KiB, or all of them together are longer than 32 KiB, or there are more "
        "than 100. Send fewer and shorter ones.",
    ),
    "internal-error": Cause(("The gateway has a bug that this request reveals.",)),
    "model-unusable": Cause(
        (
            "The labels of the card are more or fewer than the scores of the model.",
            "The model returns logits, and its card does not name the activation.",
        ),
        f"curl {PHOTO} {SERVICE}/api/v1/models/mine/predict",
        "The card of the model `mine` is wrong.",
    ),
    "model-failed": Cause(
        (
            "The graph of the model fails for this input.",
            "The model server runs out of memory.",
        ),
    ),
    "gateway-unavailable": Cause(
        ("The gateway starts, or is being restarted.", "It has stopped; its log says why."),
        f"curl {PHOTO} {PREDICT}",
        "nginx runs and the gateway does not.",
    ),
    "jobs-unavailable": Cause(
        ("Redis is stopped or out of reach.", "The disk of the jobs is full or read-only."),
        f"curl {PHOTO} {SERVICE}/api/v1/jobs",
        "Jobs are in Redis, and Redis is stopped.",
    ),
    "keys-unavailable": Cause(
        ("The file of the keys was deleted or edited wrongly.", "The gateway may not read it."),
        f"curl -H 'Authorization: Bearer KEY' {PHOTO} {PREDICT}",
        "The file of GATEWAY_API_KEYS_FILE is damaged.",
    ),
    "limits-unavailable": Cause(
        ("Redis is stopped or out of reach, and GATEWAY_RATE_LIMIT_FALLBACK is `deny`.",),
        f"curl {PHOTO} {PREDICT}",
        "Limits are counted in Redis, and Redis is stopped.",
    ),
    "metrics-unavailable": Cause(
        ("A file of the metrics is damaged, for example because the disk was full.",),
        "curl http://localhost:8000/metrics",
        "A file of the metrics is damaged. The request goes to the gateway itself, as nginx hides this path.",
    ),
    "model-overloaded": Cause(
        ("More requests arrive than the model server computes.", "Other programs use the same model server."),
    ),
    "model-unavailable": Cause(
        (
            "The model server has just started and is still loading the model.",
            "The model server is stopped, or GATEWAY_TFS_TARGET names another address.",
            "The folder of the model has no version that can be loaded; the log of the model server says why.",
        ),
        f"curl {PHOTO} {PREDICT}",
        "The model server is stopped.",
    ),
    "not-ready": Cause(
        (
            "The service has just started.",
            "The model server is out of reach.",
            "The default model does not classify its own test image correctly.",
        ),
        f"curl {SERVICE}/readyz",
        "The model server is stopped.",
    ),
    "overloaded": Cause(
        (
            "Many requests arrive at the same time, and the queue is full.",
            "One client sends many large batches; others get their turn first.",
        ),
    ),
    "version-gone": Cause(
        ("The version was replaced while the request was on its way.",),
    ),
    "deadline-exceeded": Cause(
        (
            "The batch is large, or the machine is busy.",
            "The header `X-Request-Timeout` allows too little time.",
            "An image URL answers slowly.",
        ),
        f"curl -H 'X-Request-Timeout: 0.001' {PHOTO} {PREDICT}",
        detail="The request was not answered within 0.001 s. Send it again, with fewer or smaller images.",
    ),
    "gateway-timeout": Cause(
        ("The gateway is stuck or suspended.", "The machine has no memory left and swaps."),
    ),
    "jobs-full": Cause(
        ("Images and results of other jobs fill the space that the operator allows.", "The disk is full."),
        f"curl -F archive=@photos.zip {SERVICE}/api/v1/jobs",
        "photos.zip is larger than what is left of GATEWAY_JOBS_MAX_STORED_BYTES.",
    ),
}
"""By the slug of the problem."""
