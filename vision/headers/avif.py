"""AVIF: the items of a still image (ISO/IEC 14496-12 boxes, ISO/IEC 23008-12 items, AOM AVIF 1.1.0).

A decoder trusts the sizes in three places: the property ``ispe`` of an item, the canvas of a grid item, and the AV1
bitstream itself. All of them are collected.
"""

import struct
from collections.abc import Iterator, Mapping

from vision.errors import UnreadableImageError
from vision.headers import av1, memory
from vision.headers.header import Header, ImageFormat, Size

MAX_BOXES = 4_096  # within one box
MAX_ITEMS = 4_096

_FULL_BOX_BYTES = 4  # version and flags
_TO_THE_END, _LARGE_SIZE = 0, 1
_IN_IDAT = 1
_LARGE_GRID = 1
# libaom holds frames with a border on each side; libavif and OpenCV convert them.
_BORDER = 288
_FRAME_BYTES = 8
_PIXEL_BYTES = 29
# (irot in quarter turns anticlockwise, imir axis or None) -> EXIF orientation, as libavif maps them.
_ORIENTATIONS: Mapping[tuple[int, int | None], int] = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def read(data: memoryview) -> Header:
    """Read the size of the primary item, and the sizes of everything that may be decoded for it.

    Raises:
        UnreadableImageError: The boxes contradict each other, there is no primary image, or it is a sequence.
        struct.error, IndexError: The data ends within a box.
    """
    boxes = dict(_boxes(data))
    if b"moov" in boxes:
        raise UnreadableImageError("AVIF: image sequences are not supported; send a still image")
    meta = dict(_boxes(boxes.get(b"meta", memoryview(b""))[_FULL_BOX_BYTES:]))
    if not meta.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise UnreadableImageError("AVIF: the file contains no image")
    properties, primary = _properties(meta[b"iprp"], _primary_item(meta[b"pitm"]))
    size = primary.get(b"ispe")
    if size is None:
        raise UnreadableImageError("AVIF: the primary image has no size")
    width, height = _declared_size(size)
    all_ispe = [payload for kind, payload in properties if kind == b"ispe"]
    sources = (data, meta.get(b"idat", memoryview(b"")))
    inner_sizes = (*(_declared_size(ispe) for ispe in all_ispe), *_content_sizes(meta, sources))
    return Header(
        format=ImageFormat.AVIF,
        width=width,
        height=height,
        inner_sizes=inner_sizes,
        sample_max=_sample_max(primary),
        orientation=_orientation(primary.get(b"irot"), primary.get(b"imir")),
        peak_bytes=_peak_bytes((width, height)) + len(data),
    )


def _peak_bytes(size: Size) -> int:
    """Return the peak of decoding colours and alpha of up to 12 bits."""
    width, height = size
    frame = (width + 2 * _BORDER) * (height + 2 * _BORDER)
    decoder_bytes = _FRAME_BYTES * frame + _PIXEL_BYTES * width * height
    return memory.as_samples(size, channels=4, sample_bytes=2, turned=True, decoder_bytes=decoder_bytes)


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and payload of each box in `data`."""
    position = 0
    for _ in range(MAX_BOXES):
        if position >= len(data):
            return
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
    raise UnreadableImageError(f"AVIF: more than {MAX_BOXES} boxes in one box")


class _Fields:
    """Reader of big-endian numbers in the payload of a box."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> int:
        """Return the next `size` bytes as a number; 0 for a size of 0."""
        self.position += size
        if self.position > len(self._data):
            raise UnreadableImageError("AVIF: a box ends early")
        return int.from_bytes(self._data[self.position - size : self.position], "big")


def _primary_item(pitm: memoryview) -> int:
    fields = _Fields(pitm)
    return fields.take(2 if _version(fields) == 0 else 4)


def _version(fields: _Fields) -> int:
    return fields.take(_FULL_BOX_BYTES) >> 24


