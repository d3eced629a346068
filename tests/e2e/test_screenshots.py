"""`make screenshots` takes the pictures of the documentation from the running page."""

from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import CHROMIUM
from tests.support.stack import RunningStack
from tools import screenshots

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.timeout(240)
def test_every_picture_is_taken_in_its_size(stack: RunningStack, tmp_path: Path):
    assert screenshots.main(["--url", stack.url, "--out", str(tmp_path)]) == 0

    assert {path.stem: size(path) for path in tmp_path.iterdir()} == {
        item.name: (item.width, item.height) for item in screenshots.SCREENSHOTS
    }


def test_without_a_service_the_message_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert screenshots.main(["--url", "http://127.0.0.1:9", "--out", str(tmp_path)]) == 1

    assert "Start the service first: make run" in capsys.readouterr().err
