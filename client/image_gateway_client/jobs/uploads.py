"""Prepare the images of a job for sending: a list of URLs, or a ZIP file that never is in memory as a whole."""

import itertools
import os
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from image_gateway_client.files import find_images
from image_gateway_client.images import URL, Image, ImageUrl, check_several, load
from image_gateway_client.options import to_texts
from image_gateway_client.predictions import json_body, multipart_body
from image_gateway_client.steps import Body, FileContent

MIXED = "a job has either URLs or files; submit two jobs"
ARCHIVE_START = b"PK\x03\x04"
NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\\:]")


@dataclass(frozen=True, slots=True)
class Upload:
    """The images of a job.

    Attributes:
        urls: Their URLs, if the gateway fetches them.
        archive: Otherwise, an open ZIP file.
    """

    urls: Sequence[str] = field(default=())
    archive: BinaryIO | None = None

    def make_body(self, options: Mapping[str, object]) -> Body:
        """Return the body of the request, with the options beside the images, where no log shows a secret."""
        if self.archive is None:
            return json_body({"urls": list(self.urls), **{k: v for k, v in options.items() if v is not None}})
        size = self.archive.seek(0, os.SEEK_END)
        return multipart_body([("archive", FileContent(self.archive, size))], to_texts(options), "application/zip")

    def close(self) -> None:
        """Close the file; a temporary one is deleted."""
        if self.archive is not None:
            self.archive.close()


class UploadPlace:
    """Holds the upload that a thread prepares, so that it is closed even if nobody waits for the thread any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._upload: Upload | None = None
        self._is_closed = False

    def fill(self, images: str | os.PathLike[str] | Iterable[Image], *, max_bytes: int) -> Upload:
        """Prepare images; see `prepare`."""
        upload = prepare(images, max_bytes=max_bytes)
        with self._lock:
            self._upload = upload
            is_closed = self._is_closed
        if is_closed:
            upload.close()
        return upload

    def close(self) -> None:
        """Close the upload, now or as soon as it is there."""
        with self._lock:
            self._is_closed = True
        if self._upload is not None:
            self._upload.close()


def check_archives(paths: Sequence[str]) -> bool:
    """Return whether paths are a single ZIP file; a broken one or several would be taken for images.

    Raises:
        ValueError: One of them is a ZIP file, but cannot be read or is not the only one.
    """
    for path in paths:
        if not _looks_like_archive(Path(path)):
            continue
        if len(paths) > 1:
            raise ValueError(f"{path} is a ZIP file. Submit it as a separate job.")
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is not a complete ZIP file. Create or copy it again.")
        return True
    return False


def _looks_like_archive(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix.lower() == ".zip" or file.read(len(ARCHIVE_START)) == ARCHIVE_START
    except (OSError, ValueError):
        return False  # reading it as an image says why


def prepare(images: str | os.PathLike[str] | Iterable[Image], *, max_bytes: int) -> Upload:
    """Prepare images for sending.

    Args:
        images: The images, or the path of a folder or ZIP file.
        max_bytes: Maximum size of an image file.

    Raises:
        OSError: A file cannot be read, is empty or too large, or the temporary file cannot be written.
        TypeError: `images` is a single image, or one of them is not an image.
        ValueError: There are no images, URLs and files are mixed, or an array has another shape or type.
    """
    if isinstance(images, str | os.PathLike) and not _is_url(images):
        path = Path(images)
        if path.is_dir():
            return _prepare_several(find_images([os.fspath(images)]).images, path.parent, max_bytes)
        if path.exists() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is neither a folder nor a ZIP file. Put a single image into a list.")
        return Upload(archive=path.open("rb"))
    return _prepare_several(check_several(images), Path(), max_bytes)


def _prepare_several(images: Iterable[Image], base: PurePath, max_bytes: int) -> Upload:
    """Prepare images; the names of those below the folder `base` begin there."""
    iterator = iter(images)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no images to submit")
    several = itertools.chain([first], iterator)
    if not _is_url(first):
        return Upload(archive=_write_archive(several, base, max_bytes))
    urls = list(several)
    if not all(map(_is_url, urls)):
        raise ValueError(MIXED)
    return Upload(urls=[str(url) for url in urls])


def _is_url(image: Image) -> bool:
    return isinstance(image, str) and URL.match(image) is not None


def _write_archive(images: Iterable[Image], base: PurePath, max_bytes: int) -> BinaryIO:
    """Write a ZIP file of the images, without compression, which images have already.

    The same images give the same bytes, so that the gateway recognises a request that is sent again.
    """
    names: set[str] = set()
    with ExitStack() as on_error:
        output = on_error.enter_context(tempfile.TemporaryFile(prefix="image-gateway-"))
        with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
            for index, image in enumerate(images):
                source = load(image, max_bytes=max_bytes)
                if isinstance(source, ImageUrl):
                    raise ValueError(MIXED)  # noqa: TRY004  # it is one of the accepted types
                name = _make_unique(_make_name(image, index, base), index, names)
                archive.writestr(zipfile.ZipInfo(name), source.data)
        on_error.pop_all()
    return cast("BinaryIO", output)  # on Windows it is a wrapper of one


def _make_name(image: Image, index: int, base: PurePath) -> str:
    """Return the name of an image: its path as given, but always below the folder where a reader unpacks it."""
    text = os.fspath(image) if isinstance(image, str | os.PathLike) else getattr(image, "name", None)
    path = PurePath(text) if isinstance(text, str) else PurePath(f"image-{index}")
    if path.is_relative_to(base):
        path = path.relative_to(base)
    parts = [part for part in path.parts if part not in {path.anchor, ".."}]
    name = "/".join(parts).encode(errors="replace").decode()
    return NOT_IN_NAMES.sub("_", name) or f"image-{index}"


def _make_unique(name: str, index: int, names: set[str]) -> str:
    """Return a name that is not among `names`, and add it to them."""
    while name in names:
        name = f"{index}/{name}"
    names.add(name)
    return name
