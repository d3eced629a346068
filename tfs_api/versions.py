"""Check that TensorFlow, its serving API and the vendored protos are of the same release.

Two releases of a proto file cannot be loaded in one process: protobuf fails with "duplicate file name" or "duplicate
symbol", which does not name the cause.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-serving-api")


def installed_versions() -> dict[str, str]:
    """Return the version of each of `DISTRIBUTIONS` that is installed, by name."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def check_versions(vendored: str, installed: Mapping[str, str]) -> None:
    """Compare the release, such as 2.20, of the vendored protos with what is installed.

    Args:
        vendored: Version of the TensorFlow that the protos were copied from.
        installed: Versions by distribution, see `installed_versions`.

    Raises:
        ImportError: The releases differ.
    """
    for name, installed_version in installed.items():
        if _release(installed_version) != _release(vendored):
            raise ImportError(
                f"{name} {installed_version} is installed, but the protos in tfs_api/_generated are those of "
                f"TensorFlow {vendored}. Different releases cannot be loaded in one process. Copy the protos of the "
                f"installed TensorFlow with `python -m tools.vendor_protos`, or install {name}=={_release(vendored)}.*"
            )


def _release(version_text: str) -> str:
    return ".".join(version_text.split(".")[:2])
