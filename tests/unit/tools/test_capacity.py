import cv2
import numpy as np
import pytest

from tools import capacity
from tools.local_stack import LocalStack


def test_images_are_what_their_descriptions_say():
    images = capacity.encoded_images()

    assert len(images) == 1 + len(capacity.SIZES)
    for description, encoded in images.items():
        kind, size = description.split(maxsplit=1)
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert f"{image.shape[1]} x {image.shape[0]}" == size
        assert encoded.startswith(b"\x89PNG" if kind == "PNG" else b"\xff\xd8")


def test_a_photo_has_detail():
    bytes_per_pixel = len(capacity.draw_photo(500, 375)) / (500 * 375)

    assert 0.08 < bytes_per_pixel < 0.8  # between a drawing and noise


@pytest.mark.timeout(240)
def test_each_program_of_a_stack_has_a_cost(tmp_path):
    with LocalStack(tmp_path) as stack:
        stack.start()
        costs_ms, rate = capacity.measure(stack, "digits", capacity.draw_photo(500, 375), seconds=1)

    assert set(costs_ms) >= {"model-server", "gateway"}
    assert all(cost_ms > 0 for cost_ms in costs_ms.values())
    assert rate > 0
