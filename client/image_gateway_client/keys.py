"""Create API keys for the gateway, on a machine where the gateway need not be installed.

A key is `igk_NAME.SECRET`, where the secret is 32 random bytes in URL-safe base64. The gateway stores only the line
`NAME:SALT:HASH`: 16 random bytes of salt and HMAC-SHA256(SALT, key), both in lower-case hex.
"""

import hmac
import re
import secrets
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SECRET_BYTES = 32
SALT_BYTES = 16


class KeyNameError(ValueError):
    """The name of a key is not valid or already in use; the message says which."""


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
        KeyNameError: The name is not valid, or already in the file.
        OSError: The file cannot be read or written.
    """
    key = make_key(name)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if any(line.strip().startswith(f"{name}:") for line in before.splitlines()):
        raise KeyNameError(f"{file} already has a key named {name}. Choose another name, or remove that line first.")
    gap = "" if before.endswith("\n") or not before else "\n"
    with file.open("a", encoding="utf-8") as output:
        output.write(f"{gap}{hash_key(name, key)}\n")
    return key
