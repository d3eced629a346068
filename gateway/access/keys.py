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

from gateway.errors import KeysUnavailableError
from gateway.reloaded_file import ReloadedFile, UnreadableFileError

PREFIX = "igk_"
"""Lets secret scanners recognise keys that were published by mistake."""
ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64}):(?P<salt>[0-9a-f]{32}):(?P<digest>[0-9a-f]{64})")
HASH = "sha256"
UNREADABLE = "api_keys_unreadable"
"""Log event of a file that is damaged or cannot be read."""

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


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys of a file.

    Attributes:
        keys: The keys of its well-formed lines, by name.
        fault: What is wrong with its other lines; None if nothing is.
    """

    keys: Mapping[str, StoredKey]
    fault: str | None


class Keys:
    """All API keys of the gateway; safe to use from many threads.

    A key of the file is valid only while its line is in the file. What this process has read before does not count: a
    process that missed the removal of a key would accept it again once the file is damaged. While the file is damaged,
    a key without a well-formed line is neither accepted nor refused.

    Args:
        entries: Lines `NAME:SALT:HASH`.
        file: Has more such lines, and may have empty lines and lines that begin with `#`. It is read again when it
            changes. None for no file.
        required: Whether the file must be usable now.

    Raises:
        KeysError: The file cannot be read, a line is malformed, or two keys have the same name.
    """

    def __init__(self, entries: Iterable[str], file: Path | None, *, required: bool = True) -> None:
        self._configured = parse(entries, source="GATEWAY_API_KEYS")
        self._file: ReloadedFile[KeyFile] | None = None
        if file is not None:
            try:
                self._file = ReloadedFile(
                    file,
                    lambda text: self._parse_file(text, file),
                    unreadable_event=UNREADABLE,
                    on_reload=_log_reload,
                    required=required,
                )
            except UnreadableFileError as error:
                raise KeysError(f"GATEWAY_API_KEYS_FILE: {error}") from error
            key_file = self._file.latest()
            if required and key_file is not None and key_file.fault is not None:
                raise KeysError(key_file.fault)

    def owner(self, key: str) -> str | None:
        """Return the name that a key was made for, or None if it is not one of these keys.

        Raises:
            KeysUnavailableError: The file is damaged or cannot be read, and the key is not among those that are known.
        """
        name = key.removeprefix(PREFIX).partition(".")[0]
        keys: Mapping[str, StoredKey] = self._configured
        is_complete = True
        if self._file is not None:
            key_file = self._file.latest()
            is_complete = key_file is not None and key_file.fault is None
            keys = self._configured if key_file is None else key_file.keys
        stored_key = keys.get(name)
        is_match = (stored_key or DUMMY_KEY).matches(key)
        if stored_key and is_match:
            return name
        if not is_complete:
            raise KeysUnavailableError(
                "The file of the API keys cannot be read completely at the moment. Retry shortly."
            )
        return None

    def _parse_file(self, text: str, file: Path) -> KeyFile:
        lines = (
            (f"line {number}", line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.startswith("#")
        )
        keys, fault = _parse_lines(lines, source=str(file))
        duplicates = self._configured.keys() & keys
        if duplicates and fault is None:
            fault = f"{file} and GATEWAY_API_KEYS both have keys named {', '.join(sorted(duplicates))}."
        return KeyFile({**keys, **self._configured}, fault)


def parse(lines: Iterable[str], *, source: str) -> dict[str, StoredKey]:
    """Parse lines `NAME:SALT:HASH`.

    Args:
        lines: Spaces around a line are ignored.
        source: Where the lines come from, for the message. The message never repeats a line, which could be a key.

    Raises:
        KeysError: A line is malformed, or two keys have the same name.
    """
    keys, fault = _parse_lines(((f"entry {number}", line) for number, line in enumerate(lines, 1)), source=source)
    if fault is not None:
        raise KeysError(fault)
    return keys


def _parse_lines(lines: Iterable[tuple[str, str]], *, source: str) -> tuple[dict[str, StoredKey], str | None]:
    """Return the keys of the well-formed lines, without those whose name is there twice, and the first fault.

    Args:
        lines: Where each line stands in the source, and the line.
        source: Where they come from.
    """
    keys: dict[str, StoredKey] = {}
    duplicates: set[str] = set()
    fault: str | None = None
    for place, line in lines:
        match = ENTRY.fullmatch(line.strip())
        if match is None:
            fault = fault or (
                f"{source}: {place} is not NAME:SALT:HASH. `image-gateway keys add NAME` makes such entries."
            )
            continue
        if match["name"] in keys:
            fault = fault or f"{source} has two keys named {match['name']}."
            duplicates.add(match["name"])
        keys[match["name"]] = StoredKey(bytes.fromhex(match["salt"]), bytes.fromhex(match["digest"]))
    return {name: key for name, key in keys.items() if name not in duplicates}, fault


def _log_reload(key_file: KeyFile) -> None:
    if key_file.fault is None:
        log.info("api_keys_read", keys=len(key_file.keys))
    else:
        log.warning(UNREADABLE, reason=key_file.fault, keys=len(key_file.keys))
