"""Create, list and remove API keys of the gateway, on a machine where the gateway need not be installed.

A key is `igk_NAME.SECRET`, where the secret is 32 random bytes in URL-safe base64. The gateway stores only the line
`NAME:SALT:HASH`: 16 random bytes of salt and HMAC-SHA256(SALT, key), both in lower-case hex.
"""

import errno
import hmac
import os
import re
import secrets
from pathlib import Path

from image_gateway_client.replacement import replacing

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LINE = re.compile(rf"{NAME.pattern}:[0-9a-f]{{32}}:[0-9a-f]{{64}}")
"""What the gateway accepts, apart from empty lines and those that begin with #."""
COMMENT = "#"
SECRET_BYTES = 32
SALT_BYTES = 16


class KeyNameError(ValueError):
    """The name of a key is not valid, already in use, or of no key; the message says which."""


class KeyFileError(ValueError):
    """A file is not one of keys that the gateway accepts; the message says what is wrong with it."""


def make_key(name: str) -> str:
    """Return a new key.

    Raises:
        KeyNameError: The name is not 1 to 64 ASCII letters, digits, - and _.
    """
    if not NAME.fullmatch(name):
        raise KeyNameError(f"{name!r} is not a valid key name. Use 1 to 64 letters, digits, - and _.")
    return f"igk_{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def hash_key(name: str, key: str) -> str:
    """Return the line that the gateway stores for a key."""
    salt = secrets.token_bytes(SALT_BYTES)
    return f"{name}:{salt.hex()}:{hmac.digest(salt, key.encode(), 'sha256').hex()}"


def add_key(name: str, file: Path) -> str:
    """Create a key and append its line to the gateway's file, which is created if it does not exist.

    Returns:
        The key, which is not stored anywhere.

    Raises:
        KeyFileError: The file is not one that the gateway accepts.
        KeyNameError: The name is not valid, or already in the file.
        OSError: The file cannot be read or written.
    """
    key = make_key(name)
    if not file.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "The folder does not exist; create it first", os.fspath(file.parent))
    before = _read(file) if file.exists() else ""
    if name in _unique_names(before, file):
        raise KeyNameError(f"{file} already has a key named {name}. Choose another name, or remove that key first.")
    gap = "" if before.endswith("\n") or not before else "\n"
    with file.open("a", encoding="utf-8") as output:
        output.write(f"{gap}{hash_key(name, key)}\n")
    return key


def list_keys(file: Path) -> list[str]:
    """Return the names of the keys in the gateway's file, in its order.

    Raises:
        KeyFileError: The file is not one that the gateway accepts.
        OSError: The file cannot be read.
    """
    return _unique_names(_read(file), file)


def remove_key(name: str, file: Path) -> None:
    """Remove a key from the gateway's file, which is replaced as a whole, so that no gateway sees a part of it.

    Raises:
        KeyFileError: The file is not one of keys, or was changed at the same time.
        KeyNameError: The file has no key of that name; the message lists those that it has.
        OSError: The file cannot be read or written.
    """
    text = _read(file)
    if name not in _names(text):
        others = ", ".join(_names(text)) or "none"
        raise KeyNameError(f"{file} has no key named {name}. Keys in it: {others}.")
    with replacing(file) as part:
        with part.open("w", encoding="utf-8") as output:
            output.writelines(line for line in text.splitlines(keepends=True) if _name(line) != name)
        if _read(file) != text:  # otherwise a key that was removed meanwhile would be valid again
            raise KeyFileError(f"{file} was changed at the same time. Run the command again.")


def _read(file: Path) -> str:
    advice = "Choose the gateway's file of keys with --file."
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{file} is not a file of keys: it is not text. {advice}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if (entry := _entry(line)) and not LINE.fullmatch(entry):
            raise KeyFileError(f"{file} is not a file of keys: line {number} is not NAME:SALT:HASH. {advice}")
    return text


def _unique_names(text: str, file: Path) -> list[str]:
    names = _names(text)
    for name in names:
        if names.count(name) > 1:
            raise KeyFileError(
                f"{file} has two keys named {name}, which the gateway refuses. Remove them, and add one."
            )
    return names


def _names(text: str) -> list[str]:
    return [name for line in text.splitlines() if (name := _name(line))]


def _name(line: str) -> str:
    """Return the name in a line; empty for a comment or an empty line."""
    return _entry(line).partition(":")[0]


def _entry(line: str) -> str:
    return "" if line.startswith(COMMENT) else line.strip()
