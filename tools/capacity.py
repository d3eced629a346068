"""Measure what an answer costs: CPU time of nginx, gateway and model server, by the picture that was sent.

    python -m tools.capacity

docs/deploy.md says how to make numbers of machines of it.
"""

import sys

import cv2
import numpy as np

from tools.load import Load, measure
from tools.programs import ROOT
from tools.service import started

CONCURRENCY = 8
SECONDS = 6.0
# Width and height in pixels of the JPEG pictures that are made here, 4:3 as cameras make them.
SIZES = ((500, 375), (1600, 1200), (4000, 3000))
JPEG_QUALITY = 85
MODELS = ("digits", "cifar10")


def pictures() -> dict[str, bytes]:
    """Return encoded pictures by what to call them: one of a model's golden ones, and photos of several sizes."""
    golden = (ROOT / "serving_models/cifar10/1/assets.extra/golden/05.png").read_bytes()
    photos = {f"JPEG {width} x {height}": photo(width, height) for width, height in SIZES}
    return {"PNG 32 x 32": golden, **photos}


def photo(width: int, height: int) -> bytes:
    """Make a JPEG picture with about as much detail as a photograph: noise at every scale, the finer the fainter."""
    generator = np.random.default_rng(0)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(2, 9):
        rows, columns = max(height >> (9 - octave), 1), max(width >> (9 - octave), 1)
        noise = generator.normal(0, 90 / octave**1.5, (rows, columns, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return encoded.tobytes()


def main() -> int:
    """Measure and print a table."""
    with started() as service:
        names = tuple(service.processes)
        print(f"| model | picture | kB | {' | '.join(f'{name}, CPU ms' for name in names)} | answers/s |", flush=True)
        print(f"|---|---|--:|{'--:|' * (len(names) + 1)}", flush=True)
        for model in MODELS:
            for name, picture in pictures().items():
                load = Load(f"/api/v1/models/{model}/predict", [picture], CONCURRENCY, SECONDS)
                before = service.cpu_s()
                measured = measure(service.url, load)
                after = service.cpu_s()
                if measured.failures:
                    raise SystemExit(f"{measured.failures} of {measured.answers} requests failed.")
                costs = " | ".join(f"{(after[part] - before[part]) / measured.answers * 1e3:.2f}" for part in names)
                print(f"| {model} | {name} | {len(picture) / 1e3:.0f} | {costs} | {measured.rate:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
