"""Images in a ZIP archive (APPNOTE.TXT 6.3.10), read within limits that hold for any bytes.

The directory at the end of the archive is counted and measured before it is parsed. What an entry unpacks to is
bounded, and no entry is written anywhere by its name, which is only a label.
"""

import errno
import io
import mmap
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.errors import ArchiveError, BadRequestError, BodyTooLargeError, GatewayError, TooManyImagesError
from gateway.http.hints import quote
from gateway.sizes import exceeds, format_size

END = struct.Struct("<4s4H2LH")
END_SIGNATURE = b"PK\5\6"
END64_LOCATOR = struct.Struct("<4sLQL")
END64_LOCATOR_SIGNATURE = b"PK\6\7"
END64 = struct.Struct("<4sQ2H2L4Q")
END64_SIGNATURE = b"PK\6\6"
HEADER = struct.Struct("<4s6H3L5H2L")
HEADER_SIGNATURE = b"PK\1\2"
MAX_COMMENT = 65_535
MAX_FIELD_BYTES = 4096
"""Size of a name, an extra field or a comment. Systems accept paths of so many bytes."""
DIRECTORY_BYTES, DIRECTORY_BYTES_MORE = 256, 1024 * 1024
"""Size of a directory, for each entry that it may have and in addition: all of it is in memory once it is parsed."""
LOCAL_HEADER_BYTES = 30
"""What precedes the content of an entry at least (APPNOTE 4.3.7)."""
ENTRIES_FACTOR, ENTRIES_MORE = 2, 1000
"""Entries beside the images: macOS adds one for each, and folders are entries too."""
MAX_RATIO = 100
"""Photos hardly shrink at all. Drawings in an uncompressed format shrink 50 times."""
SMALL_BYTES = 16 * 1024 * 1024
"""What any archive may unpack to, whatever its ratio."""
METHODS = {zipfile.ZIP_STORED: "store", zipfile.ZIP_DEFLATED: "deflate"}
ENCRYPTED = 0x1
DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, EOFError),
    *(RuntimeError, ValueError, OverflowError, KeyError, OSError),
)
"""What `zipfile` raises for bytes that are wrong."""
DRIVE = re.compile(r"[A-Za-z]:")
IGNORED_FOLDERS = frozenset({"__MACOSX"})
IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits on an archive.

    Attributes:
        max_images: Number of images.
        max_image_bytes: Size of one image.
        max_bytes: Size of all images together.
    """

    max_images: int
    max_image_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the directory of an archive is, and how many entries it claims to have."""

    start: int
    size: int
    entries: int


