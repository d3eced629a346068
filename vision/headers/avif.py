"""AVIF: the items of a still image (ISO/IEC 14496-12 boxes, ISO/IEC 23008-12 items, AOM AVIF 1.1.0).

A decoder trusts the sizes in three places: the property ``ispe`` of an item, the canvas of a grid item, and the AV1
bitstream itself. All of them are collected.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from vision.errors import UnreadableImageError
from vision.headers import av1, memory
from vision.headers.header import Header, ImageFormat, Size

MAX_PARTS = 4_096  # boxes, items, extents and AV1 units of a file; a photo has dozens, a grid six for each tile
# Pixels of all items together, as multiples of the largest and beyond: colours, alpha, a gain map, a thumbnail, layers.
# Tiles of a grid may share their data, so that the size of the file does not limit their number.
MAX_IMAGES = 8
FREE_PIXELS = 1 << 22
MAX_LAYERS = 4  # of a progressive image, each of them a frame (AV1 specification, 6.4.1: spatial layers)

_BYTE_BITS = 8
_FULL_BOX_BYTES = 4  # version and flags
_TO_THE_END, _LARGE_SIZE = 0, 1
_IN_IDAT = 1
_LARGE_GRID = 1
# Readers differ in which one counts if there are two.
_SINGLE_BOXES = frozenset(
    {b"ftyp", b"meta", b"moov", b"hdlr", b"pitm", b"iinf", b"iloc", b"iprp", b"ipco", b"iref", b"idat"}
)
_SINGLE_PROPERTIES = frozenset({b"ispe", b"av1C", b"pixi", b"irot", b"imir", b"clap", b"a1lx"})
_LAYERS = b"a1lx"
_IMAGES = frozenset({b"av01", b"grid"})
_METADATA = frozenset({b"Exif", b"mime"})
_IGNORED = b"skip"  # a type of item that no reader knows
# What libaom, libavif and OpenCV hold for each pixel of the image, and for each pixel of a frame with its border, if
# samples have 8 bits and if they have more.
_BORDER = 288
_IMAGE_PIXEL_BYTES = {False: 14, True: 20}
_ALPHA_PIXEL_BYTES = {False: 10, True: 14}
_FRAME_PIXEL_BYTES = {False: 4, True: 5}
_DECODER_BYTES = 2 << 20  # for each frame that is held
_FRAMES_HELD = 2 * MAX_LAYERS  # of colours and alpha; the tiles of a grid are decoded one after another
# (irot in quarter turns anticlockwise, imir axis or None) -> EXIF orientation, as libavif maps them.
_ORIENTATIONS: Mapping[tuple[int, int | None], int] = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip

_Properties: TypeAlias = dict[bytes, memoryview]
_T = TypeVar("_T")


def read(data: memoryview) -> Header:
    """Read the size of the primary item, and the sizes of everything that may be decoded for it.

    Raises:
        UnreadableImageError: The boxes contradict each other, there is no primary image, or it is a sequence.
        struct.error, IndexError: The data ends within a box.
    """
    file = _File(data, _Parts().count)
    primary = file.properties.get(file.primary, {})
    if b"ispe" not in primary:
        raise UnreadableImageError("AVIF: the primary image has no size")
    width, height = size = _declared_size(primary[b"ispe"])
    declared = [_declared_size(payload) for kind, payload in file.all_properties if kind == b"ispe"]
    content_sizes = [content_size for item in file.images() for content_size in file.content_sizes(item)]
    inner_sizes = (*declared, *content_sizes)
    largest = max(columns * rows for columns, rows in (size, *inner_sizes))
    if sum(columns * rows for columns, rows in content_sizes) > MAX_IMAGES * largest + FREE_PIXELS:
        raise UnreadableImageError(f"AVIF: the items have more than {MAX_IMAGES} times as many pixels as the largest")
    return Header(
        format=ImageFormat.AVIF,
        width=width,
        height=height,
        inner_sizes=inner_sizes,
        still=_without_metadata(data) if not _METADATA.isdisjoint(file.kinds.values()) else None,
        sample_max=_sample_max(primary),
        orientation=_orientation(primary.get(b"irot"), primary.get(b"imir")),
        peak_bytes=_peak_bytes(size, content_sizes, file.all_properties) + 2 * len(data),
    )


class _Parts:
    """Limits the parts that are read, and so the time that a file costs."""

    def __init__(self) -> None:
        self._remaining = MAX_PARTS

    def count(self) -> None:
        self._remaining -= 1
        if self._remaining < 0:
            raise UnreadableImageError(f"AVIF: more than {MAX_PARTS} boxes, items, extents and AV1 units")


@dataclass(frozen=True, slots=True)
class _Location:
    """Where the data of an item is: (start, length) of each extent, in ``idat`` or in the file."""

    in_idat: bool
    extents: tuple[tuple[int, int], ...]


class _File:
    """Items of a file.

    Attributes:
        primary: Number of the primary item.
        kinds: Type of each item.
        all_properties: Type and payload of each property, in order.
        properties: Payloads of the properties of each item, by type.
    """

    def __init__(self, data: memoryview, count: Callable[[], None]) -> None:
        self._count = count
        boxes = _single(_boxes(data, count))
        if b"moov" in boxes:
            raise UnreadableImageError("AVIF: image sequences are not supported; send a still image")
        meta = _single(_boxes(boxes.get(b"meta", memoryview(b""))[_FULL_BOX_BYTES:], count))
        if not meta.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
            raise UnreadableImageError("AVIF: the file contains no image")
        self.primary = _primary_item(meta[b"pitm"])
        self.kinds = {item: bytes(kind) for item, kind in _distinct(_item_kinds(meta[b"iinf"], count)).items()}
        self._locations = _distinct(_locations(meta[b"iloc"], count))
        property_boxes = list(_boxes(meta[b"iprp"], count))
        self.all_properties = list(_boxes(_single(property_boxes).get(b"ipco", memoryview(b"")), count))
        associations = (pair for kind, ipma in property_boxes if kind == b"ipma" for pair in _associations(ipma, count))
        self.properties = {item: self._select(indices) for item, indices in _distinct(associations).items()}
        self._sources = (data, meta.get(b"idat", memoryview(b"")))
        if sum(length for place in set(self._locations.values()) for _, length in place.extents) > len(data):
            # Items may share data if they are equal; overlapping extents only cost time.
            raise UnreadableImageError("AVIF: the items contain more bytes than the file")

    def images(self) -> Iterator[int]:
        """Yield the numbers of the items that are images and have data."""
        return (item for item, kind in self.kinds.items() if kind in _IMAGES and item in self._locations)

    def content_sizes(self, item: int) -> list[Size]:
        """Return the sizes that the data of an item declares, apart from its properties: one for each frame."""
        place = self._locations[item]
        source = self._sources[place.in_idat]
        content = b"".join(source[start : start + length] for start, length in place.extents)
        if self.kinds[item] == b"grid":
            return [_grid_size(content)]
        layers = MAX_LAYERS if _LAYERS in self.properties.get(item, ()) else 1
        return av1.frame_sizes(content, max_frames=layers, count=self._count)

    def _select(self, indices: list[int]) -> _Properties:
        selected: _Properties = {}
        valid = [self.all_properties[index - 1] for index in indices if 0 < index <= len(self.all_properties)]
        for kind, payload in valid:
            if kind in selected and kind in _SINGLE_PROPERTIES:
                raise UnreadableImageError(f"AVIF: an item has the property {kind.decode()} twice")
            selected.setdefault(kind, payload)
        return selected


def _peak_bytes(size: Size, frames: list[Size], properties: list[tuple[bytes, memoryview]]) -> int:
    """Return the peak of decoding; it depends on the number of bits, and on whether there is alpha."""
    is_deep = any(kind == b"av1C" and _depth(payload) > _BYTE_BITS for kind, payload in properties)
    has_alpha = any(kind == b"auxC" for kind, _ in properties)
    frame_pixels = sorted((width + 2 * _BORDER) * (height + 2 * _BORDER) for width, height in frames)[-_FRAMES_HELD:]
    pixel_bytes = _IMAGE_PIXEL_BYTES[is_deep] + has_alpha * _ALPHA_PIXEL_BYTES[is_deep]
    image = memory.as_samples(size, channels=4, sample_bytes=2 if is_deep else 1, turned=True)
    decoding = pixel_bytes * size[0] * size[1] + _FRAME_PIXEL_BYTES[is_deep] * sum(frame_pixels)
    return max(image, memory.MARGIN_BYTES + decoding + len(frame_pixels) * _DECODER_BYTES)


def _without_metadata(data: memoryview) -> bytes:
    """Return the file with its metadata items renamed to a type that OpenCV ignores.

    OpenCV copies the texts of an EXIF block once for each entry that refers to them: 4 MB took minutes.
    """
    copy = bytearray(data)
    count = _Parts().count
    meta = _single(_boxes(memoryview(copy), count))[b"meta"]
    for _, kind in _item_kinds(_single(_boxes(meta[_FULL_BOX_BYTES:], count))[b"iinf"], count):
        if bytes(kind) in _METADATA:
            kind[:] = _IGNORED
    return bytes(copy)


def _boxes(data: memoryview, count: Callable[[], None]) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and payload of each box in `data`."""
    position = 0
    while position < len(data):
        count()
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == _LARGE_SIZE:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == _TO_THE_END else position + size
        if not start <= end <= len(data):
            raise UnreadableImageError("AVIF: a box extends beyond the end of the file")
        yield kind, data[start:end]
        position = end


