"""ZIP archives of jobs: what is an image, and what is refused, whatever the bytes say."""

import contextlib
import io
import mmap
import struct
import tempfile
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ArchiveError, BadRequestError, BodyTooLargeError, GatewayError, TooManyImagesError
from gateway.jobs.archives import ArchiveLimits, read_archive
from tests.support.traced_memory import peak_bytes

LIMITS = ArchiveLimits(max_images=100, max_image_bytes=10_000, max_bytes=100_000)
GENEROUS = ArchiveLimits(max_images=10_000, max_image_bytes=10**7, max_bytes=10**9)


def pack(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def read(archive: bytes, limits: ArchiveLimits = LIMITS) -> list[tuple[str, bytes | GatewayError]]:
    total, images = read_archive(archive, 0, len(archive), limits)
    files = list(images)
    assert len(files) == total
    return files


def noise(size: int) -> bytes:
    return bytes(index * 7919 % 251 for index in range(size))


def refused(archive: bytes, match: str, error: type[GatewayError] = ArchiveError, limits: ArchiveLimits = LIMITS):
    with pytest.raises(error, match=match):
        read(archive, limits)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_in_the_order_of_the_directory(method: int):
    archive = pack(("b/2.png", b"two"), ("a/1.png", b"one"), method=method)

    assert read(archive) == [("b/2.png", b"two"), ("a/1.png", b"one")]


def test_an_archive_within_a_larger_body_is_read(tmp_path):
    archive = pack(("a.png", b"one"))
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(b"before" + archive + b"behind")
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            assert list(read_archive(body, 6, 6 + len(archive), LIMITS)[1]) == [("a.png", b"one")]


def test_folders_and_files_that_systems_add_are_left_out():
    archive = pack(
        ("a/", b""),
        ("__MACOSX/a/._1.png", b"x"),
        ("a/.DS_Store", b"x"),
        (".git/config", b"x"),
        ("a/Thumbs.db", b"x"),
        ("a/1.png", b"one"),
    )

    assert read(archive) == [("a/1.png", b"one")]


def test_names_may_repeat():
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = pack(("a.png", b"one"), ("a.png", b"two"))

    assert read(archive) == [("a.png", b"one"), ("a.png", b"two")]


def test_zip64_is_read():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a.png", "w", force_zip64=True) as entry:
        entry.write(b"one")

    assert read(file.getvalue()) == [("a.png", b"one")]


def test_a_comment_and_bytes_in_front_are_accepted():
    file = io.BytesIO(b"#!/bin/sh\n")
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a.png", b"one")
        archive.comment = b"PK\1\2 not a header"

    assert read(file.getvalue()) == [("a.png", b"one")]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.png", "a/../../up.png", "C:/x.png", "C:\\x.png", "..\\up.png"])
def test_names_that_lead_out_of_the_archive_are_refused(name: str):
    refused(pack((name, b"x")), "leads out of it")


def test_links_are_refused_alone():
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    archive = pack((link, b"/etc/passwd"), ("a.png", b"one"))

    (_, error), other = read(archive)

    assert isinstance(error, BadRequestError)
    assert other == ("a.png", b"one")


def test_an_empty_entry_is_refused_alone():
    (_, error) = read(pack(("a.png", b"")))[0]

    assert isinstance(error, BadRequestError)
    assert "is empty" in error.detail


def test_an_entry_that_is_too_large_is_refused_alone_and_not_unpacked():
    archive = pack(("large.png", noise(10_001)), ("a.png", b"one"))

    (_, error), other = read(archive)

    assert isinstance(error, BodyTooLargeError)
    assert other == ("a.png", b"one")


def test_encrypted_entries_are_refused():
    archive = bytearray(pack(("a.png", b"one"), method=zipfile.ZIP_STORED))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.find(signature) + offset] |= 1

    refused(bytes(archive), "password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_is_not_bounded_are_refused(method: int):
    refused(pack(("a.png", b"one"), method=method), "packed with method")


def test_an_archive_in_an_archive_is_an_image_that_is_none():
    inner = pack(("a.png", b"one"))

    assert read(pack(("inner.zip", inner))) == [("inner.zip", inner)]


def test_a_bomb_is_refused_before_it_is_unpacked():
    archive = pack(*((f"{index}.bmp", bytes(9_000_000)) for index in range(10)))

    refused(archive, "more than 100 times", limits=GENEROUS)
    peak, _ = peak_bytes(lambda: refused(archive, "100 times", limits=GENEROUS))
    assert peak < 1_000_000


def test_drawings_that_shrink_far_are_accepted_if_they_are_small():
    assert len(read(pack(("white.bmp", bytes(1_000_000))), GENEROUS)) == 1


def test_what_all_entries_unpack_to_is_limited():
    refused(pack(*((f"{index}.png", noise(9_000)) for index in range(12))), "at most", BodyTooLargeError)


def test_more_images_than_the_limit_are_refused():
    refused(pack(*((f"{index}.png", b"x") for index in range(101))), "101 images", TooManyImagesError)


def test_a_hundred_thousand_entries_are_refused_without_parsing_them():
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 6, 0, 0, 0, 1, *[0] * 4, 0, 0) + b"a"
    directory = entry * 100_000
    honest = directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), 0, 0)
    lying = directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)

    for archive in (honest, lying):
        refused(archive, "entries", TooManyImagesError, GENEROUS)
        peak, _ = peak_bytes(lambda archive=archive: refused(archive, "entries", TooManyImagesError))
        assert peak < 500_000


