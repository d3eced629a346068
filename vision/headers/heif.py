"""AVIF and HEIC: the primary image's properties (ISO/IEC 14496-12 boxes, ISO/IEC 23008-12 items).

What else the file holds, such as further frames, layers and tiles, is left to the decoder and to the limits of its
process.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from vision.errors import UnreadableImageError
from vision.headers import memory
from vision.headers.header import Crop, Header, ImageFormat, Size
from vision.headers.tiff import UPRIGHT

FILE_BOXES = frozenset({b"ftyp", b"meta", b"moov", b"mdat", b"free", b"skip", b"uuid"})
"""Boxes of a file. If another one extends beyond the end of the file, it is no box, but data behind the image."""
MAX_BOXES = 4_096  # and associations of the primary image, which are read; a photo has dozens
DEEP_BITS = 8

_BOX_HEADER_BYTES = 8  # size and type
_FULL_BOX_BYTES = 4  # version and flags
_TO_THE_END, _LARGE_SIZE = 0, 1
_TABLE_BYTES = 8  # version, flags and number of entries
_VISUAL_ENTRY_BYTES = 78  # before the boxes within a description of samples (14496-12, 12.1.3)
_TRACK_SIZE_BYTES = 8  # at the end of a track's header: width and height, in 65,536ths of a pixel
_HIGH_BIT_DEPTH = 0x40  # in the third byte of av1C
_CHROMA_FORMAT, _CHROMA_BITS, _HALVED = 16, 0x03, 1  # of hvcC: 4:2:0
_LUMA_DEPTH, _DEPTH_BITS = 17, 0x07  # of hvcC: bits beyond 8
_ALPHA_TYPES = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")  # of auxC
# (irot in quarter turns anticlockwise, imir axis or None) -> EXIF orientation, as libavif maps them.
_ORIENTATIONS: Mapping[tuple[int, int | None], int] = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip

_Boxes: TypeAlias = dict[bytes, memoryview]


def read_avif(data: memoryview) -> Header:
    """Read the size of the primary image or of the first frame, and what Pillow does not apply: crop and orientation.

    Raises:
        UnreadableImageError: There is no image, a box extends beyond the file, or there are too many of them.
        struct.error, IndexError: The data ends within a box.
    """
    contents = _read(data, ImageFormat.AVIF)
    width, height = contents.size
    crop = _crop(contents.properties[b"clap"], contents.size) if b"clap" in contents.properties else None
    orientation = _orientation(contents.properties.get(b"irot"), contents.properties.get(b"imir"))
    peak_bytes = memory.by_libavif(contents.size, file_bytes=len(data), is_deep=contents.is_deep)
    return Header(
        format=ImageFormat.AVIF,
        width=width,
        height=height,
        inner_sizes=contents.other_sizes,
        crop=crop,
        orientation=orientation,
        peak_bytes=peak_bytes,
    )


def read_heic(data: memoryview) -> Header:
    """Read the size as `read_avif` does; libheif applies crop and orientation itself.

    Our build of libheif decodes no sequences, so that the first picture of one is made a file of its own.
    """
    contents = _read(data, ImageFormat.HEIC)
    width, height = contents.size
    still = None if contents.properties else _first_picture(data, _Walk(ImageFormat.HEIC))
    peak_bytes = memory.by_libheif(
        contents.size,
        file_bytes=len(data),
        is_deep=contents.is_deep,
        is_subsampled=contents.is_subsampled,
        has_alpha=contents.has_alpha,
    )
    return Header(
        format=ImageFormat.HEIC,
        width=width,
        height=height,
        inner_sizes=contents.other_sizes,
        still=still,
        peak_bytes=peak_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Contents:
    """The primary image, or the first track of a file that only has frames.

    Attributes:
        size: Width and height before any transformation.
        other_sizes: Sizes of tracks beside the primary image.
        properties: Payloads of the primary image's properties, by type.
        is_deep: Whether samples may have more than 8 bits.
        is_subsampled: Whether colours have a quarter of the samples, as in photos.
        has_alpha: Whether an image in the file is transparency.
    """

    size: Size
    other_sizes: tuple[Size, ...]
    properties: _Boxes
    is_deep: bool
    is_subsampled: bool
    has_alpha: bool


def _read(data: memoryview, image_format: ImageFormat) -> _Contents:
    walk = _Walk(image_format)
    boxes = walk.boxes(data, is_file=True)
    properties: _Boxes = {}
    all_properties: list[tuple[bytes, memoryview]] = []
    if b"meta" in boxes:
        properties, all_properties = _primary_properties(boxes[b"meta"][_FULL_BOX_BYTES:], walk)
    tracks = tuple(_track_sizes(boxes[b"moov"], walk)) if b"moov" in boxes else ()
    sizes = (*([_declared_size(properties[b"ispe"])] if b"ispe" in properties else ()), *tracks)
    if not sizes:
        raise walk.error("the file contains no image with a size")
    # The tiles of a grid tell more than the grid itself.
    return _Contents(
        sizes[0],
        sizes[1:],
        properties,
        is_deep=bool(tracks) or any(_is_deep(kind, payload) for kind, payload in all_properties),
        is_subsampled=all(_is_subsampled(payload) for kind, payload in all_properties if kind == b"hvcC"),
        has_alpha=any(kind == b"auxC" and _is_alpha(payload) for kind, payload in all_properties),
    )


def _is_deep(kind: bytes, payload: memoryview) -> bool:
    """Return whether a property declares more than 8 bits: PixelInformation, or the record of a codec."""
    if kind == b"pixi":
        return max(payload[_FULL_BOX_BYTES + 1 :], default=0) > DEEP_BITS
    if kind == b"av1C":
        return bool(payload[2] & _HIGH_BIT_DEPTH)
    return kind == b"hvcC" and bool(payload[_LUMA_DEPTH] & _DEPTH_BITS)


def _is_subsampled(hvcc: memoryview) -> bool:
    return hvcc[_CHROMA_FORMAT] & _CHROMA_BITS <= _HALVED


def _is_alpha(auxc: memoryview) -> bool:
    return bytes(auxc[_FULL_BOX_BYTES:]).startswith(_ALPHA_TYPES)


class _Walk:
    """Reads boxes, up to `MAX_BOXES` of a file of a format."""

    def __init__(self, image_format: ImageFormat) -> None:
        self._format = image_format
        self._remaining = MAX_BOXES

    def error(self, reason: str) -> UnreadableImageError:
        return UnreadableImageError(f"{self._format.upper()}: {reason}")

    def boxes(self, data: memoryview, *, is_file: bool = False) -> _Boxes:
        """Return the payload of the first box of each type."""
        first: _Boxes = {}
        for kind, payload in self.each_box(data, is_file=is_file):
            first.setdefault(kind, payload)
        return first

    def descend(self, data: memoryview, *path: bytes) -> _Boxes:
        """Return the boxes within the first boxes of some types, one within the other; none if one is missing."""
        boxes = self.boxes(data)
        for kind in path:
            boxes = self.boxes(boxes.get(kind, memoryview(b"")))
        return boxes

    def each_box(self, data: memoryview, *, is_file: bool = False) -> Iterator[tuple[bytes, memoryview]]:
        """Yield type and payload of each box in `data`; in a whole file, other data may follow the boxes."""
        position = 0
        while position < len(data):
            if is_file and len(data) - position < _BOX_HEADER_BYTES:
                return
            self.count()
            size, kind = struct.unpack_from(">I4s", data, position)
            start = position + 8
            if size == _LARGE_SIZE:
                (size,) = struct.unpack_from(">Q", data, start)
                start += 8
            end = len(data) if size == _TO_THE_END else position + size
            if not start <= end <= len(data):
                if is_file and kind not in FILE_BOXES:
                    return
                raise self.error("a box extends beyond the end of the file")
            yield kind, data[start:end]
            position = end

    def count(self) -> None:
        """Count one part of the file."""
        self._remaining -= 1
        if self._remaining < 0:
            raise self.error(f"the file has more than {MAX_BOXES} boxes and properties")


def _primary_properties(meta: memoryview, walk: _Walk) -> tuple[_Boxes, list[tuple[bytes, memoryview]]]:
    """Return the properties of the primary item, by type, and those of all items."""
    boxes = walk.boxes(meta)
    if not boxes.keys() >= {b"pitm", b"iprp"}:
        return {}, []
    pitm = boxes[b"pitm"]
    (primary,) = struct.unpack_from(">4xH" if pitm[0] == 0 else ">4xI", pitm)
    groups = list(walk.each_box(boxes[b"iprp"]))
    all_properties = [box for kind, ipco in groups if kind == b"ipco" for box in walk.each_box(ipco)]
    properties: _Boxes = {}
    for kind, ipma in groups:
        if kind == b"ipma":
            for index in _associated(ipma, primary, walk):
                if 0 < index <= len(all_properties):
                    properties.setdefault(*all_properties[index - 1])
    return properties, all_properties


def _associated(ipma: memoryview, primary: int, walk: _Walk) -> list[int]:
    """Return the indices, from 1, of an item's properties."""
    version, flags, entries = ipma[0], ipma[3], struct.unpack_from(">I", ipma, _FULL_BOX_BYTES)[0]
    item_layout = ">HB" if version == 0 else ">IB"
    code, index_mask = ("H", 0x7FFF) if flags & 1 else ("B", 0x7F)  # the top bit marks essential properties
    position = _FULL_BOX_BYTES + 4
    for _ in range(entries):
        walk.count()
        item, count = struct.unpack_from(item_layout, ipma, position)
        position += struct.calcsize(item_layout)
        layout = f">{count}{code}"
        if item == primary:
            return [index & index_mask for index in struct.unpack_from(layout, ipma, position)]
        position += struct.calcsize(layout)
    return []


