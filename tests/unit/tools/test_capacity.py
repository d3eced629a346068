from pathlib import Path

import cv2
import numpy as np

from tools import capacity, service
from tools.load import Load, measure


def test_the_pictures_are_what_they_are_called():
    for name, encoded in capacity.pictures().items():
        kind, size = name.split(maxsplit=1)
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert f"{image.shape[1]} x {image.shape[0]}" == size
        assert encoded.startswith(b"\x89PNG" if kind == "PNG" else b"\xff\xd8")


def test_a_photo_is_no_smooth_surface():
    bytes_per_pixel = len(capacity.photo(500, 375)) / (500 * 375)
    assert 0.08 < bytes_per_pixel < 0.8  # between a drawing and noise


def test_every_program_is_seen_to_work():
    picture = capacity.photo(500, 375)
    with service.started() as running:
        assert set(running.processes) >= {"model-server", "gateway"}
        assert all(Path(f"/proc/{process}").exists() for process in running.processes.values())
        before = running.cpu_s()
        measured = measure(running.url, Load("/api/v1/models/digits/predict", [picture], 4, 1.0))
        after = running.cpu_s()
    assert measured.failures == 0
    assert measured.answers > 0
    assert all(after[name] > before[name] for name in before)
