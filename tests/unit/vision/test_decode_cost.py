"""What decoding costs: memory up to what the header declares, and little time if the header calls the file plain."""

import struct
import zlib
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.capacity import MemoryBudget
from tests.support import image_files as files
from tests.support.decode_cost import CostMeter
from vision.decode import ImageError, inspect
from vision.headers import jpeg

ROOT = Path(__file__).parents[3]
HOSTILE = ROOT / "../shared/data/hostile"
PHOTOS = ROOT / "../shared/data/photos"
STORED = ROOT / "tests/fuzz/corpus/decode"
HEIC = ROOT / "tests/unit/vision/heic"
MAX_PIXELS = 16_000_000
LARGEST = (3_000, 5_000)
# Generous, since a busy machine takes longer for the same work.
BASE_S, PIXEL_S, BYTE_S = 0.7, 120e-9, 100e-9

SUBSAMPLING_444 = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)
FAST_AVIF = (cv2.IMWRITE_AVIF_SPEED, 10)


@pytest.fixture(scope="module")
def meter():
    with closing(CostMeter(max_pixels=MAX_PIXELS)) as meter:
        yield meter


def blank(size: tuple[int, int] = LARGEST, channels: int = 3, kind: type = np.uint8) -> np.ndarray:
    return np.zeros((*size, channels) if channels > 1 else size, kind)


def with_all_plain_scans(data: bytes) -> bytes:
    """Return a progressive JPEG whose last scan is repeated as often as a plain file may have scans."""
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * (jpeg.MAX_PLAIN_SCANS - data.count(b"\xff\xda")) + data[-2:]