def _single(boxes: Iterable[tuple[bytes, memoryview]]) -> dict[bytes, memoryview]:
    """Return boxes by type.

    Raises:
        UnreadableImageError: There are two boxes of a type that may appear once.
    """
    by_kind: dict[bytes, memoryview] = {}
    for kind, payload in boxes:
        if kind in by_kind and kind in _SINGLE_BOXES:
            raise UnreadableImageError(f"AVIF: the box {kind.decode()} appears twice")
        by_kind[kind] = payload
    return by_kind


def _distinct(pairs: Iterator[tuple[int, _T]]) -> dict[int, _T]:
    """Return a value for each item.

    Raises:
        UnreadableImageError: An item has two.
    """
    by_item: dict[int, _T] = {}
    for item, value in pairs:
        if item in by_item:
            raise UnreadableImageError(f"AVIF: item {item} is described twice")
        by_item[item] = value
    return by_item


class _Fields:
    """Reader of big-endian numbers in the payload of a box."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> int:
        """Return the next `size` bytes as a number; 0 for a size of 0."""
        return int.from_bytes(self.take_bytes(size), "big")

    def take_bytes(self, size: int) -> memoryview:
        self.position += size
        if self.position > len(self._data):
            raise UnreadableImageError("AVIF: a box ends early")
        return self._data[self.position - size : self.position]


def _primary_item(pitm: memoryview) -> int:
    fields = _Fields(pitm)
    return fields.take(2 if _version(fields) == 0 else 4)


def _version(fields: _Fields) -> int:
    return fields.take(_FULL_BOX_BYTES) >> 24


def _associations(ipma: memoryview, count: Callable[[], None]) -> Iterator[tuple[int, list[int]]]:
    """Yield for each item the indices, from 1, of its properties."""
    fields = _Fields(ipma)
    version_and_flags = fields.take(_FULL_BOX_BYTES)
    item_bytes = 2 if version_and_flags >> 24 == 0 else 4
    index_bytes, code = (2, "H") if version_and_flags & 1 else (1, "B")
    index_mask = (1 << 8 * index_bytes - 1) - 1  # the top bit marks essential properties
    for _ in range(fields.take(4)):
        count()
        item, length = fields.take(item_bytes), fields.take(1)
        indices = struct.unpack(f">{length}{code}", fields.take_bytes(length * index_bytes))
        yield item, [index & index_mask for index in indices]


def _declared_size(ispe: memoryview) -> Size:
    width, height = struct.unpack_from(">4xII", ispe)
    return width, height


def _sample_max(primary: Mapping[bytes, memoryview]) -> int:
    """Return the largest sample value, by AV1CodecConfigurationRecord or, for a grid without one, PixelInformation."""
    if b"av1C" in primary:
        depth = _depth(primary[b"av1C"])
    else:
        depth = primary[b"pixi"][_FULL_BOX_BYTES + 1] if b"pixi" in primary else 8
    return (1 << min(max(depth, 8), 16)) - 1


def _depth(av1c: memoryview) -> int:
    """Return the bits of a sample, from high_bitdepth and twelve_bit."""
    return 8 + 2 * (av1c[2] >> 6 & 1) + 2 * (av1c[2] >> 5 & 1)


def _orientation(irot: memoryview | None, imir: memoryview | None) -> int:
    angle = irot[0] & 3 if irot else 0
    return _ORIENTATIONS[angle, imir[0] & 1 if imir else None]


def _item_kinds(iinf: memoryview, count: Callable[[], None]) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and type of each item."""
    fields = _Fields(iinf)
    fields.take(2 if _version(fields) == 0 else 4)  # number of boxes
    for kind, payload in _boxes(iinf[fields.position :], count):
        if kind == b"infe":
            entry = _Fields(payload)
            item = entry.take(2 if _version(entry) < 3 else 4)  # noqa: PLR2004  # ItemInfoEntry, version 3
            entry.take(2)  # item_protection_index
            yield item, entry.take_bytes(4)


def _locations(iloc: memoryview, count: Callable[[], None]) -> Iterator[tuple[int, _Location]]:
    """Yield for each item its number and where its data is."""
    fields = _Fields(iloc)
    version = _version(fields)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        nibble for byte in (fields.take(1), fields.take(1)) for nibble in (byte >> 4, byte & 15)
    )
    number_bytes = 4 if version == 2 else 2  # noqa: PLR2004  # ItemLocationBox, version 2
    for _ in range(fields.take(number_bytes)):
        count()
        item = fields.take(number_bytes)
        in_idat = version > 0 and fields.take(2) & 15 == _IN_IDAT
        fields.take(2)  # data_reference_index
        base = fields.take(base_bytes)
        extents = []
        for _ in range(fields.take(2)):
            count()
            fields.take(index_bytes if version > 0 else 0)
            extents.append((base + fields.take(offset_bytes), fields.take(length_bytes)))
        yield item, _Location(in_idat, tuple(extents))


def _grid_size(grid: bytes) -> Size:
    """Read the canvas of an ImageGrid: version, flags, rows, columns, then the size."""
    layout = ">4xII" if grid[1] & _LARGE_GRID else ">4xHH"
    width, height = struct.unpack_from(layout, grid)
    return width, height
