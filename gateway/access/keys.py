"""API keys, stored as names with salted hashes.

A key is `igk_NAME.SECRET`, where SECRET is 32 random bytes in URL-safe base64. It is stored as the line

    NAME:SALT:HASH

with 16 random bytes of salt and HASH = HMAC-SHA256(SALT, the whole key), both in lower-case hex. A fast hash is enough:
a password would need a slow one such as bcrypt, but 2^256 secrets cannot be searched at any speed, and every request
computes the hash. `image-gateway keys add`, a command of the client, makes keys and their lines.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.reloaded_file import ReloadedFile

PREFIX = "igk_"
"""Lets secret scanners recognise keys that were published by mistake."""
ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64}):(?P<salt>[0-9a-f]{32}):(?P<digest>[0-9a-f]{64})")
HASH = "sha256"

log = structlog.get_logger(__name__)


class KeysError(ValueError):
    """An entry is malformed, or two keys have the same name."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The salt and the HMAC-SHA256 of a key."""

    salt: bytes
    digest: bytes

    def matches(self, key: str) -> bool:
        """Return whether this is the key's hash, in a time that does not depend on how much of the key is right."""
        return hmac.compare_digest(hmac.digest(self.salt, key.encode(), HASH), self.digest)


DUMMY_KEY = StoredKey(salt=bytes(16), digest=bytes(32))
"""Compared with the key when its name is unknown, so that the response time does not reveal which names exist."""


class Keys:
    """All API keys of the gateway; safe to use from many threads.

    Args:
        entries: Lines `NAME:SALT:HASH`.
        file: Has more such lines, and may have empty lines and lines that begin with `#`. It is read again when it
            changes. None for no file.

    Raises:
        KeysError: A line is malformed, or two keys have the same name.
        UnreadableFileError: The file cannot be read.
    """

    def __init__(self, entries: Iterable[str], file: Path | None) -> None:
        self._configured = parse(entries, source="GATEWAY_API_KEYS")
        self._file = (
            None
            if file is None
            else ReloadedFile(
                file,
                lambda text: self._parse_file(text, file),
                unreadable_event="api_keys_unreadable",
                on_reload=lambda keys: log.info("api_keys_read", keys=len(keys)),
            )
        )

    def owner(self, key: str) -> str | None:
        """Return the name that a key was made for, or None if it is not one of these keys."""
        name = key.removeprefix(PREFIX).partition(".")[0]
        keys = self._configured if self._file is None else self._file.current()
        stored_key = keys.get(name)
        is_match = (stored_key or DUMMY_KEY).matches(key)
        return name if stored_key and is_match else None

    def _parse_file(self, text: str, file: Path) -> Mapping[str, StoredKey]:
        lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
        keys = parse(lines, source=str(file))
        duplicates = self._configured.keys() & keys
        if duplicates:
            raise KeysError(f"{file} and GATEWAY_API_KEYS both have keys named {', '.join(sorted(duplicates))}.")
        return {**self._configured, **keys}


def parse(lines: Iterable[str], *, source: str) -> dict[str, StoredKey]:
    """Parse lines `NAME:SALT:HASH`.

    Args:
        lines: Spaces around a line are ignored.
        source: Where the lines come from, for the message. The message never repeats a line, which could be a key.

    Raises:
        KeysError: A line is malformed, or two keys have the same name.
    """
    keys: dict[str, StoredKey] = {}
    for number, line in enumerate(lines, 1):
        match = ENTRY.fullmatch(line.strip())
        if match is None:
            raise KeysError(
                f"{source}: entry {number} is not NAME:SALT:HASH. `image-gateway keys add NAME` makes such entries."
            )
        if match["name"] in keys:
            raise KeysError(f"{source} has two keys named {match['name']}.")
        keys[match["name"]] = StoredKey(bytes.fromhex(match["salt"]), bytes.fromhex(match["digest"]))
    return keys
