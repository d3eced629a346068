"""API keys: who sent this one? Known here by name and salted hash alone.

A key is `igk_NAME.SECRET`, its secret 32 random bytes in URL-safe base64. What is kept of it is the line

    NAME:SALT:HASH

with 16 random bytes of salt, and HASH = HMAC-SHA256(SALT, the whole key), both in lower-case hex. One fast hash is
enough, where a password would need a slow one such as bcrypt: nobody searches 2^256 keys, however fast each is tried,
and every request pays for the hash. `image-gateway keys add`, in the client, makes keys and such lines.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

PREFIX = "igk_"
"""Lets scanners find keys in places where none should be."""
ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64}):(?P<salt>[0-9a-f]{32}):(?P<digest>[0-9a-f]{64})")
HASH = "sha256"

log = structlog.get_logger(__name__)


class KeysError(ValueError):
    """The keys cannot be read, or one of them is not written as they are."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of a key: its salt and its HMAC-SHA256."""

    salt: bytes
    digest: bytes

    def fits(self, key: str) -> bool:
        """Compare in a time that tells nothing about how much of the key is right."""
        return hmac.compare_digest(hmac.digest(self.salt, key.encode(), HASH), self.digest)


NOBODYS = StoredKey(salt=bytes(16), digest=bytes(32))
"""Compared with where no key has the name, so that the time does not tell which names there are."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Reading:
    stamp: Stamp
    keys: Mapping[str, StoredKey]


class Keys:
    """All keys of the gateway; safe to use from many threads.

    Args:
        entries: Lines `NAME:SALT:HASH`.
        file: Holds more of them, one a line, besides empty lines and those that begin with `#`; None for no file. It
            is read again when it changes.

    Raises:
        KeysError: the file cannot be read, a line is malformed, or two have the same name.
    """

    def __init__(self, entries: Iterable[str], file: Path | None) -> None:
        self._given = parse(entries, source="GATEWAY_API_KEYS")
        self._file = file
        self._complaint = ""
        self._reading = _Reading((0, 0, 0), self._given) if file is None else self._read(file, _stamp(file))

    def owner(self, key: str) -> str | None:
        """Give the name that a key was made for; None where it is none of these."""
        name = key.removeprefix(PREFIX).partition(".")[0]
        found = self._current().get(name)
        fits = (found or NOBODYS).fits(key)
        return name if found and fits else None

    def _current(self) -> Mapping[str, StoredKey]:
        """Give the keys as the file lists them now; while it is damaged or away, those it listed before."""
        if self._file is None:
            return self._reading.keys
        try:
            stamp = _stamp(self._file)
            if stamp != self._reading.stamp:
                self._reading = self._read(self._file, stamp)
                log.info("api_keys_read", keys=len(self._reading.keys))
            self._complaint = ""
        except KeysError as error:
            if self._complaint != str(error):  # said once per state of the file
                self._complaint = str(error)
                log.warning("api_keys_unreadable", reason=self._complaint)
        return self._reading.keys

    def _read(self, file: Path, stamp: Stamp) -> _Reading:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"{file} cannot be read: {error}.") from error
        listed = parse((line for line in lines if line.strip() and not line.startswith("#")), source=str(file))
        twice = self._given.keys() & listed
        if twice:
            raise KeysError(f"{file} and GATEWAY_API_KEYS both have keys named {', '.join(sorted(twice))}.")
        return _Reading(stamp, {**self._given, **listed})


def parse(lines: Iterable[str], *, source: str) -> dict[str, StoredKey]:
    """Read lines `NAME:SALT:HASH`.

    Args:
        lines: Spaces around them do not count.
        source: Where they are from, for the message. The lines themselves are not in it: one could be a key.

    Raises:
        KeysError: one is malformed, or two have the same name.
    """
    found: dict[str, StoredKey] = {}
    for number, line in enumerate(lines, 1):
        match = ENTRY.fullmatch(line.strip())
        if match is None:
            raise KeysError(
                f"{source}: entry {number} is not NAME:SALT:HASH. `image-gateway keys add NAME` makes such entries."
            )
        if match["name"] in found:
            raise KeysError(f"{source} has two keys named {match['name']}.")
        found[match["name"]] = StoredKey(bytes.fromhex(match["salt"]), bytes.fromhex(match["digest"]))
    return found


def _stamp(file: Path) -> Stamp:
    try:
        stat = file.stat()
    except OSError as error:
        raise KeysError(f"{file} cannot be read: {error.strerror}.") from error
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
