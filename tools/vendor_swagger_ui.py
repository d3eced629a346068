"""Copy the files of a pinned release of Swagger UI that the page /docs uses to gateway/static/docs/swagger-ui.

    python -m tools.vendor_swagger_ui           # write them; downloads the release from npm if a file differs
    python -m tools.vendor_swagger_ui --check   # no network: exit 1 and name what differs from the pinned release

To upgrade, change the constants: the registry has the integrity, and `--check` prints the new digests.
"""

import argparse
import base64
import hashlib
import io
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import requests

ROOT = Path(__file__).parents[1]
VENDORED = ROOT / "gateway" / "static" / "docs" / "swagger-ui"
VERSION = "5.35.0"
TARBALL = f"https://registry.npmjs.org/swagger-ui-dist/-/swagger-ui-dist-{VERSION}.tgz"
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
"""Integrity of the tarball in the registry: `npm view swagger-ui-dist@VERSION dist.integrity`."""
SHA256 = {
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""The copied files with their SHA-256 in the tarball."""
TIMEOUT_S = 60


def release() -> Mapping[str, bytes]:
    """Download the release and return the copied files by name.

    Raises:
        SystemExit: The download differs from the pinned release.
        requests.RequestException: The registry could not be reached.
    """
    response = requests.get(TARBALL, timeout=TIMEOUT_S)
    response.raise_for_status()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(response.content).digest()).decode()
    if integrity != INTEGRITY:
        raise SystemExit(f"{TARBALL} has the integrity {integrity}; pinned is {INTEGRITY}")
    return unpack(response.content)


def unpack(tarball: bytes) -> Mapping[str, bytes]:
    """Return the copied files of an npm package by name.

    Raises:
        SystemExit: A file is missing in it.
    """
    with tarfile.open(fileobj=io.BytesIO(tarball)) as package:
        files = {}
        for name in SHA256:
            try:
                member = package.extractfile(f"package/{name}")
            except KeyError:
                member = None
            if member is None:
                raise SystemExit(f"{TARBALL} does not contain {name}")
            files[name] = member.read()
    return files


def differences(files: Mapping[str, bytes]) -> list[str]:
    """Describe how files differ from the pinned release, a line per file."""
    lines = []
    for name in sorted(SHA256.keys() | files.keys()):
        if name not in files:
            lines.append(f"missing: {name}")
        elif name not in SHA256:
            lines.append(f"not in the release: {name}")
        elif hashlib.sha256(files[name]).hexdigest() != SHA256[name]:
            lines.append(f"differs: {name}, sha256 {hashlib.sha256(files[name]).hexdigest()}")
    return lines


def vendored() -> Mapping[str, bytes]:
    """Return the files in the repository by name."""
    files = (file for file in VENDORED.rglob("*") if file.is_file())
    return {file.relative_to(VENDORED).as_posix(): file.read_bytes() for file in files}


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.vendor_swagger_ui", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something differs")
    check = parser.parse_args().check
    if not check and differences(vendored()):
        VENDORED.mkdir(parents=True, exist_ok=True)
        for name, content in release().items():
            (VENDORED / name).write_bytes(content)
    lines = differences(vendored())
    print("\n".join(lines) or f"{VENDORED.relative_to(ROOT)}: Swagger UI {VERSION}, up to date")
    if lines:
        print("Copy them again: python -m tools.vendor_swagger_ui", file=sys.stderr)
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
