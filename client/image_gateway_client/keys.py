"""API keys for the gateway: made here, so that the machine that makes them needs no gateway installed.

A key is `igk_NAME.SECRET`, its secret 32 random bytes in URL-safe base64. The gateway keeps of it only the line
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
    """The name cannot be given to a key; the message says why."""


def make_key(name: str) -> str:
    """Make a new key.

    Raises:
        KeyNameError: the name has other characters than letters of ASCII, digits, - and _, or more than 64.
    """
    if not NAME.fullmatch(name):
        raise KeyNameError(f"{name!r} is no name for a key; 1 to 64 letters, digits, - and _ are")
    return f"igk_{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def hashed(name: str, key: str) -> str:
    """Write the line by which the gateway knows a key."""
    salt = secrets.token_bytes(SALT_BYTES)
    return f"{name}:{salt.hex()}:{hmac.digest(salt, key.encode(), 'sha256').hex()}"


def add_key(name: str, file: Path) -> str:
    """Make a key and add its line to the gateway's file, which is made where there is none.

    Returns:
        The key, which is kept nowhere.

    Raises:
        KeyNameError: the name is taken in the file, or cannot be given to a key.
        OSError: the file cannot be read or written.
    """
    key = make_key(name)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if any(line.strip().startswith(f"{name}:") for line in before.splitlines()):
        raise KeyNameError(f"{file} has a key named {name} already; choose another name, or remove that line first")
    gap = "" if before.endswith("\n") or not before else "\n"
    with file.open("a", encoding="utf-8") as output:
        output.write(f"{gap}{hashed(name, key)}\n")
    return key
