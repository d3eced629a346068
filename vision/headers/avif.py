"""AVIF: the items of a still picture (ISO/IEC 14496-12 boxes, ISO/IEC 23008-12 items, AOM AVIF 1.1.0).

Sizes stand in three places, and a decoder believes each in its turn: the property ``ispe`` of an item, the
canvas of a grid item, and the AV1 bitstream itself. All are collected.
"""

import struct
from collections.abc import Iterator, Mapping

from vision.errors import UnreadableImageError
from vision.headers import av1
from vision.headers.header import Header, ImageFormat, Size

MAX_BOXES = 4_096  # within one box
MAX_ITEMS = 4_096

_FULL_BOX_BYTES = 4  # version and flags
_TO_THE_END, _LARGE_SIZE = 0, 1
_IN_IDAT = 1
_LARGE_GRID = 1
# (irot in quarter turns anticlockwise, imir axis or None) -> EXIF orientation, as libavif maps them.
_ORIENTATIONS: Mapping[tuple[int, int | None], int] = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def read(data: memoryview) -> Header:
    """Read the size of the primary item, and the sizes of all that may be decoded for it.

    Raises:
        UnreadableImageError: Boxes that contradict each other, no primary picture, or an image sequence.
        struct.error, IndexError: The data ends within a box.
    """
    boxes = dict(_boxes(data))
    if b"moov" in boxes:
        raise UnreadableImageError("AVIF: image sequences are not decoded; send a still picture")
    meta = dict(_boxes(boxes.get(b"meta", memoryview(b""))[_FULL_BOX_BYTES:]))
    if not meta.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise UnreadableImageError("AVIF: there is no picture in it")
    properties, primary = _properties(meta[b"iprp"], _primary_item(meta[b"pitm"]))
    size = primary.get(b"ispe")
    if size is None:
        raise UnreadableImageError("AVIF: the primary picture has no size")
    width, height = _declared_size(size)
    all_ispe = [payload for kind, payload in properties if kind == b"ispe"]
    sources = (data, meta.get(b"idat", memoryview(b"")))
    return Header(
        format=ImageFormat.AVIF,
        width=width,
        height=height,
        parts=(*(_declared_size(ispe) for ispe in all_ispe), *_content_sizes(meta, sources)),
        sample_max=_sample_max(primary),
        orientation=_orientation(primary.get(b"irot"), primary.get(b"imir")),
    )


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
            raise UnreadableImageError("AVIF: a box reaches beyond the end")
        yield kind, data[start:end]
        position = end
    raise UnreadableImageError(f"AVIF: more than {MAX_BOXES} boxes in one")


class _Fields:
    """Takes numbers off the payload of a box."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> int:
        """Return the next `size` bytes as a number; none at all are 0."""
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
    """Return all properties, and those of `item` by type."""
    boxes = list(_boxes(iprp))
    properties = list(_boxes(dict(boxes).get(b"ipco", memoryview(b""))))
    indices = [index for kind, payload in boxes if kind == b"ipma" for index in _associated(payload, item)]
    chosen = [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    return properties, dict(reversed(chosen))  # of several of one type the first counts


def _associated(ipma: memoryview, wanted: int) -> list[int]:
    """Return the indices, from 1 on, of the properties of the item `wanted`."""
    fields = _Fields(ipma)
    version_and_flags = fields.take(_FULL_BOX_BYTES)
    item_bytes = 2 if version_and_flags >> 24 == 0 else 4
    index_bytes = 2 if version_and_flags & 1 else 1
    index_mask = (1 << 8 * index_bytes - 1) - 1  # the top bit says whether the property is essential
    found = []
    for _ in range(_count(fields, 4)):
        item = fields.take(item_bytes)
        indices = [fields.take(index_bytes) & index_mask for _ in range(fields.take(1))]
        found += indices if item == wanted else []
    return found


def _count(fields: _Fields, size: int) -> int:
    count = fields.take(size)
    if count > MAX_ITEMS:
        raise UnreadableImageError(f"AVIF: more than {MAX_ITEMS} items")
    return count


def _declared_size(ispe: memoryview) -> Size:
    width, height = struct.unpack_from(">4xII", ispe)
    return width, height


def _sample_max(primary: Mapping[bytes, memoryview]) -> int:
    """Read the bit depth from AV1CodecConfigurationRecord, or of a grid, which has none, from PixelInformation."""
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
    """Yield the sizes that stand in the data of the items, rather than in their properties."""
    kinds = dict(_item_kinds(meta[b"iinf"]))
    wanted = {
        (kinds[item], in_idat, extents)
        for item, in_idat, extents in _locations(meta[b"iloc"])
        if kinds.get(item) in {b"av01", b"grid"}
    }
    budget = len(sources[0])  # equal items may share their data, but extents that overlap only cost time
    for kind, in_idat, extents in wanted:
        source = sources[1] if in_idat else sources[0]
        budget -= sum(length for _, length in extents)
        if budget < 0:
            raise UnreadableImageError("AVIF: the items hold more than the file")
        content = b"".join(source[start : start + length] for start, length in extents)
        if kind == b"grid":
            yield _grid_size(content)
        else:
            yield from av1.frame_sizes(content)


def _item_kinds(iinf: memoryview) -> Iterator[tuple[int, bytes]]:
    """Yield the number and type of each item."""
    fields = _Fields(iinf)
    fields.take(2 if _version(fields) == 0 else 4)  # how many boxes follow
    for kind, payload in _boxes(iinf[fields.position :]):
        if kind == b"infe":
            entry = _Fields(payload)
            item = entry.take(2 if _version(entry) < 3 else 4)  # noqa: PLR2004  # ItemInfoEntry, version 3
            entry.take(2)  # item_protection_index
            yield item, entry.take(4).to_bytes(4, "big")


def _locations(iloc: memoryview) -> Iterator[tuple[int, bool, tuple[tuple[int, int], ...]]]:
    """Yield number, whether the data is in idat, and (start, length) of each extent, of each item."""
    fields = _Fields(iloc)
    version = _version(fields)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        nibble for byte in (fields.take(1), fields.take(1)) for nibble in (byte >> 4, byte & 15)
    )
    wide = 4 if version == 2 else 2  # noqa: PLR2004  # ItemLocationBox, version 2
    for _ in range(_count(fields, wide)):
        item = fields.take(wide)
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
