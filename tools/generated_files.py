"""Compare generated files with the repository, and write them."""

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path


def differences(expected: Mapping[Path, bytes], folder: Path, existing: Collection[Path]) -> list[str]:
    """Describe how a folder differs from the expected files, a line per file.

    Args:
        expected: Content by path relative to the folder.
        folder: Folder of the generated files.
        existing: Relative paths of all generated files that are there.
    """
    lines = []
    for file in sorted(expected.keys() | set(existing)):
        if not (folder / file).is_file():
            lines.append(f"missing: {file}")
        elif file not in expected:
            lines.append(f"no longer needed: {file}")
        elif (folder / file).read_bytes() != expected[file]:
            lines.append(f"differs: {file}")
    return lines


def update(
    command: str, expected: Mapping[Path, bytes], folder: Path, existing: Collection[Path] = (), *, check: bool
) -> int:
    """Print the differences, and make the folder equal to the expected files unless `check` is set.

    Args:
        command: Name of the module that generates the files, for messages.
        expected: Content by path relative to the folder.
        folder: Folder of the generated files.
        existing: Relative paths of all generated files that are there; those not expected are removed.
        check: Whether to change nothing.

    Returns:
        Exit status: 1 if `check` is set and a file differs.
    """
    lines = differences(expected, folder, existing)
    print("\n".join(lines) or f"{command}: {len(expected)} files, up to date")
    if check:
        if lines:
            print(f"Write them again: python -m {command}", file=sys.stderr)
        return int(bool(lines))
    for file in set(existing) - expected.keys():
        (folder / file).unlink()
    for file, content in expected.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return 0


def parse_check(module: str, description: str | None) -> bool:
    """Parse a command line whose only option is `--check`, and return whether it is set."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(description or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    return bool(parser.parse_args().check)