class _Section(io.RawIOBase):
    """A part of a mapped file, as a file that `zipfile` reads."""

    def __init__(self, body: mmap.mmap | bytes, start: int, end: int) -> None:
        self._body, self._start, self._size, self._position = body, start, end - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        begin = self._start + self._position
        piece = self._body[begin : min(begin + len(buffer), self._start + self._size)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


def read_archive(
    body: mmap.mmap | bytes, start: int, end: int, limits: ArchiveLimits
) -> tuple[int, Iterator[tuple[str, bytes | GatewayError]]]:
    """Return the number of images in an archive, and the name of each with its bytes or what is wrong with it.

    Folders, hidden files and files that systems add are left out. Everything else counts as an image.

    Args:
        body: What contains the archive.
        start: Where it begins.
        end: Where it ends.
        limits: Limits on the archive.

    Raises:
        ArchiveError: It is not an archive, or damaged, encrypted or a bomb, or has names that lead out of it.
        TooManyImagesError: It has more images or entries than the limit.
        BodyTooLargeError: The images together have more bytes than the limit.
    """
    section = _Section(body, start, end)
    _check_directory(section, _find_directory(section), limits)
    try:
        archive = zipfile.ZipFile(io.BufferedReader(section))
        entries = [entry for entry in archive.infolist() if not _is_ignored(entry)]
        _check(entries, archive, end - start, limits)
    except DAMAGES as error:
        raise ArchiveError("The archive is damaged: its directory cannot be read. Pack it again.") from error
    return len(entries), ((entry.filename, _read(archive, entry, limits)) for entry in entries)


def _find_directory(section: _Section) -> _Directory:
    """Find the directory by the record at the end of the archive (APPNOTE 4.3.16), without parsing it."""
    size = section.seek(0, io.SEEK_END)
    tail_start = max(0, size - END.size - MAX_COMMENT)
    tail = _read_at(section, tail_start, size - tail_start)
    position = tail.rfind(END_SIGNATURE)
    if position < 0 or len(tail) - position < END.size:
        raise ArchiveError(
            f"The archive has no end: {format_size(size)} arrived. It is not a ZIP archive, or was cut off. Send all "
            "of it."
        )
    *_, entries, directory_size, _, _ = END.unpack_from(tail, position)
    directory_end = tail_start + position
    locator = _read_at(section, directory_end - END64_LOCATOR.size, END64_LOCATOR.size)
    if locator.startswith(END64_LOCATOR_SIGNATURE):
        directory_end -= END64_LOCATOR.size + END64.size
        record = _read_at(section, directory_end, END64.size)
        if not record.startswith(END64_SIGNATURE):
            raise ArchiveError("The archive is damaged: its ZIP64 record is missing. Pack it again.")
        *_, entries, directory_size, _ = END64.unpack(record)
    if directory_size > directory_end:
        raise ArchiveError("The archive is damaged: its directory is larger than the archive. Pack it again.")
    return _Directory(directory_end - directory_size, directory_size, entries)


def _check_directory(section: _Section, directory: _Directory, limits: ArchiveLimits) -> None:
    """Check how many entries there are, and what they take: all of it is in memory once it is parsed."""
    limit = _count_entries(section, directory, limits)
    max_bytes = DIRECTORY_BYTES * limit + DIRECTORY_BYTES_MORE
    if directory.size > max_bytes:
        sentence = exceeds("The directory of the archive", directory.size, max_bytes)
        raise ArchiveError(f"{sentence} Use shorter names, and pack the archive without comments.")


def _count_entries(section: _Section, directory: _Directory, limits: ArchiveLimits) -> int:
    """Count the entries up to the limit, since the claim may be a lie, and return the limit."""
    limit = ENTRIES_FACTOR * limits.max_images + ENTRIES_MORE
    count = directory.entries
    position, end = directory.start, directory.start + directory.size
    counted = 0
    while count <= limit and counted <= limit and position < end:
        header = _read_at(section, position, HEADER.size)
        if len(header) < HEADER.size or not header.startswith(HEADER_SIGNATURE):
            raise ArchiveError("The archive is damaged: its directory cannot be read. Pack it again.")
        fields = HEADER.unpack(header)[10:13]
        if max(fields) > MAX_FIELD_BYTES:
            raise ArchiveError(
                f"An entry of the archive has a name, comment or extra field of {max(fields):,} bytes; at most "
                f"{MAX_FIELD_BYTES:,} are accepted. Use shorter names, and pack the archive without comments."
            )
        position += HEADER.size + sum(fields)
        counted += 1
    if max(count, counted) > limit:
        claim = f"{max(count, counted):,}" if count > limit else f"more than {limit:,}"
        raise TooManyImagesError(
            f"The archive has {claim} entries; at most {limits.max_images:,} images are accepted in one job.",
            max_images=limits.max_images,
        )
    return limit


def _check(entries: list[zipfile.ZipInfo], archive: zipfile.ZipFile, size: int, limits: ArchiveLimits) -> None:
    """Check what the directory says, before anything is unpacked."""
    if len(entries) > limits.max_images:
        raise TooManyImagesError(
            f"The archive has {len(entries):,} images; at most {limits.max_images:,} are accepted in one job.",
            max_images=limits.max_images,
        )
    for entry in entries:
        _check_entry(entry)
    if _overlap(archive):
        raise ArchiveError("The archive is damaged: its entries overlap. Pack it again.")
    unpacked = sum(entry.file_size for entry in entries if entry.file_size <= limits.max_image_bytes)
    if unpacked > max(MAX_RATIO * size, SMALL_BYTES):
        raise ArchiveError(
            f"The archive of {format_size(size)} unpacks to {format_size(unpacked)}, more than {MAX_RATIO} times as "
            "much. Images do not shrink so far: send them as JPEG or PNG."
        )
    if unpacked > limits.max_bytes:
        sentence = exceeds("What the archive unpacks to", unpacked, limits.max_bytes)
        raise BodyTooLargeError(f"{sentence} Send several jobs.", max_bytes=limits.max_bytes)


def _overlap(archive: zipfile.ZipFile) -> bool:
    """Return whether an entry reaches into the next one, or the last one into the directory."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    starts = [*(entry.header_offset for entry in entries[1:]), archive.start_dir]
    return any(
        entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size > start
        for entry, start in zip(entries, starts, strict=False)
    )


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename.replace("\\", "/")
    quoted = quote(entry.filename)
    if name.startswith("/") or DRIVE.match(name) or ".." in name.split("/"):
        raise ArchiveError(f"The archive has the entry {quoted}, whose name leads out of it. Use relative names only.")
    if entry.flag_bits & ENCRYPTED:
        raise ArchiveError(f"The entry {quoted} is encrypted. Send an archive without a password.")
    if entry.compress_type not in METHODS:
        raise ArchiveError(
            f"The entry {quoted} is packed with method {entry.compress_type}. Accepted: {', '.join(METHODS.values())}."
        )


def _is_ignored(entry: zipfile.ZipInfo) -> bool:
    *folders, name = entry.filename.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in {".", ".."} for part in (*folders, name))
    is_folder = not name  # its name ends with a slash
    return is_folder or hidden or name.lower() in IGNORED_FILES or not IGNORED_FOLDERS.isdisjoint(folders)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: ArchiveLimits) -> bytes | GatewayError:
    """Unpack one entry; nothing beyond its declared size, which was checked, is unpacked."""
    quoted = quote(entry.filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        return BadRequestError(f"The entry {quoted} is a link. Pack the file that it leads to.")
    if entry.file_size > limits.max_image_bytes:
        sentence = exceeds(f"The entry {quoted}", entry.file_size, limits.max_image_bytes)
        return BodyTooLargeError(f"{sentence} Send a smaller image.", max_bytes=limits.max_image_bytes)
    if entry.file_size == 0:
        return BadRequestError(f"The entry {quoted} is empty.")
    try:
        with archive.open(entry) as file:
            content = file.read(entry.file_size)
            has_more = len(content) == entry.file_size and file.read(1) != b""
    except DAMAGES as error:
        raise ArchiveError(f"The entry {quoted} is damaged: it cannot be unpacked. Pack the archive again.") from error
    if len(content) != entry.file_size or has_more:
        raise ArchiveError(f"The entry {quoted} does not have the size that the archive declares. Pack it again.")
    return content


def _read_at(section: _Section, position: int, size: int) -> bytes:
    if position < 0:
        return b""
    section.seek(position)
    return section.read(size) or b""
