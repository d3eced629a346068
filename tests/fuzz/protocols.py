"""Fuzz target: any bytes as a request of another protocol are either parsed or refused.

The first line is `infer` or `predict`, the second the length of the JSON in the body, and what follows is the body.
"""

import math

import numpy as np
from werkzeug.exceptions import HTTPException

from gateway.errors import GatewayError
from gateway.http.json_objects import JsonLimits
from gateway.http.long_text import LONG_TEXT_BYTES
from gateway.prediction.image_loader import ImageBytes, ImagePixels
from tests.fuzz.parse import check_error
from tests.support.protocol_requests import make_protocol_parse
from vision.card import InputSpec

MAX_BYTES = 100_000
MAX_IMAGES = 4
SPEC = InputSpec(height=4, width=4, color="GRAY", dtype="float32")
PARSE = make_protocol_parse(
    SPEC, max_bytes=MAX_BYTES, max_images=MAX_IMAGES, limits=JsonLimits(max_depth=12, max_values=100)
)
LONG = {b"\x00L": b"QUJD" * (LONG_TEXT_BYTES // 4 + 1), b"\x00N": b"1," * (LONG_TEXT_BYTES // 2 + 1) + b"1"}
"""Texts that chance would never write, by what stands for them: base64 of an image, and numbers."""


def one_input(data: bytes) -> None:
    protocol, _, rest = data.partition(b"\n")
    json_bytes, _, body = rest.partition(b"\n")
    for mark, text in LONG.items():
        body = body.replace(mark, text, 3)
    result = PARSE("infer" if protocol == b"infer" else "predict", body, json_bytes.decode("latin-1"))
    if isinstance(result, HTTPException):
        assert result.code == 413
    elif isinstance(result, GatewayError):
        check_error(result)
    else:
        assert 1 <= len(result) <= MAX_IMAGES
        for image in result:
            check_image(image)


def check_image(image: object) -> None:
    if isinstance(image, ImageBytes):
        assert image.data
        return
    assert isinstance(image, ImagePixels)
    assert (image.pixels.dtype, image.pixels.size) == (np.float32, math.prod(SPEC.shape))
    assert image.pixels.shape == SPEC.shape
    assert np.isfinite(image.pixels).all()