def _properties(iprp: memoryview, item: int) -> tuple[list[tuple[bytes, memoryview]], dict[bytes, memoryview]]:
    """Return all properties in order, and the properties of `item` by type."""
    boxes = list(_boxes(iprp))
    properties = list(_boxes(dict(boxes).get(b"ipco", memoryview(b""))))
    indices = [index for kind, payload in boxes if kind == b"ipma" for index in _property_indices(payload, item)]
    item_properties = [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    return properties, dict(reversed(item_properties))  # the first of each type counts


def _property_indices(ipma: memoryview, item: int) -> list[int]:
    """Return the indices, from 1, of the properties of `item`."""
    fields = _Fields(ipma)
    version_and_flags = fields.take(_FULL_BOX_BYTES)
    item_bytes = 2 if version_and_flags >> 24 == 0 else 4
    index_bytes = 2 if version_and_flags & 1 else 1
    index_mask = (1 << 8 * index_bytes - 1) - 1  # the top bit marks essential properties
    item_indices = []
    for _ in range(_count(fields, 4)):
        number = fields.take(item_bytes)
        indices = [fields.take(index_bytes) & index_mask for _ in range(fields.take(1))]
        item_indices += indices if number == item else []
    return item_indices


def _count(fields: _Fields, size: int) -> int:
    count = fields.take(size)
    if count > MAX_ITEMS:
        raise UnreadableImageError(f"AVIF: more than {MAX_ITEMS} items")
    return count


def _declared_size(ispe: memoryview) -> Size:
    width, height = struct.unpack_from(">4xII", ispe)
    return width, height


def _sample_max(primary: Mapping[bytes, memoryview]) -> int:
    """Return the largest sample value, by AV1CodecConfigurationRecord or, for a grid without one, PixelInformation."""
    if b"av1C" in primary:
        high_bit_depth, twelve_bit = primary[b"av1C"][2] >> 6 & 1, primary[b"av1C"][2] >> 5 & 1
        depth = 8 + 2 * high_bit_depth + 2 * twelve_bit
    else:
        depth = primary[b"pixi"][_FULL_BOX_BYTES + 1] if b"pixi" in primary else 8
    return (1 << min(max(depth, 8), 16)) - 1


def _orientation(irot: memoryview | None, imir: memoryview | None) -> int:
    angle = irot[0] & 3 if irot else 0
    return _ORIENTATIONS[angle, imir[0] & 1 if imir else None]


def _content_sizes(meta: Mapping[bytes, memoryview], sources: tuple[memoryview, memoryview]) -> Iterator[Size]:
    """Yield the sizes that the data of the items declare, apart from their properties."""
    kinds = dict(_item_kinds(meta[b"iinf"]))
    contents = {
        (kinds[item], in_idat, extents)
        for item, in_idat, extents in _locations(meta[b"iloc"])
        if kinds.get(item) in {b"av01", b"grid"}
    }
    budget = len(sources[0])  # items may share data if they are equal; overlapping extents only cost time
    for kind, in_idat, extents in contents:
        source = sources[1] if in_idat else sources[0]
        budget -= sum(length for _, length in extents)
        if budget < 0:
            raise UnreadableImageError("AVIF: the items contain more bytes than the file")
        content = b"".join(source[start : start + length] for start, length in extents)
        if kind == b"grid":
            yield _grid_size(content)
        else:
            yield from av1.frame_sizes(content)


def _item_kinds(iinf: memoryview) -> Iterator[tuple[int, bytes]]:
    """Yield the number and type of each item."""
    fields = _Fields(iinf)
    fields.take(2 if _version(fields) == 0 else 4)  # number of boxes
    for kind, payload in _boxes(iinf[fields.position :]):
        if kind == b"infe":
            entry = _Fields(payload)
            item = entry.take(2 if _version(entry) < 3 else 4)  # noqa: PLR2004  # ItemInfoEntry, version 3
            entry.take(2)  # item_protection_index
            yield item, entry.take(4).to_bytes(4, "big")


def _locations(iloc: memoryview) -> Iterator[tuple[int, bool, tuple[tuple[int, int], ...]]]:
    """Yield for each item its number, whether its data is in ``idat``, and (start, length) of each extent."""
    fields = _Fields(iloc)
    version = _version(fields)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        nibble for byte in (fields.take(1), fields.take(1)) for nibble in (byte >> 4, byte & 15)
    )
    number_bytes = 4 if version == 2 else 2  # noqa: PLR2004  # ItemLocationBox, version 2
    for _ in range(_count(fields, number_bytes)):
        item = fields.take(number_bytes)
        in_idat = version > 0 and fields.take(2) & 15 == _IN_IDAT
        fields.take(2)  # data_reference_index
        base = fields.take(base_bytes)
        extents = []
        for _ in range(_count(fields, 2)):
            fields.take(index_bytes if version > 0 else 0)
            extents.append((base + fields.take(offset_bytes), fields.take(length_bytes)))
        yield item, in_idat, tuple(extents)


def _grid_size(grid: bytes) -> Size:
    """Read the canvas of an ImageGrid: version, flags, rows, columns, then the size."""
    layout = ">4xII" if grid[1] & _LARGE_GRID else ">4xHH"
    width, height = struct.unpack_from(layout, grid)
    return width, height
