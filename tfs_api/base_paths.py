"""Base paths of models, as TensorFlow Serving reads them."""

import re
from pathlib import Path

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://[^/]*(/.*)?")


def local_folder(base_path: str) -> Path | None:
    """Return the folder that a path or its URI, such as `file:///models/digits`, names.

    Returns:
        None if the URI is one of another file system, such as `s3://models/digits`.
    """
    uri = _URI.fullmatch(base_path)
    if uri is None:
        return Path(base_path)
    return Path(uri[2] or "/") if uri[1] == "file" else None