def _track_sizes(moov: memoryview, walk: _Walk) -> Iterator[Size]:
    """Yield the size of each track that has one."""
    for kind, trak in walk.each_box(moov):
        header = walk.boxes(trak).get(b"tkhd", memoryview(b"")) if kind == b"trak" else memoryview(b"")
        if len(header) >= _TRACK_SIZE_BYTES:
            width, height = struct.unpack(">II", header[-_TRACK_SIZE_BYTES:])
            if width and height:
                yield width >> 16, height >> 16


def _first_picture(data: memoryview, walk: _Walk) -> bytes:
    """Return the first sample of the first track of pictures as a file of one image."""
    for kind, trak in walk.each_box(walk.boxes(data, is_file=True)[b"moov"]):
        table = walk.descend(trak, b"mdia", b"minf", b"stbl") if kind == b"trak" else {}
        offsets, layout = (table.get(b"stco"), ">8xI") if b"stco" in table else (table.get(b"co64"), ">8xQ")
        if offsets is None or not table.keys() >= {b"stsd", b"stsz"}:
            continue
        entries = walk.boxes(table[b"stsd"][_TABLE_BYTES:])
        entry = entries.get(b"hvc1") or entries.get(b"hev1")
        if entry is None:
            continue
        width, height = struct.unpack_from(">24xHH", entry)
        record = walk.boxes(entry[_VISUAL_ENTRY_BYTES:])[b"hvcC"]
        (start,) = struct.unpack_from(layout, offsets)
        same_size, first_size = struct.unpack_from(">4xI4xI", bytes(table[b"stsz"]) + bytes(4))
        sample = data[start : start + (same_size or first_size)]
        return _still((width, height), bytes(record), bytes(sample))
    raise walk.error("the file contains no picture")