def interlaced_png(height: int, width: int, *, depth: int = 8) -> bytes:
    """Build an RGBA PNG in seven passes (Adam7), all zero."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes if width > x and height > y]
    size = sum(rows * (1 + columns * depth // 2) for columns, rows in sizes)
    return files.png(width, height, depth, 6, bytes(size), interlace=1)


PLAIN = {
    "jpeg": lambda: files.encoded(blank(), ".jpg", *SUBSAMPLING_444),
    "jpeg, gray": lambda: files.encoded(blank(channels=1), ".jpg"),
    "jpeg, turned": lambda: files.encoded_with_orientation(blank(), ".jpg", 6),
    "jpeg, progressive": lambda: with_all_plain_scans(files.encoded(blank(), ".jpg", *SUBSAMPLING_444, *PROGRESSIVE)),
    "jpeg, wide": lambda: files.encoded(blank((200, 65_000)), ".jpg", *SUBSAMPLING_444, *PROGRESSIVE),
    "jpeg, tall": lambda: files.encoded(blank((65_000, 200)), ".jpg", *SUBSAMPLING_444, *PROGRESSIVE),
    "png": lambda: files.encoded(blank(), ".png"),
    "png, wide": lambda: files.encoded(blank((15, 1_000_000), 4), ".png"),
    "png, alpha, turned": lambda: files.encoded_with_orientation(blank(channels=4), ".png", 7),
    "png, interlaced": lambda: interlaced_png(*LARGEST),
    "webp": lambda: files.encoded(blank(), ".webp", cv2.IMWRITE_WEBP_QUALITY, 10),
    "webp, alpha, turned": lambda: files.encoded_with_orientation(blank(channels=4), ".webp", 7),
    "webp, lossless": lambda: files.encoded(blank(channels=4), ".webp", *LOSSLESS),
}
MEDIUM = (900, 1_200)
OTHER = {
    "png, 16 bits": lambda: files.encoded(blank(MEDIUM, 4, np.uint16), ".png"),
    "png, 16 bits, interlaced": lambda: interlaced_png(*MEDIUM, depth=16),
    "tiff, 8 bits": lambda: files.encoded(blank(MEDIUM), ".tiff"),
    "tiff, one strip": lambda: files.tiff(blank(MEDIUM, 4), {338: (2,), 274: (7,)}),
    "tiff, one strip of 16 bits": lambda: files.tiff(blank(MEDIUM, 4, np.uint16), {338: (2,)}),
    "tiff, a strip for each row": lambda: files.tiff_directory(
        {
            256: (3,),
            257: (100_000,),
            258: (8,),
            259: (1,),
            262: (1,),
            277: (1,),
            278: (1,),
            273: (16,) * 100_000,
            279: (3,) * 100_000,
        },
        bytes(3),
    ),
    "bmp": lambda: files.encoded(blank(MEDIUM), ".bmp"),
    "gif": lambda: files.encoded(blank(MEDIUM), ".gif"),
    "avif": lambda: files.encoded(blank(MEDIUM), ".avif", *FAST_AVIF),
    "avif, alpha": lambda: files.encoded(blank(MEDIUM, 4), ".avif", *FAST_AVIF),
    "avif, alpha, 10 bits": lambda: files.encoded(
        blank(MEDIUM, 4, np.uint16), ".avif", *FAST_AVIF, cv2.IMWRITE_AVIF_DEPTH, 10
    ),
    "heic": (HEIC / "quadrants.heic").read_bytes,
    "heic, alpha": (HEIC / "alpha.heic").read_bytes,
    "heic, 10 bits": (HEIC / "deep.heic").read_bytes,
    "bmp, 32 bits": lambda: files.encoded(blank(MEDIUM, 4), ".bmp"),
    "tiff, deflate": lambda: files.encoded(blank(MEDIUM), ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 8),
    "tiff, jpeg": lambda: files.encoded(
        blank(MEDIUM), ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 7, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 16
    ),
    "avif, wide": lambda: files.encoded(blank((1, 10_000), 4), ".avif", *FAST_AVIF),
    "webp, lossless noise": lambda: files.encoded(
        np.random.default_rng(5).integers(0, 256, (400, 400, 3), dtype=np.uint8), ".webp", *LOSSLESS
    ),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_the_largest_plain_files_take_the_memory_that_their_header_declares_and_little_time(make, meter):
    data = make()

    cost = meter.measure(data)

    assert cost.outcome == "decoded"
    assert cost.is_plain
    assert cost.peak_bytes <= cost.declared_bytes
    assert cost.cpu_s < BASE_S + PIXEL_S * MAX_PIXELS + BYTE_S * len(data)


@pytest.mark.parametrize("make", OTHER.values(), ids=OTHER)
def test_other_files_take_the_memory_that_their_header_declares(make, meter):
    cost = meter.measure(make())

    assert cost.outcome == "decoded"
    assert not cost.is_plain
    assert cost.peak_bytes <= cost.declared_bytes


def test_a_phones_photo_takes_less_than_a_worker_has_for_it_in_the_compose_files():
    data = (HEIC / "phone.heic").read_bytes()
    budget = MemoryBudget((2 << 30) // 2 // 2, places=64, max_wait_s=1)  # half of 2 GB, for two workers

    with closing(CostMeter(max_pixels=25_000_000)) as meter:
        cost = meter.measure(data)

    assert cost.outcome == "decoded"
    assert cost.peak_bytes <= cost.declared_bytes <= budget.decoders.size


@pytest.mark.parametrize(
    "folder",
    [
        STORED,
        pytest.param(HOSTILE, marks=pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile images are missing")),
        pytest.param(PHOTOS, marks=pytest.mark.skipif(not PHOTOS.is_dir(), reason="the labelled photos are missing")),
    ],
    ids=lambda folder: folder.name,
)
def test_plain_files_of_a_corpus_take_the_memory_that_their_header_declares_and_little_time(folder, meter):
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_plain(path.read_bytes())]

    assert paths
    for path in paths:
        cost = meter.measure(path.read_bytes())
        height, width = cost.declared
        assert cost.outcome != "crashed", path
        assert cost.peak_bytes <= cost.declared_bytes, path
        assert cost.cpu_s < BASE_S + PIXEL_S * height * width + BYTE_S * path.stat().st_size, path


def is_plain(data: bytes) -> bool:
    try:
        return inspect(data, max_pixels=MAX_PIXELS).is_plain
    except ImageError:
        return False


# Small files that cost much


def grouped_webp(side: int, groups: int) -> bytes:
    """Build a lossless WebP with its own group of five prefix codes, of one symbol each, for every block of 4 x 4."""
    # Fields of (value, bits), the lowest bit first (RFC 9649, 5 and 6).
    fields = [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 4), (0, 1), (0, 1), (1, 1), (0, 3), (0, 1)]
    for alphabet in (280, 256):  # green and red of the image of group numbers: 256 codes of 8 bits
        fields += [(0, 1), (12 - 4, 4)]
        fields += [(1 if length in {8, 18} else 0, 3) for length in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)]
        fields += [(0, 1)] + [(0, 1)] * 256 + ([(1, 1), (alphabet - 256 - 11, 7)] if alphabet > 256 else [])
    one_symbol = [(0b001, 3), (0, 1)]
    fields += one_symbol * 3
    blocks = (side // 4) ** 2
    reversed_byte = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    for number in (block % groups for block in range(blocks)):
        fields += [(reversed_byte[number & 255], 8), (reversed_byte[number >> 8], 8)]
    fields += one_symbol * 5 * groups
    bits = "".join(f"{value:0{count}b}"[::-1] for value, count in fields)
    packed = int(bits[::-1], 2).to_bytes(-(-len(bits) // 8) + 8, "little")
    return files.webp((b"VP8L", packed))


def exif_of_long_texts(count: int, length: int) -> bytes:
    """Build an EXIF block whose entries all refer to the same long text."""
    entry = struct.pack("<HHII", 0x10F, 2, length, 8)
    return (b"II*\0" + struct.pack("<IH", 8, count) + entry * count + bytes(4)).ljust(8 + length, b"\0")


def test_lossless_webp_of_many_prefix_codes_is_not_plain(meter):
    """65,536 groups took 1.3 GB."""
    cost = meter.measure(grouped_webp(512, 16_384))

    assert not cost.is_plain
    assert cost.outcome != "decoded", "the file is what it is meant to be: it takes more than is permitted"


def test_png_whose_data_could_be_inflated_for_long_is_not_plain(meter):
    """libpng inflates what follows the last row to the end: 8 MB cost 17 s."""
    signature_and_header = files.png(1, 1, 8, 0, b"\0\0")[:33]
    zeros = zlib.compress(bytes(120 << 20), 9)
    plain, other = (
        b"".join((signature_and_header, files.png_chunk(b"IDAT", data), files.png_chunk(b"IEND")))
        for data in (zeros, zeros + bytes(20_000))
    )

    cost = meter.measure(plain)

    assert cost.is_plain
    assert cost.cpu_s < BASE_S
    assert not meter.measure(other).is_plain


def test_exif_of_long_texts_costs_no_time(meter):
    """OpenCV copied the text once for each entry: minutes."""
    image = np.zeros((8, 8, 3), np.uint8)
    exif = exif_of_long_texts(60_000, 4_000_000)
    avif = files.avif(
        [(b"av01", files.av1_payload(files.encoded(image, ".avif")), [1, 2, 3]), (b"Exif", bytes(4) + exif, [])],
        [files.ispe(8, 8), files.av1c(), files.box(b"pixi", b"\0\0\0\0\3\x08\x08\x08")],
    )
    lossy = files.encoded(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50)
    assert lossy[12:16] == b"VP8 "
    canvas = (b"VP8X", b"\x08\0\0\0\7\0\0\7\0\0")
    for data in (
        files.png_with(files.encoded(image, ".png"), files.png_chunk(b"eXIf", exif)),
        files.webp(canvas, (b"VP8 ", lossy[20:]), (b"EXIF", exif)),
        avif,
    ):
        cost = meter.measure(data)

        assert cost.outcome == "decoded"
        assert cost.cpu_s < BASE_S
