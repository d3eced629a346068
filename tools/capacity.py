"""Measure the cost of a request: CPU time of nginx, gateway and model server, by the image that is sent.

    python -m tools.capacity

docs/guides/deploy.md explains how to compute a number of machines from it.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tools.committed_models import golden_images
from tools.load_generator import ImageRequests, LoadGenerator
from tools.local_stack import LocalStack

USERS = 8
SECONDS = 6.0
WARM_UP_SHARE = 0.2
# Width and height in pixels of the JPEG photos drawn here, 4:3 like those of cameras.
SIZES = ((500, 375), (1600, 1200), (4000, 3000))
JPEG_QUALITY = 85
MODELS = ("imagenet", "cifar10", "digits")


def encoded_images() -> dict[str, bytes]:
    """Return encoded images by description: a golden image of a model, and photos of several sizes."""
    golden = (golden_images("cifar10") / "05.png").read_bytes()
    photos = {f"JPEG {width} x {height}": draw_photo(width, height) for width, height in SIZES}
    return {"PNG 32 x 32": golden, **photos}


def draw_photo(width: int, height: int) -> bytes:
    """Draw a JPEG with about as much detail as a photo: noise at every scale, fainter at finer scales."""
    generator = np.random.default_rng(0)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(2, 9):
        rows, columns = max(height >> (9 - octave), 1), max(width >> (9 - octave), 1)
        noise = generator.normal(0, 90 / octave**1.5, (rows, columns, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return jpeg.tobytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table in Markdown, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.capacity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="duration of each measurement (%(default)s)")
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder), supervised=True) as stack:
        stack.start()
        names = stack.programs()
        print(f"| model | image | kB | {' | '.join(f'{name}, CPU ms' for name in names)} | answers/s |", flush=True)
        print(f"|---|---|--:|{'--:|' * (len(names) + 1)}", flush=True)
        for model in MODELS:
            for description, image in encoded_images().items():
                costs_ms, rate = measure(stack, model, image, seconds)
                costs = " | ".join(f"{costs_ms[name]:.2f}" for name in names)
                print(f"| {model} | {description} | {len(image) / 1e3:.0f} | {costs} | {rate:.0f} |", flush=True)
    return 0


def measure(stack: LocalStack, model: str, image: bytes, seconds: float) -> tuple[dict[str, float], float]:
    """Send an image repeatedly; return the CPU milliseconds per answer by program, and the answers per second.

    Raises:
        SystemExit: A request failed.
    """
    requests = ImageRequests(f"{stack.url}/api/v1/models/{model}/predict", [image])
    before_s = stack.cpu_s()
    load = LoadGenerator(requests.connect, users=USERS).run(seconds, warm_up_s=WARM_UP_SHARE * seconds)
    after_s = stack.cpu_s()
    if load.failures:
        raise SystemExit(f"{load.failures} of {len(load.calls)} requests failed: {dict(load.counts)}")
    costs_ms = {name: (after_s[name] - before_s[name]) / load.total * 1e3 for name in before_s}
    return costs_ms, load.rate()


if __name__ == "__main__":
    sys.exit(main())