def _still(size: Size, record: bytes, sample: bytes) -> bytes:
    """Build a file of one image from the configuration of its codec and its data."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        payload = b"".join(parts)
        return struct.pack(">I", len(payload) + 8) + kind + payload

    ftyp = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    properties = box(b"ipco", box(b"hvcC", record), box(b"ispe", struct.pack(">4xII", *size)))
    associations = box(b"ipma", struct.pack(">4xIHBBB", 1, 1, 2, 0x81, 2))
    item = box(b"infe", struct.pack(">B3xHH4sx", 2, 1, 0, b"hvc1"))
    meta = b""
    for _ in range(2):  # the offset of the data depends on the length of what is before it
        place = struct.pack(">4xHHHHHII", 0x4400, 1, 1, 0, 1, len(ftyp) + len(meta) + 8, len(sample))
        meta = box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">4xH", 1)),
            box(b"iloc", place),
            box(b"iinf", struct.pack(">4xH", 1), item),
            box(b"iprp", properties, associations),
        )
    return ftyp + meta + box(b"mdat", sample)


def _declared_size(ispe: memoryview) -> Size:
    width, height = struct.unpack_from(">4xII", ispe)
    return width, height


def _crop(clap: memoryview, size: Size) -> Crop | None:
    """Return the part that a clean aperture shows (14496-12, 12.1.4); None if it is not whole and within the image."""
    try:
        width, height, right, down = (
            Fraction(numerator, denominator) for numerator, denominator in struct.iter_unpack(">iI", clap[:32])
        )
    except ZeroDivisionError:
        return None
    left, top = (size[0] - width) / 2 + right, (size[1] - height) / 2 + down
    edges = (left, top, left + width, top + height)
    if any(edge.denominator != 1 for edge in edges):
        return None
    crop = Crop(*(int(edge) for edge in edges))
    is_within = 0 <= crop.left < crop.right <= size[0] and 0 <= crop.top < crop.bottom <= size[1]
    return crop if is_within else None


def _orientation(irot: memoryview | None, imir: memoryview | None) -> int:
    if irot is None and imir is None:
        return UPRIGHT
    angle = irot[0] & 3 if irot else 0
    return _ORIENTATIONS[angle, imir[0] & 1 if imir else None]