def test_entries_that_overlap_are_refused():
    content = zlib.compress(noise(5_000))
    archive = bytearray(pack(*((f"{index}.png", noise(5_000)) for index in range(20))))
    position = archive.find(b"PK\1\2")
    while position >= 0:  # every entry claims most of the archive
        struct.pack_into("<L", archive, position + 20, len(content) * 4)
        position = archive.find(b"PK\1\2", position + 4)

    refused(bytes(archive), "overlap")


def test_entries_that_share_bytes_are_refused_however_large_the_archive_is():
    archive = bytearray(pack(*((f"{index}.png", noise(500)) for index in range(9)), ("padding.png", noise(9_000))))
    first = archive.find(b"PK\1\2")
    second = archive.find(b"PK\1\2", first + 4)
    archive[second + 42 : second + 46] = archive[first + 42 : first + 46]  # the offset of the first entry

    refused(bytes(archive), "overlap")


@pytest.mark.parametrize("field", ["name", "extra", "comment"])
def test_a_directory_takes_little_memory_whatever_its_fields_are(field: str):
    sizes = [60_000 if name == field else 1 for name in ("name", "extra", "comment")]
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 6, 0, 0, 0, *sizes, 0, 0, 0, 0) + b"a" * sum(sizes)
    archive = entry * 300 + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 300, 300, len(entry) * 300, 0, 0)

    peak, _ = peak_bytes(lambda: refused(archive, "60,000 bytes; at most 4,096", limits=GENEROUS))

    assert peak < 500_000


def test_a_directory_with_many_long_names_is_refused_before_it_is_parsed():
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 6, 0, 0, 0, 4000, *[0] * 4, 0, 0) + b"a" * 4000
    archive = entry * 2000 + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2000, 2000, len(entry) * 2000, 0, 0)

    peak, _ = peak_bytes(lambda: refused(archive, "directory of the archive is 8 MB", limits=GENEROUS))

    assert peak < 500_000


def test_ten_thousand_long_names_are_read():
    names = [f"{'folder/' * 20}{index}.png" for index in range(10_000)]

    assert len(read(pack(*((name, b"x") for name in names)), GENEROUS)) == 10_000


@pytest.mark.parametrize("difference", [-1, 1])
def test_sizes_that_lie_are_refused(difference: int):
    archive = bytearray(pack(("a.png", noise(1000))))
    size_at = archive.find(b"PK\1\2") + 24
    struct.pack_into("<L", archive, size_at, 1000 + difference)

    refused(bytes(archive), "a.png")


def test_damaged_content_is_refused():
    archive = bytearray(pack(("a.png", noise(1000))))
    archive[60] ^= 0xFF

    refused(bytes(archive), "damaged")


def test_an_archive_that_was_cut_off_is_refused():
    archive = pack(("a.png", noise(1000)))

    for size in (0, 10, len(archive) // 2, len(archive) - 1):
        refused(archive[:size], "no end|damaged")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\5\6" + bytes(18)])
def test_what_is_not_an_archive_has_no_images(content: bytes):
    with contextlib.suppress(ArchiveError):
        assert read(content) == []


@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_one_changed_byte_raises_no_other_error(position: int, value: int):
    archive = bytearray(pack(("a.png", b"one" * 20), ("b.png", b"two" * 20)))
    archive[position % len(archive)] = value

    _read_or_refuse(bytes(archive))


@given(st.binary(max_size=300).map(lambda content: content + pack(("a.png", b"x"))[-50:]))
def test_any_bytes_raise_no_other_error(content: bytes):
    _read_or_refuse(content)


def _read_or_refuse(archive: bytes) -> None:
    with contextlib.suppress(ArchiveError, TooManyImagesError, BodyTooLargeError):
        read(archive)
